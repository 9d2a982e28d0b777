"""Holds the dialogues that were played to bounds, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from infra.errors import YieldError
from infra.store.fingerprints import hash_parts
from infra.text.languages import find_foreign
from infra.text.refusals import find_refusal, fold_quotes
from infra.text.wording import split_words
from tasks.curation.config import CurationConfig
from tasks.curation.foreign import JUDGED_CHARS

COLUMNS = ("context_turns", "turns", "truncated")
"""Of dialogues, all that is looked at."""

_BLOCK_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Shares:
    """What dialogues are like before any filter; ``None`` where nobody asked.

    Attributes:
        dialogues: How many there are.
        distinct: Share of different answers, but for case and punctuation.
        truncated: Share whose last answer ran into the token limit.
        language: Share that is not confidently in another language.
        refusals: Share with an answer that opens by refusing to help (English phrases).
    """

    dialogues: int
    distinct: float | None
    truncated: float | None
    language: float | None
    refusals: float | None


def check_dialogues(dialogues: pl.DataFrame, config: CurationConfig) -> None:
    """Raise :class:`YieldError` with the measured share and the bound of every test missed."""
    if not dialogues.height or not config.data_tests.asks():
        return
    shares = measure_shares(dialogues, config)
    missed = list(_list_missed(shares, config))
    if missed:
        raise YieldError(
            f"curation: of {shares.dialogues:,} dialogues {'; '.join(missed)}. Nothing is trained "
            "on them. Look at them with `opencharacter show CONFIG dialogues`; then fix the "
            "teacher or its prompts, or change the bounds in curation.data_tests."
        )


def measure_shares(dialogues: pl.DataFrame, config: CurationConfig) -> Shares:
    """Measure what the configuration has a bound for, block by block."""
    tests, rows = config.data_tests, dialogues.height
    seen: set[str] = set()
    foreign = refusals = 0
    for block in dialogues.select("context_turns", "turns").iter_slices(_BLOCK_ROWS):
        answers = list(_list_answers(block))
        if tests.min_distinct_share is not None:
            seen.update(hash_parts(*split_words("\n".join(listed))) for listed in answers)
        if tests.min_language_share is not None and config.language is not None:
            starts = [" ".join(listed)[:JUDGED_CHARS] for listed in answers]
            foreign += len(find_foreign(starts, config.language))
        if tests.max_refusal_share is not None:
            refusals += sum(any(map(_refuses, listed)) for listed in answers)
    cut = int(dialogues["truncated"].sum())
    return Shares(
        dialogues=rows,
        distinct=None if tests.min_distinct_share is None else len(seen) / rows,
        truncated=None if tests.max_truncated_share is None else cut / rows,
        language=None if tests.min_language_share is None else 1 - foreign / rows,
        refusals=None if tests.max_refusal_share is None else refusals / rows,
    )


def _list_missed(shares: Shares, config: CurationConfig) -> Iterator[str]:
    bounds = config.data_tests.model_dump()
    for value, what, name in (
        (shares.distinct, "are different", "min_distinct_share"),
        (shares.truncated, "are cut off", "max_truncated_share"),
        (shares.language, f"are in {config.language}", "min_language_share"),
        (shares.refusals, "refuse", "max_refusal_share"),
    ):
        least, bound = name.startswith("min"), bounds[name]
        if value is not None and (value < bound if least else value > bound):
            side = "below" if least else "above"
            yield f"{value:.1%} {what}, {side} its {name} of {bound:.1%}"


def _list_answers(block: pl.DataFrame) -> Iterator[list[str]]:
    """Yield the answers that each character played."""
    for given, turns in block.iter_rows():
        yield [turn["content"] for turn in turns[given:] if turn["role"] == "assistant"]


def _refuses(answer: str) -> bool:
    return find_refusal(fold_quotes(answer)) is not None
