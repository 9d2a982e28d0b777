"""Checks the statistics against hand-made numbers, and against what must hold for any."""

from __future__ import annotations

import math
import random
import statistics as plain
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.measures.statistics import (
    Difference,
    Score,
    average_judges,
    compare_persona_scores,
    compare_rows,
    count_missing,
    estimate_mean,
    estimate_share,
    find_detectable_effect,
    score_personas,
    take_scores,
)
from tasks.measures.student_t import t_quantile
from tasks.records import Judgement

TASKS = ("voice", "facts")


def make(persona: str, value: float | None, task: str = "voice", number: int = 0) -> Score:
    return Score(f"{persona}-{task}-{number}", persona, task, value)


def draw_scores(
    personas: int, seed: int, *, shift: float = 0.0, spread: float = 1.0
) -> list[Score]:
    """Draw two questions a task; a persona's own level makes its scores resemble one another."""
    dice = random.Random(seed)
    scores = []
    for persona in range(personas):
        level = random.Random(persona).gauss(3, spread) + shift
        scores += [
            make(f"p{persona:03}", level + dice.gauss(0, 0.3), task, number)
            for task in TASKS
            for number in range(2)
        ]
    return scores


SCORES = st.lists(
    st.tuples(
        st.sampled_from("abcd"),
        st.sampled_from(TASKS),
        st.one_of(st.none(), st.sampled_from([1.0, 2.0, 3.5, 4.1, 5.0])),
    ),
    max_size=25,
).map(lambda rows: [make(name, value, task, n) for n, (name, task, value) in enumerate(rows)])


def compare(ours: list[Score], theirs: list[Score], seed: int = 1) -> Difference:
    return compare_rows(ours, theirs)


def test_an_interval_by_hand() -> None:
    # Personas a (1, 2) and b (4, 5): mean 3, drifts -3 and 3, error sqrt(2 * 18) / 4 = 1.5;
    # t with one degree of freedom is 12.7062.
    found = estimate_mean([make("a", 1), make("a", 2), make("b", 4), make("b", 5), make("c", None)])
    assert (found.mean, found.rows, found.clusters, found.missing) == (3.0, 4, 2, 1)
    assert found.sd == pytest.approx(math.sqrt(10 / 3))
    assert found.standard_error == pytest.approx(1.5)
    assert found.low == pytest.approx(3 - 1.5 * 12.7062, abs=1e-3)
    assert found.high == pytest.approx(3 + 1.5 * 12.7062, abs=1e-3)
    assert found.missing_rate == 0.2


@given(st.lists(st.floats(1, 5), min_size=2, max_size=30))
def test_with_one_row_a_persona_the_interval_is_the_plain_one(values: list[float]) -> None:
    found = estimate_mean([make(f"p{n}", value) for n, value in enumerate(values)])
    error = plain.stdev(values) / math.sqrt(len(values))
    reach = t_quantile(0.975, len(values) - 1) * error
    assert found.mean == pytest.approx(plain.mean(values))
    assert found.sd == pytest.approx(plain.stdev(values))
    assert found.low == pytest.approx(plain.mean(values) - reach)
    assert found.high == pytest.approx(plain.mean(values) + reach)


def test_asking_the_same_persona_again_does_not_narrow_the_interval() -> None:
    once = [make(f"p{n}", float(1 + n % 5)) for n in range(20)]
    found, many = estimate_mean(once), estimate_mean(once * 10)
    assert many.mean == found.mean
    assert many.standard_error == pytest.approx(found.standard_error)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    held = 0
    for seed in range(400):
        dice = random.Random(seed)
        levels = [dice.gauss(3, 1) for _ in range(8)]
        rows = [make(f"p{n}", level + dice.gauss(0, 0.2)) for n, level in enumerate(levels * 3)]
        rows = [replace(row, persona=f"p{n % 8}") for n, row in enumerate(rows)]
        found = estimate_mean(rows)
        assert found.low is not None
        assert found.high is not None
        held += found.low < 3 < found.high
    assert 0.92 < held / 400 < 0.98


@pytest.mark.parametrize(
    ("rows", "mean", "sd"),
    [
        ([], None, None),
        ([make("a", None), make("b", float("nan"))], None, None),
        ([make("a", 4)], 4.0, None),
        ([make("a", 4), make("a", 2)], 3.0, math.sqrt(2)),
    ],
)
def test_what_cannot_be_estimated_is_none(
    rows: list[Score], mean: float | None, sd: float | None
) -> None:
    found = estimate_mean(rows)
    assert (found.mean, found.low, found.high, found.standard_error) == (mean, None, None, None)
    assert found.sd == (sd if sd is None else pytest.approx(sd))


