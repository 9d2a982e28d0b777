"""Proves what a model is: its content, its commit or its name, never its address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from infra.engines.config import ModelConfig
from infra.engines.identity import identify_model, pin_model, read_context_length
from infra.errors import ConfigError
from infra.models.exported import EXPORT_MANIFEST

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(HfApi, "model_info", refuse)


def make_model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"max_position_embeddings": 2048}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def identify(model: Path | str, **knobs: Any) -> str:
    return identify_model(ModelConfig(model=str(model), **knobs))


def test_the_same_files_elsewhere_are_the_same_model(tmp_path: Path) -> None:
    assert identify(make_model(tmp_path / "a")) == identify(make_model(tmp_path / "deep" / "b"))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "chat_template.jinja"])
def test_changed_or_added_content_is_another_model(tmp_path: Path, name: str) -> None:
    before = identify(make_model(tmp_path / "a"))
    changed = make_model(tmp_path / "b")
    (changed / name).write_bytes(b"changed")
    assert identify(changed) != before


def test_weights_rewritten_in_place_are_noticed(tmp_path: Path) -> None:
    model = make_model(tmp_path / "a")
    before = identify(model)
    (model / "model.safetensors").write_bytes(b"weighty")
    assert identify(model) != before


@pytest.mark.parametrize(
    "name",
    [
        "README.md", "LICENSE.txt", "trainer_state.json", "all_results.json", "pytorch_model.bin",
        "model.safetensors.index.json", "flax_model.msgpack",
    ],
)  # fmt: skip
def test_what_no_engine_reads_does_not_count(tmp_path: Path, name: str) -> None:
    model = make_model(tmp_path / "a")
    before = identify(model)
    (model / name).write_text("Something else.")
    assert identify(model) == before


def test_of_generation_settings_only_what_ends_an_answer_counts(tmp_path: Path) -> None:
    model = make_model(tmp_path / "a")
    found = []
    for text in (
        '{"eos_token_id": [3, 5], "temperature": 0.9}', '{"eos_token_id": [3, 5]}',
        '{"eos_token_id": 3}', '{"eos_token_id": [3]}', "{", "[]",
    ):  # fmt: skip
        (model / "generation_config.json").write_text(text)
        found.append(identify(model))
    assert found[0] == found[1] != found[2] == found[3]
    assert found[4] == found[5]


def test_pickled_weights_count_where_there_are_no_others(tmp_path: Path) -> None:
    model = make_model(tmp_path / "a")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    before = identify(model)
    (model / "pytorch_model.bin").write_bytes(b"weighty")
    assert identify(model) != before


def test_our_own_export_is_known_by_its_manifest(tmp_path: Path) -> None:
    left, right = make_model(tmp_path / "a"), make_model(tmp_path / "b", b"other bytes")
    for folder in (left, right):
        (folder / EXPORT_MANIFEST).write_text('{"digest": "same"}')
    assert identify(left) == identify(right)
    (right / EXPORT_MANIFEST).write_text('{"digest": "other"}')
    assert identify(left) != identify(right)


def test_an_endpoint_is_its_models_name_not_its_address() -> None:
    here = identify("llama", engine="endpoint", base_url="http://127.0.0.1:8000/v1")
    there = identify("llama", engine="endpoint", base_url="http://10.0.0.1:8000/v1")
    newer = identify("llama", engine="endpoint", base_url="http://10.0.0.1:8000/v1", revision="2")
    assert here == there == "endpoint:llama@"
    assert newer == "endpoint:llama@2"


def test_a_pinned_commit_needs_no_network() -> None:
    assert identify("org/model", revision=COMMIT) == f"hub:org/model@{COMMIT}"


def test_a_cached_hub_model_is_its_commit(tmp_path: Path) -> None:
    refs = tmp_path / "hub" / "models--org--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    assert identify("org/model") == f"hub:org/model@{COMMIT}"


def test_a_branch_is_pinned_to_the_commit_that_names_the_recipe(tmp_path: Path) -> None:
    branch = ModelConfig(model="org/model", max_num_seqs=7)
    assert pin_model(branch) == branch  # no commit can be had
    refs = tmp_path / "hub" / "models--org--model" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(COMMIT)
    pinned = pin_model(branch)
    assert (pinned.revision, pinned.max_num_seqs) == (COMMIT, 7)
    assert identify_model(pinned) == identify_model(branch)
    (refs / "main").write_text("f" * 40)
    assert pin_model(pinned) == pinned
    for other in (
        ModelConfig(model=str(make_model(tmp_path / "a"))),
        ModelConfig(model="org/model", engine="endpoint", base_url="http://127.0.0.1:1/v1"),
    ):
        assert pin_model(other) == other


def test_without_network_an_unknown_hub_model_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="hub did not answer") as caught:
        identify("org/model")
    (problem,) = caught.value.problems
    assert problem.where == "model org/model"
    assert "pin revision to a commit" in problem.todo


def test_a_hub_that_refuses_connections_is_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        ask(HfApi(endpoint="http://127.0.0.1:9"), "org/model")

    monkeypatch.undo()
    ask = HfApi.model_info
    monkeypatch.setattr(HfApi, "model_info", refuse)
    branch = ModelConfig(model="org/a-model-that-nobody-has")
    assert pin_model(branch) == branch
    with pytest.raises(ConfigError, match="hub did not answer"):
        identify_model(branch)


def test_the_context_is_what_the_folder_says_if_it_says(tmp_path: Path) -> None:
    model = make_model(tmp_path / "a")
    assert read_context_length(model) == 2048
    (model / "config.json").write_text("{}")
    assert read_context_length(model) is None
    assert read_context_length(tmp_path / "none") is None
