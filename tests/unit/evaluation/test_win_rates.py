"""Proves that win rates count what was preferred, and judges are counted on the same pairs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.judging.preferences import Preference
from tasks.evaluation.measures.score_table import Inputs, make_score_table
from tasks.evaluation.measures.win_rates import measure_win_rates
from tasks.measures.evidence import Evidence
from tasks.measures.statistics import Score, estimate_share
from tasks.records import Answer, EvalTask, Judgement
from tasks.scores import PANEL, PEOPLE, WinRate

UNITS = 12
"""Questions, of which two in a row are one persona's."""

TASK: EvalTask = "linguistic_habits"


def make_answers(model: str) -> list[Answer]:
    return [
        Answer(f"{model}{n}", f"q{n}", f"p{n // 2}", "A baker.", TASK, model, "Who?", "Me.", False)
        for n in range(UNITS)
    ]


def judge_all(judge: str, model: str, scores: Sequence[float | None]) -> list[Judgement]:
    return [
        Judgement(
            f"{judge}{model}{n}",
            f"{model}{n}",
            f"q{n}",
            f"p{n // 2}",
            TASK,
            model,
            judge,
            score,
            "",
        )
        for n, score in enumerate(scores)
    ]


def make_evidence(*judgements: Judgement, models: tuple[str, ...] = ("base", "tuned")) -> Evidence:
    judges = tuple(dict.fromkeys(row.judge for row in judgements))
    answers = {model: make_answers(model) for model in models}
    return Evidence(models, judges, judgements, answers, {}, ())


def prefer(choices: str, rater: str = "anna", *, blind: bool = True) -> list[Preference]:
    """Return what a rater prefers: t the tuned model, b the base, = neither, . undecided."""
    return [
        Preference(
            *(sides if n % 3 else sides[::-1]),
            rater,
            {"t": f"tuned{n}", "b": f"base{n}", "=": "", ".": None}[choice],
            blind,
        )
        for n, choice in enumerate(choices)
        for sides in [(f"base{n}", f"tuned{n}")]
        if choice != " "
    ]


def measure(evidence: Evidence, preferences: list[Preference]) -> dict[str, WinRate]:
    found = measure_win_rates(evidence, preferences)
    return {item.rater: item for item in found}


def test_wins_ties_and_losses_are_the_tuned_models_whatever_side_it_stood_on() -> None:
    (rate,) = measure_win_rates(make_evidence(), prefer("tttb=.t"))
    assert (rate.rater, rate.judge, rate.model, rate.against) == (PEOPLE, False, "tuned", "base")
    assert (rate.wins, rate.ties, rate.losses, rate.missing) == (4, 1, 1, 1)
    assert rate.share == pytest.approx(4.5 / 6)
    assert rate.clusters == 4 and rate.agreed is None and rate.unblinded == 0


def test_the_interval_is_wilsons_clustered_by_persona() -> None:
    (rate,) = measure_win_rates(make_evidence(), prefer("ttbbttbbtttt"))
    values = [1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1]
    scores = [Score(f"q{n}", f"p{n // 2}", "", float(value)) for n, value in enumerate(values)]
    clustered = estimate_share(scores)
    assert (rate.low, rate.high) == (clustered.low, clustered.high)
    apart = estimate_share([Score(one.unit, one.unit, "", one.value) for one in scores])
    assert rate.low is not None and apart.low is not None and rate.low < apart.low


def test_several_people_count_once_a_pair_together_and_each_alone() -> None:
    found = measure(make_evidence(), [*prefer("ttbb"), *prefer("tb.  t", "ben", blind=False)])
    assert list(found) == [PEOPLE, "anna", "ben"]
    together = found[PEOPLE]
    assert (together.wins, together.ties, together.losses, together.missing) == (2, 1, 2, 0)
    assert together.share == pytest.approx((1 + 0.5 + 0 + 0 + 1) / 5)
    assert (found["anna"].wins, found["anna"].losses) == (2, 2)
    assert (found["ben"].wins, found["ben"].losses, found["ben"].missing) == (2, 1, 1)
    assert [found[name].unblinded for name in (PEOPLE, "anna", "ben")] == [3, 0, 3]


def test_a_judge_is_counted_on_the_pairs_that_people_rated() -> None:
    base = [3.0] * UNITS
    tuned: list[float | None] = [4.0, 4.0, 2.0, 3.0, None, 5.0, *[5.0] * 6]
    evidence = make_evidence(*judge_all("judge", "base", base), *judge_all("judge", "tuned", tuned))
    found = measure(evidence, prefer("tbbtt=."))
    judge = found["judge"]
    assert judge.judge and (judge.wins, judge.ties, judge.losses, judge.missing) == (3, 1, 1, 1)
    # Decided by both: q0 alike, q1 not, q2 alike. q3 is the judge's tie, q4 missing, q5 people's.
    assert judge.agreed == pytest.approx(2 / 3) and judge.agreed_rows == 3
    assert judge.agreed_low is not None and judge.agreed_high is not None


def test_several_judges_are_a_panel_too() -> None:
    rows = [
        *judge_all("one", "base", [1.0] * 4), *judge_all("one", "tuned", [5.0] * 4),
        *judge_all("two", "base", [3.0] * 4), *judge_all("two", "tuned", [2.0] * 4),
    ]  # fmt: skip
    found = measure(make_evidence(*rows), prefer("tttt"))
    assert {name: item.share for name, item in found.items()} == {
        PEOPLE: 1.0, "one": 1.0, "two": 0.0, PANEL: 1.0,
    }  # fmt: skip
    assert (found["two"].agreed, found[PANEL].agreed) == (0.0, 1.0)


def test_other_models_are_pairs_of_their_own_against_the_one_named_first() -> None:
    evidence = make_evidence(models=("base", "tuned", "other"))
    two = [
        Preference("other0", "tuned0", "anna", "other0"),
        Preference("other1", "base1", "anna", "base1"),
    ]
    found = measure_win_rates(evidence, [*prefer("t"), *two])
    assert [(item.model, item.against, item.share) for item in found] == [
        ("other", "base", 0.0), ("other", "tuned", 1.0), ("tuned", "base", 1.0),
    ]  # fmt: skip


def test_the_order_of_sheets_says_nothing() -> None:
    given = [*prefer("tbt=bt"), *prefer("ttbb=.", "ben")]
    evidence = make_evidence()
    assert measure_win_rates(evidence, given) == measure_win_rates(evidence, given[::-1])


def test_the_score_table_has_win_rates_where_people_compared_and_else_is_what_it_was() -> None:
    config = EvaluationConfig(judges=(), resamples=100)
    without = make_score_table(config, Inputs(make_evidence(), (), ()))
    assert "win_rates" not in [name for name, _, _ in without.list_parts()]
    inputs = Inputs(make_evidence(), (), (), preferences=tuple(prefer("tt=b")))
    told = make_score_table(config, inputs)
    parts = {name: rows for name, _, rows in told.list_parts()}
    assert [item.share for item in parts["win_rates"]] == [2.5 / 4]
    del parts["win_rates"]
    assert parts == {name: rows for name, _, rows in without.list_parts()}
