"""Proves that runs are compared on what they share, and that unlike verdicts are never paired."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from flows.look.comparing import RunComparison, compare_runs, print_comparison
from infra.errors import ConfigError
from infra.store.storage import Storage
from tasks.scores import Comparison, Measure
from tests.unit.flows.evaluated import evaluate_run, write_run

LOW: list[float | None] = [1.0, 2.0, 1.0, 2.0]
HIGH: list[float | None] = [4.0, 5.0, 4.0, 5.0]


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


def compare(one: str, two: str, root: str | None = None) -> RunComparison:
    return compare_runs(one, two, root)


def find_difference(found: RunComparison, name: str, model: str, against: str) -> Comparison:
    (item,) = [
        item
        for item in found.comparisons
        if (item.name, item.model, item.against) == (name, model, against)
    ]
    return item


def find_measures(found: RunComparison, name: str) -> dict[tuple[str, str], Measure]:
    return {(item.judge, item.model): item for item in found.measures if item.name == name}


def find_problem(one: str, two: str, root: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        compare(one, two, root)
    return str(caught.value)


def test_models_of_b_are_compared_with_models_of_a_on_the_same_questions(
    storage: Storage,
) -> None:
    one = evaluate_run(storage, "one", {"base": LOW, "tuned": HIGH})
    two = evaluate_run(storage, "two", {"base": LOW, "tuned": HIGH})
    found = compare(one, two)
    above = find_difference(found, "persona_score", "B:tuned", "A:base")
    assert (above.mean, above.rows, above.unmatched) == (3, 4, 0)
    # All four differ alike: Student's t is held to the sign test, 2 / 2 ** 4.
    assert above.p_value == pytest.approx(0.125)
    assert above.low == pytest.approx(-1.518, abs=1e-3)
    same = find_difference(found, "persona_score", "B:base", "A:base")
    assert (same.mean, same.p_value) == (0, 1)
    assert same.low == -(same.high or 0) == pytest.approx(-0.530, abs=1e-3)
    pairs = [(i.model, i.against) for i in found.comparisons if i.name == "persona_score"]
    assert pairs == [
        ("B:base", "A:base"), ("B:tuned", "A:tuned"), ("B:base", "A:tuned"), ("B:tuned", "A:base"),
    ]  # fmt: skip


def test_runs_of_two_stores_are_compared(tmp_path: Path) -> None:
    one = evaluate_run(Storage(str(tmp_path / "a")), "run", {"base": LOW})
    two = evaluate_run(Storage(str(tmp_path / "b")), "run", {"base": HIGH})
    found = compare(one, two)
    assert find_difference(found, "score", "B:base", "A:base").mean == 3.0
    assert (found.a.root, found.b.root) == (str(tmp_path / "a"), str(tmp_path / "b"))


def test_only_shared_questions_enter_a_difference_and_the_others_are_counted(
    storage: Storage,
) -> None:
    one = evaluate_run(storage, "one", {"base": [1.0, 1.0, 1.0, 5.0]})
    two = evaluate_run(storage, "two", {"base": [5.0, None, 2.0, 2.0, 2.0]}, first=1)
    found = compare(one, two)
    item = find_difference(found, "score", "B:base", "A:base")
    # Shared are questions 1, 2 and 3, of which 2 has no verdict in B: 5 - 1 and 2 - 5.
    assert (item.mean, item.rows, item.missing, item.unmatched) == (0.5, 2, 1, 3)
    (questions, examples) = found.shared
    assert (questions.both, questions.only_a, questions.only_b) == (3, 1, 2)
    assert (examples.both, examples.only_a, examples.only_b) == (3, 1, 2)
    means = find_measures(found, "score")
    assert means["judge", "A:base"].mean == 2.0
    assert (means["judge", "B:base"].rows, means["judge", "B:base"].missing) == (4, 1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"prompt": "Rate it kindly."}, "prompt"),
        ({"examples": "Write five."}, "score examples"),
    ],
)
def test_verdicts_made_otherwise_stand_side_by_side_unpaired(
    storage: Storage, options: dict[str, str], why: str
) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    two = evaluate_run(storage, "two", {"base": HIGH}, **options)  # type: ignore[arg-type]
    found = compare(one, two)
    (match,) = found.judges
    assert not match.paired
    assert match.why.endswith(f": {why}")
    assert not [item for item in found.comparisons if item.judge]
    assert set(find_measures(found, "score")) == {("A:judge", "A:base"), ("B:judge", "B:base")}
    assert find_difference(found, "attribution", "B:base", "A:base").rows == 4
    assert f"judge judge: not paired, its verdicts were made otherwise: {why}" in (
        print_comparison(found)
    )


def test_equal_example_replies_leave_verdicts_paired(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW}, examples="Write five.")
    two = evaluate_run(storage, "two", {"base": HIGH}, examples="Write five.")
    assert compare(one, two).judges[0].paired


def test_attribution_is_paired_only_against_the_same_characters(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    two = evaluate_run(storage, "two", {"base": HIGH})
    three = evaluate_run(storage, "three", {"base": HIGH}, others=("somebody", "else"))
    same = compare(one, two)
    assert find_difference(same, "attribution", "B:base", "A:base").mean == pytest.approx(0.6)
    assert find_measures(same, "attribution")["", "A:base"].chance == 0.5
    other = compare(one, three)
    item = find_difference(other, "attribution", "B:base", "A:base")
    assert (item.mean, item.rows, item.unmatched) == (None, 0, 8)
    assert find_difference(other, "profile_gain", "B:base", "A:base").rows == 4


def test_what_answers_are_like_is_compared_without_a_judge(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    found = compare(one, one)
    for name in ("refusals", "ai_admissions", "stops", "words"):
        item = find_difference(found, name, "B:base", "A:base")
        assert (item.mean, item.rows) == (0, 4)
    assert find_measures(found, "words")["", "A:base"].mean == 3.0


def test_the_names_of_models_say_what_stood_behind_them(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW, "tuned": HIGH})
    assert compare(one, one).a.models == {"A:base": "meta/base-model", "A:tuned": "the export"}


def test_a_role_that_answered_under_two_prompts_is_two_models(storage: Storage) -> None:
    names = ("base", "base-personagym", "tuned-personagym")
    one = evaluate_run(storage, "one", dict.fromkeys(names, LOW))
    asked = [{"role": role, "prompt": "personagym"} for role in ("base", "tuned")]
    config = {
        "models": {"base": {"model": "meta/base-model"}},
        "evaluation": {"models": ["base", *asked]},
    }
    storage.write_bytes("runs/one/config.yaml", yaml.safe_dump(config).encode())
    found = compare(one, one)
    assert found.a.models == {
        "A:base": "meta/base-model",
        "A:base-personagym": "meta/base-model under personagym",
        "A:tuned-personagym": "the export under personagym",
    }
    pairs = {(i.model, i.against) for i in found.comparisons if i.name == "persona_score"}
    assert len(pairs) == 9
    assert find_difference(found, "persona_score", "B:base", "A:base-personagym").rows == 4


def test_runs_without_anything_in_common_say_so(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    two = evaluate_run(storage, "two", {"base": LOW}, first=100)
    text = print_comparison(compare(one, two))
    assert "questions: 0 in both runs, 4 only in A, 4 only in B" in text
    assert "Nothing was measured in both runs." in text


def test_a_run_without_evaluation_gives_an_empty_comparison(storage: Storage) -> None:
    one = write_run(storage, "one", [])
    found = compare(one, one)
    assert (found.measures, found.comparisons, found.judges, found.shared) == ((), (), (), ())
    assert "Nothing was measured in both runs." in print_comparison(found)


def test_the_table_shows_the_difference_with_its_interval(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    two = evaluate_run(storage, "two", {"base": HIGH})
    text = print_comparison(compare(one, two))
    (line,) = [
        line for line in text.splitlines() if line.startswith("persona score") and "\u2212" in line
    ]
    assert line.split() == [
        "persona", "score", "judge", "B:base", "\u2212", "A:base", "+3.000", "-1.518", "…",
        "+7.518", "0.125", "5.907", "4", "0", "0",
    ]  # fmt: skip


def test_json_holds_the_same_figures(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    found = compare(one, one)
    plain = json.loads(found.model_dump_json())
    assert plain["comparisons"][0]["model"] == "B:base"
    assert RunComparison.model_validate(plain) == found


def test_a_run_is_named_by_folder_file_or_name(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    for given, root in (
        (f"{one}/", None),
        (f"{one}/summary.json", None),
        (f"{one}/report.html", None),
        ("one", storage.root),
    ):
        assert compare(given, one, root).a.run == "one"
    monkeypatch.chdir(Path(one).parent)
    assert compare("one", "./one").b.run == "one"


def test_what_is_no_run_is_said_with_the_runs_there_are(storage: Storage, tmp_path: Path) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    assert "runs there: one" in find_problem(one, "two", storage.root)
    assert "RUN_B two" in find_problem(one, "two", storage.root)
    assert "or --root" in find_problem("nowhere", one)
    assert "is not the folder of a run" in find_problem(str(tmp_path / "else" / "one"), one)


def test_a_run_whose_rows_are_gone_is_said(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    (path,) = storage.walk("answers_base", ".json")
    storage.remove(path)
    assert "its node answers_base is gone" in find_problem(one, one)


def test_a_broken_summary_is_said(storage: Storage) -> None:
    one = evaluate_run(storage, "one", {"base": LOW})
    storage.write_bytes("runs/one/summary.json", b"{")
    assert "summary.json cannot be read" in find_problem(one, one)
