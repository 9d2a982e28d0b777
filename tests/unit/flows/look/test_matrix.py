"""Proves that several runs are compared on one page, and that what cannot be is told before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.look import matrix
from flows.look.matrix import MatrixReport, opencharacter_matrix, prepare_all, report_matrix
from flows.runs.closing import RunResult, StageCounts
from infra.errors import ConfigError
from infra.store.storage import Storage
from tests.unit.flows.evaluated import evaluate_run
from tests.unit.flows.worlds import make_config, write_config

RUNS: dict[str, list[float | None]] = {
    "one": [1.0, 2.0, 3.0],
    "two": [2.0, 3.0, 4.0],
    "three": [5.0, None, 5.0],
}


def make_result(run: str) -> RunResult:
    return RunResult(
        run=run,
        report=f"/store/runs/{run}/report.html",
        dataset="",
        model="",
        scores={"eval_loss_tuned": 0.5},
        counts={"curation": StageCounts(planned=9, accepted=8, rejected=1)},
        engines_started={},
    )


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "store"))
    for name, scores in RUNS.items():
        evaluate_run(storage, name, {"tuned": scores})
    return storage


@pytest.fixture
def report(storage: Storage) -> MatrixReport:
    configs = [f"configs/{name}.yaml" for name in RUNS]
    results = [make_result(name) for name in RUNS]
    return report_matrix(storage.root, configs, results, name="all")


def test_every_run_is_measured_once_and_compared_with_the_first(report: MatrixReport) -> None:
    scores = {item.run: item.mean for item in report.measures if item.measure == "persona_score"}
    assert scores == {"one": 2.0, "two": 3.0, "three": 5.0}
    names = [
        (item.run, item.model, item.measure, item.judge, item.task) for item in report.measures
    ]
    assert len(names) == len(set(names))
    gains = [item for item in report.differences if item.measure == "persona_score"]
    told = [(item.run, item.against, item.rows) for item in gains]
    assert told == [("two", "one", 3), ("three", "one", 2)]
    assert [item.mean for item in gains] == pytest.approx([1.0, 3.0])


def test_a_judge_that_was_asked_otherwise_is_measured_under_its_own_name(
    storage: Storage,
) -> None:
    evaluate_run(storage, "strict", {"tuned": [1.0, 1.0, 1.0]}, prompt="Be strict.")
    found = report_matrix(storage.root, ["a", "b"], [make_result("one"), make_result("strict")])
    judges = {item.judge for item in found.measures if item.measure == "persona_score"}
    assert judges == {"judge"}
    assert not [item for item in found.differences if item.measure == "persona_score"]


def test_page_table_and_json_lie_beside_the_runs(storage: Storage, report: MatrixReport) -> None:
    folder = Path(storage.root) / "runs" / "matrix-all"
    assert report.page == str(folder / "report.html")
    page = (folder / "report.html").read_text()
    table = (folder / "report.md").read_text()
    for text in (page, table):
        for name in RUNS:
            assert name in text
        assert "3.000 ± 2.484" in text
    assert '<a href="../two/report.html">two</a>' in page
    assert "http" not in page
    again = MatrixReport.model_validate_json((folder / "matrix.json").read_bytes())
    assert again == report
    assert json.loads((folder / "matrix.json").read_text())["runs"][0]["examples"] == 8


def test_a_name_is_text_on_the_page(storage: Storage) -> None:
    results = [make_result("one"), make_result("two")]
    found = report_matrix(storage.root, ["a", "b"], results, name="<b>")
    page = Path(found.page).read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


def write_configs(folder: Path, *changes: dict[str, Any]) -> list[str]:
    config = make_config(folder)
    return [
        str(write_config(folder, {**config, **change}, f"run-{place}.yaml"))
        for place, change in enumerate(changes)
    ]


def test_runs_go_one_after_the_other_with_the_same_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = write_configs(tmp_path, {}, {"characters": {"seed": 1}})
    asked: list[tuple[str, tuple[str, ...]]] = []

    def run(config: str, overrides: tuple[str, ...]) -> RunResult:
        asked.append((config, overrides))
        name = Path(config).stem
        evaluate_run(Storage(str(tmp_path / "store")), name, {"tuned": [1.0, 2.0]})
        return make_result(name)

    monkeypatch.setattr(matrix, "opencharacter", run)
    report = opencharacter_matrix.fn(configs, ("runner.chunk_rows=3",))
    assert asked == [(config, ("runner.chunk_rows=3",)) for config in configs]
    assert report.name == "run-0-to-run-1"


def test_what_cannot_be_compared_is_told_before_anything_runs(tmp_path: Path) -> None:
    other = {"storage": {"root": str(tmp_path / "elsewhere")}}
    broken: dict[str, Any] = {"models": {}}
    configs = write_configs(tmp_path, {}, other, broken)
    with pytest.raises(ConfigError) as caught:
        prepare_all([*configs, configs[0]])
    wheres = [problem.where for problem in caught.value.problems]
    assert "storage.root" in wheres
    assert "run.name" in wheres
    assert any(where.startswith(configs[2]) for where in wheres)
    with pytest.raises(ConfigError, match="two runs or more"):
        prepare_all(configs[:1])