def test_a_persona_score_is_the_mean_of_task_means_and_lacks_no_task() -> None:
    rows = [
        make("a", 5, "voice", 0),
        make("a", 4, "voice", 1),
        make("a", None, "voice", 2),
        make("a", 2, "facts"),
        make("b", 1, "voice"),
        make("b", 2, "facts"),
        make("c", 5, "voice"),
        make("c", None, "facts"),
    ]
    found = score_personas(rows)
    assert found.by_persona == (("a", 3.25), ("b", 1.5))
    assert found.tasks == ("facts", "voice")
    assert found.missing == 2
    over = found.over_personas
    assert (over.mean, over.rows, over.clusters, over.missing) == (2.375, 2, 2, 1)
    assert over.sd == pytest.approx(1.75 / math.sqrt(2))
    alone = score_personas(rows, ["voice"])
    assert alone.by_persona == (("a", 4.5), ("b", 1.0), ("c", 5.0))
    assert alone.missing == 1


def test_a_task_that_nobody_has_leaves_every_persona_out() -> None:
    found = score_personas([make("a", 5), make("b", 4)], ["voice", "facts"])
    assert found.over_personas.mean is None
    assert found.over_personas.missing == 2


@settings(max_examples=80, deadline=None)
@given(SCORES, st.randoms(use_true_random=False))
def test_shuffling_rows_changes_nothing(scores: list[Score], dice: random.Random) -> None:
    theirs = [replace(score, value=4.1) for score in scores]
    mixed = dice.sample(scores, len(scores))
    assert estimate_mean(mixed) == estimate_mean(scores)
    assert score_personas(mixed) == score_personas(scores)
    assert compare(mixed, theirs) == compare(scores, theirs)
    one, two = (compare_persona_scores(rows, theirs) for rows in (scores, mixed))
    assert one == two


@settings(max_examples=80, deadline=None)
@given(SCORES)
def test_a_model_is_exactly_as_good_as_itself(scores: list[Score]) -> None:
    for found in (compare(scores, scores), compare_persona_scores(scores, scores)):
        assert found.mean in (0.0, None)
        assert found.low in (0.0, None)
        assert found.high in (0.0, None)
        assert found.p_value in (1.0, None)
        assert found.unmatched == 0


@settings(max_examples=40, deadline=None)
@given(SCORES, st.sampled_from([-2.0, 0.25, 1.0]))
def test_the_other_way_round_the_sign_changes(scores: list[Score], shift: float) -> None:
    theirs = [
        replace(score, value=None if score.value is None else 2.0 + shift) for score in scores
    ]
    one, two = compare(scores, theirs), compare(theirs, scores)
    assert one.p_value == two.p_value
    for ours, other in ((one.mean, two.mean), (one.low, two.high), (one.high, two.low)):
        assert ours == (None if other is None else pytest.approx(-other))


def test_another_draw_of_the_same_model_is_within_the_interval_of_nought() -> None:
    ours, theirs = draw_scores(60, 1), draw_scores(60, 2)
    for found in (compare(ours, theirs), compare_persona_scores(ours, theirs)):
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0 < found.high
        assert found.p_value is not None
        assert found.p_value > 0.05


def test_pairing_finds_what_two_separate_intervals_hide() -> None:
    ours, theirs = draw_scores(60, 1, shift=0.2), draw_scores(60, 2)
    one, two = estimate_mean(ours), estimate_mean(theirs)
    assert one.low is not None
    assert two.high is not None
    assert one.low < two.high  # the intervals overlap
    found = compare(ours, theirs)
    assert found.low is not None
    assert found.low > 0
    assert found.p_value is not None and found.p_value < 0.01
    assert found.mean == pytest.approx(0.2, abs=0.1)


def test_the_interval_is_the_one_of_students_t() -> None:
    found = compare(draw_scores(100, 1), draw_scores(100, 2))
    assert found.low is not None and found.high is not None and found.standard_error is not None
    assert (found.high - found.low) / (2 * 1.984217 * found.standard_error) == pytest.approx(1)
    assert found.detectable == pytest.approx(found.standard_error * 2.83, rel=0.01)


