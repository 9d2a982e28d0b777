"""Proves that a control is trained beside the run's own model, which does not notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows import execute
from flows.execute import Execution
from flows.recipe.checks import check_settings
from flows.recipe.evaluation_nodes import list_trained_roles
from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings, load_settings
from infra.context import Quiet
from infra.errors import ConfigError
from infra.nodes.node import Node
from infra.orchestration.retries import RetryConfig
from tasks.training.nodes import Training

WITH = "evaluation.models=[base, tuned, control]"
OWN = {
    "encoding_control", "training_control", "answers_control", "judgements_teacher_control",
    "attribution_control",
}  # fmt: skip


def load(folder: Path, *overrides: str) -> Settings:
    return load_settings("configs/demo.yaml", [f"storage.root={folder / 'store'}", *overrides])


def build(folder: Path, *overrides: str) -> Graph:
    settings = load(folder, *overrides)
    with open_context(settings, Quiet()) as context:
        return build_graph(settings, context)


def test_a_control_adds_its_nodes_and_moves_none_but_the_scores(tmp_path: Path) -> None:
    plain, both = build(tmp_path), build(tmp_path, WITH)
    before = {node.name: node.spec.fingerprint for node in plain}
    after = {node.name: node.spec.fingerprint for node in both}
    assert set(after) - set(before) == OWN
    assert {name for name in before if before[name] != after[name]} == {"scores", "report"}


def test_a_control_learns_the_same_rows_under_shuffled_profiles(tmp_path: Path) -> None:
    graph = build(tmp_path, WITH)
    own, control = graph.find(Training)
    assert (own.name, control.name) == ("training", "training_control")
    assert control.config.control == "shuffled_profiles" and own.config.control == "none"
    assert control.examples is own.examples
    assert control.encoding.spec.identity["control"] == "shuffled_profiles"
    assert own in control.reads() and own not in control.upstream()
    shuffled = build(tmp_path, "training.control=shuffled_profiles").find_one(Training)
    assert shuffled is not None
    assert control.identity() == shuffled.identity()


@dataclass(frozen=True)
class Promise:
    """Stands for a node that was started."""

    name: str


def start_all(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Return what every node waits for, in the order in which a run starts them."""
    started: dict[str, list[str]] = {}

    def submit(node: Node, retry: RetryConfig, after: Sequence[Any]) -> Promise:
        started[node.name] = [promise.name for promise in after]
        return Promise(node.name)

    monkeypatch.setattr(execute, "submit_node", submit)
    training = graph.find_one(Training)
    assert training is not None
    execution = Execution(graph, RetryConfig())
    execution.start_before(training)
    execution.start(graph)
    return started


def test_trainings_take_turns_and_what_asks_their_models_waits_for_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = start_all(build(tmp_path, WITH), monkeypatch)
    assert not {"training", "training_control"} & set(started["judgements_teacher_base"])
    assert {"judgements_teacher_base", "attribution_base"} <= set(started["training"])
    assert "training" in started["training_control"]
    assert "answers_tuned" not in started["training_control"]
    for name in ("answers_tuned", "attribution_tuned", "answers_control", "attribution_control"):
        assert {"training", "training_control"} <= set(started[name]), name


def test_without_a_control_nothing_waits_for_more_than_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = build(tmp_path)
    started = start_all(graph, monkeypatch)
    for node in graph:
        if node.use != "ranks":
            read = {one.name for one in node.reads()}
            extra = set(started[node.name]) - read
            assert extra <= {"training"}, node.name
            assert not extra or "training" in {one.name for one in execute.trace(node)}


def test_a_model_that_is_called_control_stays_that_model(tmp_path: Path) -> None:
    named = "models.control={engine: scripted, model: c}"
    graph = build(tmp_path, WITH, named)
    assert "training_control" not in graph and "answers_control" in graph
    assert list_trained_roles(load(tmp_path, named)) == {"tuned"}
    assert list_trained_roles(load(tmp_path)) == {"tuned", "control"}
    assert list_trained_roles(load(tmp_path, "training=null")) == set()


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("training=null", r"evaluation\.models\.control: this run trains no model"),
        ("training.control=shuffled_profiles", "own model is a control already"),
    ],
)
def test_a_control_that_cannot_be_is_told(tmp_path: Path, override: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        check_settings(load(tmp_path, WITH, override))
