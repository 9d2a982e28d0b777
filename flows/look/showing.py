"""Prints rows of a run for people: characters, dialogues, SFT examples, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings
from infra.context import Quiet, RunContext
from infra.errors import ConfigError, Problem
from infra.nodes.node import Node, RowNode
from infra.store.manifests import refer_to
from infra.store.reading import read_first, read_rejected_frame
from infra.store.row_store import read_part_rejects, read_part_rows
from tasks.records import (
    Answer,
    Character,
    Dialogue,
    EvalQuestion,
    Example,
    Instruction,
    Judgement,
    Persona,
    Turn,
)

_KINDS = {"instructions": ("instructions", "guesses"), "examples": ("curation",)}
"""The kinds of node that hold what people ask for, where it is not called so."""
_STYLES = {"system": "dim", "user": "cyan", "assistant": "green"}


def check_shown(
    what: str,
    *,
    n: int,
    row: str | None,
    reason: str | None,
    sample: int | None,
    blind: bool,
    inspect: str | None,
) -> None:
    """Raise :class:`ConfigError` for options that say nothing about the rows asked for."""
    problems = []
    if n < 1:
        problems.append(Problem("-n", f"is {n}", "show at least 1 row"))
    if what == "lineage" and row is None:
        todo = "give the key of a row, or its first six digits or more"
        problems.append(Problem("ID", "is missing", todo))
    if what != "lineage" and row is not None:
        todo = f"`show CONFIG lineage {row}` shows one row; -n says how many"
        problems.append(Problem(row, f"names one row, and {what} are shown by number", todo))
    if what != "rejects" and reason is not None:
        problems.append(Problem("--reason", f"is of rejects, not of {what}", "leave it out"))
    for option, given in (("--sample", sample is not None), ("--blind", blind)):
        if given and what != "answers":
            todo = "leave it out (-n says how many are shown), or show answers"
            problems.append(Problem(option, f"writes a sheet of answers, not of {what}", todo))
    if inspect is not None and what != "answers":
        problems.append(Problem("--inspect", f"writes answers, not {what}", "show answers"))
    if problems:
        raise ConfigError(*problems)


def show_rows(settings: Settings, what: str, n: int, reason: str | None = None) -> None:
    """Print up to ``n`` rows of a kind; of a stage that is still running, what is committed."""
    console = Console(highlight=False)
    with open_context(settings, Quiet()) as context:
        graph = build_graph(settings, context)
        shown = 0
        for title, body in islice(_find_rows(context, graph, what, reason, n), n):
            console.print(Panel(body, title=Text(title), title_align="left"))
            shown += 1
        if not shown:
            console.print(Text(_say_nothing(context, graph, what, reason)), soft_wrap=True)


def _say_nothing(context: RunContext, graph: Graph, what: str, reason: str | None) -> str:
    """Say why there is nothing to show, and what to do."""
    done = graph.references()
    root = context.storage.root
    makes = "`opencharacter plan` lists what it would make, `opencharacter run` makes it."
    if what == "rejects":
        reasons = Counter(why for _, why, _ in _list_rejects(context, graph))
        if reason is not None and reasons:
            known = ", ".join(f"{name} ({count:,})" for name, count in reasons.most_common())
            return f"nothing to show: no row was rejected as {reason!r}. Reasons there: {known}"
        if done:
            return f"nothing to show: none of the rows made so far in {root} was rejected."
    if not done and not context.storage.walk("runs", ".json"):
        return f"nothing to show: nothing ran in {root} yet. Is storage.root right? {makes}"
    return f"nothing to show: this run has no {what} in {root} so far. {makes}"


def _find_rows(
    context: RunContext, graph: Graph, what: str, reason: str | None, n: int
) -> Iterator[tuple[str, Text]]:
    if what == "rejects":
        yield from _find_rejects(context, graph, reason)
        return
    kinds = _KINDS.get(what, (what,))
    for node in graph:
        if node.kind in kinds:
            for row in _list_accepted(context, node, n):
                yield _print_row(row)


def _list_accepted(context: RunContext, node: Node, n: int) -> Sequence[Any]:
    """Return the first rows of a node; of one that is not done yet, all that are committed."""
    found = node.find()
    if found is not None:
        return read_first(context.storage, refer_to(found), node.record, n)
    if isinstance(node, RowNode):
        return read_part_rows(context.storage, node.spec.folder, node.record)
    return ()


def _print_row(row: Any) -> tuple[str, Text]:
    """Return the title and the text of a row, whatever it is."""
    match row:
        case Persona():
            return row.key, Text(row.persona)
        case Instruction():
            return f"{row.corpus} {row.question_id}", _print_turns(row.turns)
        case Character():
            return row.key, Text(f"{row.persona}\n\n", style="italic").append(row.profile)
        case Dialogue():
            return f"{row.key} {row.strategy} {row.corpus}", _print_turns(row.turns)
        case Example():
            return f"{row.key} {row.split}", _print_turns(row.messages)
        case EvalQuestion():
            text = Text(f"{row.persona}\n\n", style="italic").append(row.question)
            return f"{row.key} {row.suite} {row.task}", text
        case Answer():
            turns = (Turn("user", row.question), Turn("assistant", row.answer))
            return f"{row.key} {row.model} {row.task}", _print_turns(turns)
        case Judgement():
            score = "no score" if row.score is None else f"{row.score:g}"
            title = f"{row.key} {row.judge} on {row.model} {row.task}: {score}"
            return title, Text(row.justification)
    raise TypeError(type(row).__name__)


def _find_rejects(
    context: RunContext, graph: Graph, reason: str | None
) -> Iterator[tuple[str, Text]]:
    for title, why, detail in _list_rejects(context, graph):
        if reason is None or why == reason:
            yield f"{title} {why}", Text(detail)


def _list_rejects(context: RunContext, graph: Graph) -> Iterator[tuple[str, str, str]]:
    """Return the rejects of every node: done or not, as a stage that was stopped has some too."""
    for node in graph:
        found = node.find()
        if found is not None:
            frame = read_rejected_frame(context.storage, refer_to(found))
        elif isinstance(node, RowNode):
            frame = read_part_rejects(context.storage, node.spec.folder)
        else:
            continue
        for key, why, detail in frame.iter_rows():
            yield f"{node.name} {key}", why, detail


def _print_turns(turns: tuple[Turn, ...]) -> Text:
    text = Text()
    for turn in turns:
        text.append(f"{turn.role}: ", style="bold").append(
            f"{turn.content}\n", style=_STYLES.get(turn.role, "")
        )
    return text