def test_the_p_value_says_what_the_interval_says() -> None:
    for seed in range(40):
        found = compare(draw_scores(8, seed, shift=0.4), draw_scores(8, seed + 100))
        assert found.low is not None and found.high is not None and found.p_value is not None
        assert (found.p_value < 0.05) == (found.low > 0 or found.high < 0)


def test_shares_that_never_differ_leave_room_for_what_was_not_seen() -> None:
    rows = [make(f"p{n}", 1.0) for n in range(7)]
    found = compare_rows(rows, rows, share=True)
    assert found.mean == 0.0 and found.p_value == 1.0
    assert found.low is not None and found.high is not None
    assert found.low == -found.high == pytest.approx(-2.4469 / 9, abs=1e-4)
    assert found.detectable is not None and found.detectable > 0.3


def test_shares_of_many_rows_are_told_apart_as_finely_as_their_rows_allow() -> None:
    dice = random.Random(3)
    ours = [
        make(f"p{n}", float(dice.random() < 0.6), number=k) for n in range(10) for k in range(100)
    ]
    theirs = [replace(row, value=float(dice.random() < 0.4)) for row in ours]
    found = compare_rows(ours, theirs, share=True)
    assert found.low is not None and found.high is not None and found.low > 0
    assert found.high - found.low < 0.2
    sure = compare_rows(
        [make("a", 1.0), make("b", 1.0)], [make("a", 0.0), make("b", 0.0)], share=True
    )
    assert (sure.mean, sure.high) == (1.0, 1.0)


def compare_alike(personas: int, gap: float, *, step: float = 0.0) -> Difference:
    """Compare two models whose every pair differs by the same."""
    theirs = [make(f"p{n:03}", 1.0 + n % 3) for n in range(personas)]
    ours = [replace(row, value=(row.value or 0) + gap) for row in theirs]
    return compare_rows(ours, theirs, step=step)


@pytest.mark.parametrize(
    ("personas", "sign_test"), [(2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125), (10, 0.00195)]
)
def test_where_all_pairs_differ_alike_the_p_value_is_the_sign_tests(
    personas: int, sign_test: float
) -> None:
    found = compare_alike(personas, 0.25)
    assert found.mean == 0.25
    assert found.p_value == pytest.approx(sign_test, abs=1e-5)
    assert found.low is not None and found.high is not None
    assert (found.low > 0) == (personas >= 6)
    assert found.detectable is not None and found.detectable > 0.1


def test_many_pairs_that_all_differ_alike_are_told_apart() -> None:
    found = compare_alike(300, -0.5)
    assert found.p_value is not None and found.p_value < 1e-9
    assert found.high == pytest.approx(-0.5 + 0.5 * 1.968 / 10.121, abs=1e-3)


def test_verdicts_that_never_differ_leave_room_for_what_was_not_seen() -> None:
    found = compare_alike(7, 0.0, step=1.0)
    assert (found.mean, found.p_value) == (0.0, 1.0)
    assert found.low is not None and found.high is not None
    assert found.low == -found.high == pytest.approx(-2.4469 / 9, abs=1e-4)
    assert found.detectable == pytest.approx((2.4469 + 0.9057) / 9, abs=1e-4)


def test_a_measure_on_no_grid_that_never_differs_has_nothing_to_reckon_from() -> None:
    found = compare_alike(7, 0.0)
    assert (found.low, found.high, found.p_value, found.detectable) == (0.0, 0.0, 1.0, None)


def test_a_persona_that_differs_gives_about_the_error_of_one_that_was_not_seen() -> None:
    ours = [make(f"p{n}", 1.0 if n else 2.0) for n in range(20)]
    seen = compare_rows(ours, [replace(row, value=1.0) for row in ours], step=1.0)
    unseen = compare_alike(20, 0.0, step=1.0)
    assert seen.standard_error is not None
    assert unseen.standard_error == pytest.approx(seen.standard_error, rel=0.15)


@pytest.mark.parametrize("ones", range(8))
def test_a_share_has_an_interval_with_a_width_between_0_and_1(ones: int) -> None:
    found = estimate_share([make(f"p{n}", float(n < ones)) for n in range(7)])
    assert found.mean == pytest.approx(ones / 7)
    assert found.mean is not None and found.low is not None and found.high is not None
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.high - found.low > 0.3


