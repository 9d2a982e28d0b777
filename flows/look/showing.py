"""Prints rows of a run for people: characters, dialogues, SFT examples, rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from flows.plan.planning import find_references
from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings
from infra.context import Quiet, RunContext
from infra.errors import ConfigError, Problem
from infra.store.manifests import NodeRef, NodeSpec
from infra.store.reading import read_accepted, read_rejected_frame
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

R = TypeVar("R")

_STYLES = {"system": "dim", "user": "cyan", "assistant": "green"}


def check_shown(
    what: str,
    *,
    n: int,
    row: str | None,
    reason: str | None,
    sample: int | None,
    blind: bool,
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
    if problems:
        raise ConfigError(*problems)


def show_rows(settings: Settings, what: str, n: int, reason: str | None = None) -> None:
    """Print up to ``n`` rows of a kind; of a stage that is still running, what is committed."""
    console = Console(highlight=False)
    with open_context(settings, Quiet()) as context:
        graph = build_graph(settings, context)
        done = find_references(context, graph)
        shown = 0
        for title, body in _find_rows(context, graph, done, what, reason):
            if shown == n:
                break
            console.print(Panel(body, title=Text(title), title_align="left"))
            shown += 1
        if not shown:
            console.print(Text(_say_nothing(context, graph, done, what, reason)), soft_wrap=True)


def _say_nothing(
    context: RunContext, graph: Graph, done: dict[str, NodeRef], what: str, reason: str | None
) -> str:
    """Say why there is nothing to show, and what to do."""
    root = context.storage.root
    makes = "`opencharacter plan` lists what it would make, `opencharacter run` makes it."
    if what == "rejects":
        reasons = Counter(why for _, why, _ in _list_rejects(context, graph, done))
        if reason is not None and reasons:
            known = ", ".join(f"{name} ({count:,})" for name, count in reasons.most_common())
            return f"nothing to show: no row was rejected as {reason!r}. Reasons there: {known}"
        if done:
            return f"nothing to show: none of the rows made so far in {root} was rejected."
    if not done and not context.storage.walk("runs", ".json"):
        return f"nothing to show: nothing ran in {root} yet. Is storage.root right? {makes}"
    return f"nothing to show: this run has no {what} in {root} so far. {makes}"


def _find_rows(
    context: RunContext, graph: Graph, done: dict[str, NodeRef], what: str, reason: str | None
) -> Iterator[tuple[str, Text]]:
    if what == "rejects":
        yield from _find_rejects(context, graph, done, reason)
    elif what == "personas" and "personas" in done:
        for persona in read_accepted(context.storage, done["personas"], Persona):
            yield persona.key, Text(persona.persona)
    elif what == "instructions":
        for stage in ("instructions", "guesses"):
            if stage in done:
                for item in read_accepted(context.storage, done[stage], Instruction):
                    yield f"{item.corpus} {item.question_id}", _print_turns(item.turns)
    elif what == "characters":
        for character in _accepted(context, graph.characters, done, Character):
            text = Text(f"{character.persona}\n\n", style="italic").append(character.profile)
            yield character.key, text
    elif what == "dialogues":
        for node in graph.dialogues.values():
            for dialogue in _accepted(context, node, done, Dialogue):
                title = f"{dialogue.key} {dialogue.strategy} {dialogue.corpus}"
                yield title, _print_turns(dialogue.turns)
    elif what in ("answers", "judgements"):
        yield from _find_evaluation(context, graph, done, what)
    elif what == "questions" and "questions" in done:
        for question in read_accepted(context.storage, done["questions"], EvalQuestion):
            text = Text(f"{question.persona}\n\n", style="italic").append(question.question)
            yield f"{question.key} {question.suite} {question.task}", text
    elif what == "examples" and "curation" in done:
        for example in read_accepted(context.storage, done["curation"], Example):
            yield f"{example.key} {example.split}", _print_turns(example.messages)


def _find_evaluation(
    context: RunContext, graph: Graph, done: dict[str, NodeRef], what: str
) -> Iterator[tuple[str, Text]]:
    for node in graph.nodes():
        if not node.stage.startswith(f"{what}_"):
            continue
        if what == "answers":
            for answer in _accepted(context, node, done, Answer):
                turns = (Turn("user", answer.question), Turn("assistant", answer.answer))
                yield f"{answer.key} {answer.model} {answer.task}", _print_turns(turns)
        else:
            for item in _accepted(context, node, done, Judgement):
                score = "no score" if item.score is None else f"{item.score:g}"
                title = f"{item.key} {item.judge} on {item.model} {item.task}: {score}"
                yield title, Text(item.justification)


def _accepted(
    context: RunContext, node: NodeSpec, done: dict[str, NodeRef], record: type[R]
) -> list[R]:
    if node.stage in done:
        return read_accepted(context.storage, done[node.stage], record)
    return read_part_rows(context.storage, node.folder, record) if node.by_rows else []


def _find_rejects(
    context: RunContext, graph: Graph, done: dict[str, NodeRef], reason: str | None
) -> Iterator[tuple[str, Text]]:
    for title, why, detail in _list_rejects(context, graph, done):
        if reason is None or why == reason:
            yield f"{title} {why}", Text(detail)


def _list_rejects(
    context: RunContext, graph: Graph, done: dict[str, NodeRef]
) -> Iterator[tuple[str, str, str]]:
    """Return the rejects of every node: done or not, as a stage that was stopped has some too."""
    for node in graph.nodes():
        if node.stage in done:
            frame = read_rejected_frame(context.storage, done[node.stage])
        elif node.by_rows:
            frame = read_part_rejects(context.storage, node.folder)
        else:
            continue
        for key, why, detail in frame.iter_rows():
            yield f"{node.stage} {key}", why, detail


def _print_turns(turns: tuple[Turn, ...]) -> Text:
    text = Text()
    for turn in turns:
        text.append(f"{turn.role}: ", style="bold").append(
            f"{turn.content}\n", style=_STYLES.get(turn.role, "")
        )
    return text
