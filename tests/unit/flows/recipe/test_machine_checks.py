"""Proves that what has no place is told before anything starts, and what has one is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import pipeline
from flows.control.doctor import examine
from flows.recipe.graph import build_graph
from flows.recipe.machine_checks import ask_of_nodes, check_machine, find_misfits
from flows.recipe.opening import open_context, prepare
from flows.recipe.settings import Settings, load_settings
from infra.cluster.devices import Devices, NodeDevices
from infra.cluster.node_checks import Question
from infra.cluster.session import Cluster
from infra.cluster.torch_build import TorchBuild
from infra.context import Quiet
from infra.errors import ConfigError, Problem
from infra.nodes.node import Node
from tasks.training.rows.batching import choose_ranks
from tests.unit.flows.worlds import make_config, write_config, write_model

CPU = TorchBuild("2.13.0+cpu", "cpu")
CUDA = TorchBuild("2.13.0", "cuda", "13.0")
CLUSTER = Devices((NodeDevices("small", 16, 2), NodeDevices("big", 64, 4)))
LAPTOP = Devices((NodeDevices("laptop", 2, 0),), where="this machine", build=CPU)


def load(*overrides: str) -> Settings:
    return load_settings("configs/demo.yaml", overrides)


def find(devices: Devices, *overrides: str) -> dict[str, Problem]:
    settings = load(*overrides)
    problems = list(find_misfits(settings, settings.models, True, devices))
    assert all(problem.todo for problem in problems)
    return {problem.where: problem for problem in problems}


def test_the_demo_fits_one_gpu_two_cores_and_a_cluster() -> None:
    one = Devices((NodeDevices("box", 8, 1),), where="this machine", build=CUDA)
    for devices in (one, LAPTOP, CLUSTER):
        assert find(devices) == {}


@pytest.mark.parametrize("config", ["configs/demo.yaml", "configs/laptop.yaml"])
def test_shipped_configurations_train_on_what_there_is(config: str) -> None:
    training = load_settings(config, ()).training
    assert training is not None
    one = Devices((NodeDevices("box", 8, 1),))
    assert [choose_ranks(training, devices) for devices in (LAPTOP, one)] == [2, 1]
    assert choose_ranks(training, CLUSTER) == training.global_batch  # which six cannot share


def test_more_ranks_than_gpus_are_told_with_both_numbers() -> None:
    told = find(CLUSTER, "training.workers=8")
    assert list(told) == ["training.workers"]
    assert "8 ranks, the cluster has 6 GPUs (small has 2, big has 4)" in str(told)
    assert find(CLUSTER, "training.workers=6") == {}


def test_more_ranks_than_cpus_are_told_where_they_are_on_cpus() -> None:
    told = find(LAPTOP, "training.workers=3")["training.workers"]
    assert "3 ranks, this machine has 2 CPUs" in told.what and "computes on no GPU" in told.what
    farm = Devices((NodeDevices("a", 4, 0), NodeDevices("b", 4, 0)))
    assert find(farm, "training.workers=8") == {}
    assert find(farm, "training.workers=9")["training.workers"].todo == "at most 8, or auto"


def test_an_engine_cannot_span_nodes() -> None:
    told = find(CLUSTER, "models.teacher.tensor_parallel=8")["models.teacher.tensor_parallel"]
    assert "8 GPUs of one node, the cluster has 6 GPUs (small has 2, big has 4)" in told.what
    assert find(CLUSTER, "models.teacher.tensor_parallel=4") == {}
    cpus = find(LAPTOP, "models.teacher.tensor_parallel=2")["models.teacher.tensor_parallel"]
    assert "2 GPUs of one node, this machine has no GPU; PyTorch 2.13.0+cpu" in cpus.what


@pytest.mark.parametrize(
    ("replicas", "span", "fits"), [(6, 1, True), (7, 1, False), (3, 2, True), (2, 4, False)]
)
def test_engines_that_never_stand_side_by_side_are_told(
    replicas: int, span: int, fits: bool
) -> None:
    given = f"models.teacher={{model: m, replicas: {replicas}, tensor_parallel: {span}}}"
    assert list(find(CLUSTER, given)) == ([] if fits else ["models.teacher.replicas"])


def test_engines_on_cpus_take_turns_but_their_replicas_cannot() -> None:
    assert find(LAPTOP, "models.teacher.replicas=3") == {}
    assert "5 engines" in find(LAPTOP, "models.teacher.replicas=5")["models.teacher.replicas"].what


def test_a_build_for_gpus_without_one_is_told() -> None:
    bare = Devices((NodeDevices("box", 8, 0),), where="this machine", build=CUDA)
    told = find(bare)
    assert set(told) == {"models.base", "models.teacher"}
    assert "built for CUDA 13.0" in told["models.base"].what


def test_endpoints_need_no_place() -> None:
    far = "{engine: endpoint, model: big, replicas: 64, base_url: 'http://127.0.0.1:9/v1'}"
    assert find(LAPTOP, f"models.teacher={far}") == {}


def roles_of(config: Path, todo: set[str], *overrides: str) -> set[str]:
    settings = prepare(config, overrides)
    with open_context(settings, Quiet()) as context:
        graph = build_graph(settings, context)
        return {engine for name in todo if (engine := graph[name].engine) is not None}


def test_only_engines_of_nodes_to_be_made_need_a_place(tmp_path: Path) -> None:
    roles = ("teacher", "writer", "base", "judge")
    config = make_config(tmp_path)
    config["models"] = {role: {"model": str(write_model(tmp_path / role))} for role in roles}
    config["models"]["base"]["chat_template"] = "templates/training/llama3.serving.jinja"
    for role in ("teacher", "writer", "judge"):
        config["models"][role]["chat_template"] = "templates/training/llama3.serving.jinja"
    config["dialogues"]["generate"] = {"model": "writer"}
    config["training"] = {"max_length": 1024}
    config["evaluation"] = {"judges": [{"model": "judge", "examples": None}]}
    written = write_config(tmp_path, config)
    assert roles_of(written, {"personas", "instructions", "curation", "scores"}) == set()
    assert roles_of(written, {"characters"}) == {"teacher"}
    assert roles_of(written, {"characters", "dialogues_generate"}) == {"teacher", "writer"}
    assert roles_of(written, {"training"}) == {"base"}
    assert roles_of(written, {"answers_tuned", "judgements_judge_tuned"}) == {"base", "judge"}


def make_wide(folder: Path) -> dict[str, Any]:
    """Return a sound configuration whose teacher spans more GPUs than anybody has."""
    config = make_config(folder)
    wide = {"model": str(write_model(folder / "wide")), "tensor_parallel": 1024}
    config["models"]["teacher"] = wide
    template = "templates/training/llama3.serving.jinja"
    config["models"]["teacher"]["chat_template"] = template
    return config


def test_a_run_is_refused_before_ray_starts_and_a_plan_is_not(tmp_path: Path) -> None:
    settings = prepare(write_config(tmp_path, make_wide(tmp_path)))
    with open_context(settings, Quiet()) as context:
        graph = build_graph(settings, context)
        with pytest.raises(ConfigError, match="tensor_parallel: one engine spans 1024 GPUs"):
            check_machine(settings, context, graph)
        check_machine(settings, context, graph.up_to("personas"))  # which asks no model
        assert not context.cluster.started


def test_a_cluster_that_grows_is_not_held_to_what_it_has(tmp_path: Path) -> None:
    settings = prepare(write_config(tmp_path, make_wide(tmp_path)), ["ray.grows=true"])
    with open_context(settings, Quiet()) as context:
        check_machine(settings, context, build_graph(settings, context))
    with pytest.raises(ConfigError, match="auto counts the GPUs that are there"):
        prepare("configs/demo.yaml", [f"storage.root={tmp_path}", "ray.grows=true"])


def test_the_flow_checks_before_it_starts_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(pipeline, "start_nodes", lambda *_: started.append("node"))
    monkeypatch.setattr(pipeline, "publish_plan", lambda *_: None)
    with pytest.raises(ConfigError, match="1024 GPUs"):
        pipeline.run_pipeline(prepare(write_config(tmp_path, make_wide(tmp_path))), Quiet())
    assert started == []


def test_doctor_says_what_has_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not examine(str(write_config(tmp_path, make_wide(tmp_path))), ())
    told = "".join(capsys.readouterr().out.split())
    assert "modelsteachertensor_parallel" in told.replace(".", "")
    assert "✓PyTorch" in told


def test_nodes_are_asked_for_what_the_engines_to_come_need_there(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    folder = write_model(tmp_path / "teacher")
    config["models"] = {
        "teacher": {
            "model": str(folder),
            "chat_template": "templates/training/llama3.serving.jinja",
        },
        "far": {"engine": "endpoint", "model": "big", "base_url": "http://127.0.0.1:9/v1"},
        "bucket": {"model": "s3://models/base"},
        "unused": {"model": str(folder)},
        "script": {"engine": "scripted", "model": str(folder)},
    }
    settings = prepare(write_config(tmp_path, config))
    with open_context(settings, Quiet()) as context:
        roles = {"teacher", "far", "bucket", "script", "tuned"}
        question = ask_of_nodes(settings, context, roles)
        assert question.storage is context.storage
    assert question.models == {"teacher": str(folder)}
    assert question.endpoints == {"far": "http://127.0.0.1:9/v1"}


@pytest.mark.parametrize("grows", ["true", "false"])
def test_a_run_that_makes_rows_has_nodes_probed_and_one_that_makes_none_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: str
) -> None:
    asked: list[Question] = []
    monkeypatch.setattr(Cluster, "probe_at_start", lambda _, question, note: asked.append(question))
    settings = prepare(write_config(tmp_path, make_config(tmp_path)), [f"ray.grows={grows}"])
    with open_context(settings, Quiet()) as context:
        graph = build_graph(settings, context)
        check_machine(settings, context, graph.up_to("personas"))
        assert asked == []
        check_machine(settings, context, graph)
    assert len(asked) == 1


def test_a_model_that_is_loaded_without_an_engine_is_asked_for_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Question] = []
    monkeypatch.setattr(Cluster, "probe_at_start", lambda _, question, note: asked.append(question))
    folder = write_model(tmp_path / "student")
    config = make_config(tmp_path)
    config["models"]["student"] = {"model": str(folder)}
    config["evaluation"] = {"models": ["student"], "judges": []}
    settings = load_settings(write_config(tmp_path, config))
    monkeypatch.setattr(Node, "find", lambda node: None if node.kind == "attribution" else node)
    with open_context(settings, Quiet()) as context:
        check_machine(settings, context, build_graph(settings, context))
    assert [question.models for question in asked] == [{"student": str(folder)}]