def test_wilsons_interval_is_the_textbooks_where_rows_are_independent() -> None:
    scores = [make(f"p{n}", float(n < 30)) for n in range(100)]
    found = estimate_share(scores)
    assert found.low == pytest.approx(0.219, abs=0.002)
    assert found.high == pytest.approx(0.396, abs=0.002)


def test_pairs_are_lost_where_either_model_has_no_verdict_and_that_is_counted() -> None:
    ours = [make("a", 4), make("b", None), make("c", 3), make("d", 1)]
    theirs = [make("a", 3), make("b", 5), make("c", 1), make("e", 1)]
    found = compare(ours, theirs)
    assert found.mean == 1.5
    assert (found.rows, found.clusters, found.missing, found.unmatched) == (2, 2, 1, 2)


def test_persona_scores_are_compared_on_shared_questions_only() -> None:
    ours = [
        make("a", 5, "voice", 0), make("a", 1, "voice", 1), make("a", 4, "facts"),
        make("b", 3, "voice"), make("b", 3, "facts"),
        make("c", 2, "voice"), make("c", None, "facts"),
    ]  # fmt: skip
    theirs = [
        make("a", 4, "voice", 0), make("a", None, "voice", 1), make("a", 1, "facts"),
        make("b", 3, "voice"), make("b", 4, "facts"),
        make("c", 1, "voice"), make("c", 1, "facts"),
    ]  # fmt: skip
    found = compare_persona_scores(ours, theirs)
    assert found.mean == pytest.approx((2.0 - 0.5) / 2)  # a: (1 + 3) / 2, b: (0 - 1) / 2
    assert (found.rows, found.clusters, found.missing) == (2, 2, 2)


def test_two_scores_for_one_question_are_an_error() -> None:
    with pytest.raises(ValueError, match="two scores for a-voice-0"):
        compare([make("a", 1), make("a", 2)], [make("a", 1)])


@pytest.mark.parametrize(
    ("clusters", "quantiles"),
    [(11, 2.2281 + 0.8791), (31, 2.0423 + 0.8538), (1001, 1.9623 + 0.8420)],
)
def test_the_detectable_effect_is_the_sum_of_two_quantiles(clusters: int, quantiles: float) -> None:
    assert find_detectable_effect(0.1, clusters) == pytest.approx(0.1 * quantiles, abs=2e-5)


def test_the_detectable_effect_is_found_four_times_in_five() -> None:
    personas, effect = 30, find_detectable_effect(1 / math.sqrt(30), 30)
    found = 0
    for seed in range(400):
        dice = random.Random(seed)
        rows = [make(f"p{n}", dice.gauss(effect, 1)) for n in range(personas)]
        low = estimate_mean(rows).low
        assert low is not None
        found += low > 0
    assert 0.75 < found / 400 < 0.86


def judge(answer: str, who: str, score: float | None, model: str = "tuned") -> Judgement:
    return Judgement(
        key=f"{answer}{who}{model}",
        answer_key=f"{answer}{model}",
        question_key=answer,
        persona_key="p",
        task="expected_action",
        model=model,
        judge=who,
        score=score,
        justification="",
    )


JUDGEMENTS = [
    judge("q1", "x", 4),
    judge("q1", "y", 5),
    judge("q2", "x", 2),
    judge("q2", "y", None),
    judge("q3", "x", 1),
    judge("q1", "x", 1, "base"),
    judge("q1", "z", None, "base"),
]


def test_a_judges_verdicts_are_those_of_one_model() -> None:
    assert [(score.unit, score.value) for score in take_scores(JUDGEMENTS, "tuned", "x")] == [
        ("q1", 4),
        ("q2", 2),
        ("q3", 1),
    ]


def test_a_panels_verdict_needs_every_judge() -> None:
    panel = average_judges(JUDGEMENTS, "tuned")
    assert [(score.unit, score.value) for score in panel] == [
        ("q1", 4.5),
        ("q2", None),
        ("q3", None),
    ]


def test_missing_verdicts_are_counted_by_model_and_judge() -> None:
    counts = [(row.model, row.judge, row.rows, row.missing) for row in count_missing(JUDGEMENTS)]
    assert counts == [
        ("base", "x", 1, 0),
        ("base", "z", 1, 1),
        ("tuned", "x", 3, 0),
        ("tuned", "y", 2, 1),
    ]
    assert [row.rate for row in count_missing(JUDGEMENTS)] == [0, 1, 0, 0.5]
