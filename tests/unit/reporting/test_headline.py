"""Checks the figures at the top and the sentences on which models differ."""

from __future__ import annotations

from dataclasses import replace

from infra.store.storage import Storage
from tasks.reporting.figures import MINUS
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.headline import list_figures, list_verdicts
from tasks.reporting.sections.learning import describe_training
from tasks.scores import PANEL

from .worlds import (
    make_comparison,
    make_comparisons,
    make_measure,
    make_measures,
    write_run,
    write_synthesis,
)


def test_four_figures_of_a_whole_run(storage: Storage) -> None:
    nodes = RunNodes(storage, write_run(storage))
    figures = list_figures(nodes, describe_training(nodes), make_measures(), make_comparisons())
    assert [(item.label, item.before, item.after) for item in figures] == [
        ("PersonaScore", "2.10", "3.90"),
        ("Character attribution", "24.0 %", "81.0 %"),
        ("Held-out loss", "2.500", "0.500"),
        ("SFT rows", "", "24"),
    ]
    assert figures[0].note == "base to tuned: +1.80 (+1.70 to +1.90)"
    assert "80 % less" in figures[2].note
    assert figures[3].note == "from 12 characters, 12 personas"


def test_the_panel_speaks_before_single_judges(storage: Storage) -> None:
    measures = [
        make_measure("persona_score", model, mean, judge=judge)
        for judge, mean in (("a", 2.0), (PANEL, 3.0))
        for model in ("base", "tuned")
    ]
    (figure,) = list_figures(RunNodes(storage, []), None, measures, [])
    assert (figure.before, figure.after) == ("", "3.00")


def test_a_run_without_models_shows_its_rows_alone(storage: Storage) -> None:
    nodes = RunNodes(storage, write_synthesis(storage)[:4])
    (figure,) = list_figures(nodes, None, [], [])
    assert (figure.label, figure.after) == ("Dialogues", "48")
    assert list_figures(RunNodes(storage, []), None, [], []) == ()


def test_a_clear_difference_is_said_with_size_side_and_evidence() -> None:
    better, worse = list_verdicts(
        [
            make_comparison("persona_score", 0.8, judge="j", missing=3),
            make_comparison("attribution", -0.3),
        ]
    )
    assert better.tone == "better"
    assert better.claim == (
        "tuned is 0.80 points above base in PersonaScore by j, "
        "clear of 0 with all 2 comparisons counted."
    )
    assert better.evidence == (
        "95 % interval +0.70 to +0.90; p < 0.001, < 0.001 corrected for 2 comparisons (Holm); "
        "44 personas, 120 pairs; 3 left out for a missing value"
    )
    assert worse.tone == "worse"
    assert "30.0 percentage points below base" in worse.claim


def test_an_interval_that_holds_zero_is_not_called_a_difference() -> None:
    (verdict,) = list_verdicts([make_comparison("attribution_hard", 0.04)])
    assert verdict.tone == "open"
    assert verdict.claim == (
        "tuned and base cannot be told apart in attribution, alike candidates."
    )
    assert f"95 % interval {MINUS}6.0 to +14.0 pp" in verdict.evidence
    assert "12.0 percentage points would be found with 80 % power" in verdict.evidence


def test_one_comparison_alone_needs_no_correction() -> None:
    (verdict,) = list_verdicts([make_comparison("attribution", 0.3, p_value=0.04)])
    assert verdict.claim.endswith("in attribution, random candidates, clear of 0.")
    assert verdict.evidence.startswith("95 % interval +20.0 to +40.0 pp; p 0.040; 44 personas")


def test_what_is_clear_of_0_by_itself_alone_is_not_claimed() -> None:
    weak, _ = list_verdicts(
        [
            make_comparison("persona_score", 0.8, judge="j", p_value=0.03),
            make_comparison("attribution", 0.04, p_value=0.4),
        ]
    )
    assert weak.tone == "open"
    assert weak.claim == (
        "tuned and base cannot be told apart in PersonaScore by j with all 2 comparisons counted."
    )
    assert "p 0.030, 0.060 corrected for 2 comparisons (Holm)" in weak.evidence


def test_a_judge_of_one_rubric_is_claimed_under_its_name_and_counted_once() -> None:
    from_one = make_comparison("persona_score", 0.8, judge="j", p_value=0.03)
    both = [from_one, make_comparison("attribution", 0.04, p_value=0.4)]
    weak, other = list_verdicts(both, {"j": "Sounds right"})
    assert weak.claim == (
        "tuned and base cannot be told apart in Sounds right by j with all 2 comparisons counted."
    )
    assert other.claim == list_verdicts(both)[1].claim
    (alone,) = list_verdicts([from_one], {"j": "Sounds right"})
    assert alone.claim == "tuned is 0.80 points above base in Sounds right by j, clear of 0."


def test_faults_that_did_not_rise_are_counted_though_they_are_not_told() -> None:
    (verdict,) = list_verdicts(
        [make_comparison("persona_score", 0.8), make_comparison("loops", 0.0, p_value=1.0)]
    )
    assert "corrected for 2 comparisons" in verdict.evidence


def test_too_few_rows_are_said_and_tasks_are_left_to_the_table() -> None:
    few = make_comparison("persona_score", 0.8, low=None, high=None, detectable=None, p_value=None)
    none = make_comparison("persona_score", None, low=None, high=None, p_value=None)
    task = make_comparison("score", 0.8, task="expected_action")
    verdicts = list_verdicts([few, none, task, replace(few, name="words")])
    assert [item.tone for item in verdicts] == ["open", "open"]
    assert "too few personas" in verdicts[0].evidence
    assert "share no rows" in verdicts[1].claim


def test_what_other_models_are_among_themselves_steps_aside() -> None:
    ours = make_comparison("persona_score", 0.8, judge="j")
    others = make_comparison("persona_score", 0.1, judge="j", model="control")
    prompted = make_comparison("persona_score", 0.5, judge="j", against="base-strong")
    told = {
        item.claim.partition(" in ")[0]: item.aside
        for item in list_verdicts([ours, others, prompted])
    }
    assert [aside for claim, aside in told.items() if claim.startswith("control")] == [True]
    assert [aside for claim, aside in told.items() if claim.startswith("tuned")] == [False, False]
    (alone,) = list_verdicts([others])
    assert not alone.aside
