"""Proves that a judge is known by its model, whatever its role is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import load_settings
from infra.context import Quiet
from tasks.reporting.nodes import Report
from tasks.reporting.sections.judges import JudgeLine, describe_judges
from tests.unit.flows.worlds import make_config, write_config


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    config = make_config(tmp_path)
    config["models"]["judge"] = {"engine": "scripted", "model": "another"}
    config["models"]["base"] = {"engine": "scripted", "model": "student"}
    config["evaluation"] = {
        "models": ["base"],
        "questions": {"suite": "held_out"},
        "judges": [{"model": "judge"}],
    }
    return config


def describe(folder: Path, config: dict[str, Any]) -> tuple[JudgeLine, ...]:
    settings = load_settings(write_config(folder, config))
    with open_context(settings, Quiet()) as context:
        graph: Graph = build_graph(settings, context)
        report = graph.find_one(Report)
        assert report is not None
        return describe_judges(report.shown)


def test_a_judge_of_another_model_wrote_nothing(tmp_path: Path, config: dict[str, Any]) -> None:
    assert describe(tmp_path, config) == (JudgeLine("judge", "", ()),)


def test_a_judge_is_the_teacher_under_any_name_and_sampling(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["models"]["judge"] |= {"model": "scripted", "dtype": "float32", "max_concurrency": 3}
    (line,) = describe(tmp_path, config)
    assert line.wrote == ("guesses", "characters", "dialogues_generate", "dialogues_rewrite")


def test_only_what_the_judge_s_model_wrote_is_named(tmp_path: Path, config: dict[str, Any]) -> None:
    config["dialogues"]["rewrite"] = {"model": "judge"}
    (line,) = describe(tmp_path, config)
    assert line.wrote == ("dialogues_rewrite",)


def test_the_demo_s_judge_is_its_teacher_with_one_rubric(tmp_path: Path) -> None:
    root = f"storage.root={tmp_path / 'store'}"
    settings = load_settings("configs/demo.yaml", [root])
    with open_context(settings, Quiet()) as context:
        report = build_graph(settings, context).find_one(Report)
        assert report is not None
        (line,) = describe_judges(report.shown)
    assert (line.role, line.rubric) == ("teacher", "In Character")
    assert {"characters", "dialogues_generate"} <= set(line.wrote)
