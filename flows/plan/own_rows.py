"""Says before a run which of the rows that people bring it will take, and which not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from flows.plan.foreseen import ForeseenRows
from flows.recipe.graph import Graph
from flows.recipe.settings import Settings
from infra.errors import ConfigError, Problem
from infra.input.row_input import describe_source
from tasks.characters.nodes import TakenCharacters
from tasks.characters.sources import APART, NOT_ASKED_FOR
from tasks.dialogues.nodes import TakenDialogues
from tasks.dialogues.sources import NO_CHARACTER
from tasks.records import Rejection

_SHOWN_CHARS = 120
_MADE_UP = "opencharacter-plan-"
"""Stands in the paths of rows that a plan makes up (:mod:`flows.recipe.placeholders`)."""


def is_made_up(source: str) -> bool:
    """Tell whether a plan made up the rows of a source that is not on this machine."""
    return _MADE_UP in source


def warn_of_losses(settings: Settings, graph: Graph, given: ForeseenRows) -> Iterator[str]:
    """Say which brought rows will not be taken; :class:`ConfigError` if none will."""
    sampled = settings.personas.sample is not None
    for node in graph.find(TakenCharacters):
        cast = given.take_cast(node)
        yield from _warn(
            f"characters.source ({settings.characters.source})",
            len(cast.accepted),
            cast.rejected,
            settings.characters.min_yield,
            apart=APART,
            quiet=(NOT_ASKED_FOR,) if sampled else (),
        )
    for play in graph.find(TakenDialogues):
        plays = given.take_plays(play)
        yield from _warn(
            f"dialogues.source ({settings.dialogues.source})",
            len(plays.accepted),
            plays.rejected,
            settings.dialogues.min_yield,
            apart=(NO_CHARACTER,) if sampled else (),
            quiet=(NO_CHARACTER,) if sampled else (),
        )


def describe_inputs(settings: Settings) -> Iterator[str]:
    """Name the files that are read of every source, and what of a folder is left aside."""
    asked = settings.instructions.sources if settings.dialogues.source is None else ()
    named = {
        "personas.source": settings.personas.rows,
        **{f"instructions.sources[{place}]": item.rows for place, item in enumerate(asked)},
        "characters.source": settings.characters.rows,
        "dialogues.source": settings.dialogues.rows,
    }
    for key, source in named.items():
        if source is not None and _MADE_UP not in source.path:
            yield f"{key}: {describe_source(source)}"


def _warn(
    where: str,
    accepted: int,
    rejected: Sequence[Rejection],
    min_yield: float,
    *,
    apart: Collection[str],
    quiet: Collection[str],
) -> Iterator[str]:
    """Warn of rows that fall, but for ``quiet`` reasons; ``apart`` ones count for no yield."""
    told = Counter(row.reason for row in rejected if row.reason not in quiet)
    reasons = ", ".join(f"{count:,} × {reason}" for reason, count in told.most_common(4))
    if not accepted:
        first = next(iter(rejected), None)
        shown = f"; {first.source}: {first.detail[:_SHOWN_CHARS]}" if first else ""
        what = f"none of its {len(rejected):,} rows can be taken: {reasons or 'not sampled'}{shown}"
        todo = "bring the personas of its rows, word for word, as personas.source"
        raise ConfigError(Problem(where, what, todo))
    if not told:
        return
    rows = accepted + sum(row.reason not in apart for row in rejected)
    text = f"{where}: {accepted:,} rows are taken, {told.total():,} are not: {reasons}"
    if accepted / rows < min_yield:
        text += f"; that is below its min_yield of {min_yield:.0%}, so a run would stop"
    yield text
