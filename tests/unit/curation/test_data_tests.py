"""Proves that dialogues are held to bounds before any filter, and that a miss says what it was."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from infra.errors import YieldError
from tasks.curation.config import CurationConfig
from tasks.curation.data_tests import check_dialogues, measure_shares
from tasks.records import Dialogue

from .builders import make_dialogue, make_frame
from .test_curate import ANSWERS, FRENCH

BOUNDS = {
    "min_distinct_share": 0.9,
    "max_truncated_share": 0.1,
    "min_language_share": 0.9,
    "max_refusal_share": 0.1,
}
REFUSAL = "I'm sorry, but I can't help with that."


def make_config(**bounds: float) -> CurationConfig:
    return CurationConfig.model_validate({"data_tests": bounds})


def play(*answers: str, **more: Any) -> pl.DataFrame:
    rows = [make_dialogue(f"{n}", "Why?", answer, **more) for n, answer in enumerate(answers)]
    return make_frame(Dialogue, rows)


MIXED = pl.concat(
    [
        play(*ANSWERS, ANSWERS[0].upper(), FRENCH, REFUSAL),
        play("It ends in the mid", "So does th", truncated=True),
    ]
)


def test_shares_are_those_of_what_was_played_before_any_filter() -> None:
    found = measure_shares(MIXED, make_config(**BOUNDS))
    assert (found.dialogues, found.distinct, found.truncated) == (8, 7 / 8, 2 / 8)
    assert (found.language, found.refusals) == (7 / 8, 1 / 8)


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        ({"min_distinct_share": 0.9}, "87.5% are different, below its min_distinct_share of 90.0%"),
        ({"max_truncated_share": 0.1}, "25.0% are cut off, above its max_truncated_share of 10.0%"),
        ({"min_language_share": 0.9}, "87.5% are in en, below its min_language_share of 90.0%"),
        ({"max_refusal_share": 0.1}, "12.5% refuse, above its max_refusal_share of 10.0%"),
    ],
)
def test_a_miss_names_the_measured_share_and_the_bound(bound: dict[str, float], words: str) -> None:
    with pytest.raises(YieldError) as caught:
        check_dialogues(MIXED, make_config(**bound))
    text = str(caught.value)
    assert f"curation: of 8 dialogues {words}. Nothing is trained" in text
    assert "curation.data_tests" in text


def test_all_misses_are_told_at_once() -> None:
    with pytest.raises(YieldError) as caught:
        check_dialogues(MIXED, make_config(**BOUNDS))
    assert all(name in str(caught.value) for name in BOUNDS)


@pytest.mark.parametrize(
    "bound",
    [
        {},
        {"min_distinct_share": 7 / 8},
        {"max_truncated_share": 2 / 8},
        {"min_language_share": 7 / 8},
        {"max_refusal_share": 1 / 8},
    ],
)
def test_what_is_at_its_bound_passes_and_without_bounds_everything_does(
    bound: dict[str, float],
) -> None:
    check_dialogues(MIXED, make_config(**bound))


def test_given_turns_are_nobodys_answers() -> None:
    rows = [
        make_dialogue(f"{n}", "Why?", REFUSAL, "And you?", answer, context_turns=2)
        for n, answer in enumerate(ANSWERS)
    ]
    frame = make_frame(Dialogue, rows)
    check_dialogues(frame, make_config(min_distinct_share=1.0, max_refusal_share=0.0))


def test_nothing_to_look_at_misses_nothing() -> None:
    check_dialogues(play(), make_config(**BOUNDS))


def test_a_share_of_a_language_needs_a_language() -> None:
    with pytest.raises(ValidationError, match=r"set curation\.language"):
        CurationConfig.model_validate({"language": None, "data_tests": {"min_language_share": 0.5}})


def test_bounds_move_no_fingerprint() -> None:
    plain, bound = CurationConfig(), make_config(**BOUNDS)
    for kind in ("identity", "selection"):
        assert plain.knob_values(kind) == bound.knob_values(kind)
