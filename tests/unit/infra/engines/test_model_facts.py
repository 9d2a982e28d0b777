"""Proves that a model's size is read without its weights, and known without a network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from infra.engines.config import ModelConfig
from infra.engines.model_facts import (
    ModelFacts,
    find_cached_commit,
    find_model_facts,
    find_model_folder,
    is_hub_name,
    read_folder_facts,
)

HUB = "meta-llama/Meta-Llama-3-8B-Instruct"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHAPE = {
    "max_position_embeddings": 2048,
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "vocab_size": 100,
}


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def write_model(folder: Path, *shapes: list[int]) -> Path:
    """Write a model folder whose weight file holds tensors of these shapes, each of two bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(SHAPE))
    header = {
        f"layer.{n}": {"dtype": "BF16", "shape": shape, "data_offsets": [0, 0]}
        for n, shape in enumerate(shapes)
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 40)
    return folder


def count_llama(vocabulary: int, hidden: int, layers: int, inner: int, keys: int) -> int:
    """Count a Llama's weights: untied embeddings, grouped queries, no biases."""
    attention = 2 * hidden * hidden + 2 * hidden * keys
    layer = attention + 3 * hidden * inner + 2 * hidden
    return 2 * vocabulary * hidden + layers * layer + hidden


def count_qwen(vocabulary: int, hidden: int, layers: int, inner: int, keys: int) -> int:
    """Count a Qwen2.5's weights: tied embeddings, biases on queries, keys and values."""
    biases = hidden + 2 * keys
    untied = count_llama(vocabulary, hidden, layers, inner, keys)
    return untied - vocabulary * hidden + layers * biases


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        (HUB, count_llama(128_256, 4096, 32, 14_336, 1024)),
        ("meta-llama/Meta-Llama-3-8B", count_llama(128_256, 4096, 32, 14_336, 1024)),
        ("meta-llama/Meta-Llama-3-70B-Instruct", count_llama(128_256, 8192, 80, 28_672, 1024)),
        ("Qwen/Qwen2.5-0.5B-Instruct", count_qwen(151_936, 896, 24, 4864, 128)),
        ("Qwen/Qwen2.5-1.5B-Instruct", count_qwen(151_936, 1536, 28, 8960, 256)),
    ],
)
def test_the_table_agrees_with_the_architectures(name: str, counted: int) -> None:
    facts = find_model_facts(ModelConfig(model=name))
    assert facts is not None
    assert facts.parameters == counted
    assert facts.bytes == 2 * counted


def test_a_folder_is_measured_by_the_headers_of_its_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", [100, 8], [8, 8], [8])
    size = (folder / "model.safetensors").stat().st_size
    assert read_folder_facts(folder) == ModelFacts(2048, 872, 2, 8, 100, size)


def test_pickled_weights_are_measured_by_their_size(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\0" * 40)
    (folder / "config.json").write_text(json.dumps({**SHAPE, "torch_dtype": "bfloat16"}))
    found = read_folder_facts(folder)
    assert found is not None
    assert (found.parameters, found.bytes) == (20, 40)


@pytest.mark.parametrize("broken", ["weights", "config", "nothing"])
def test_a_folder_that_tells_nothing_is_unknown(tmp_path: Path, broken: str) -> None:
    folder = write_model(tmp_path / "model", [8])
    if broken == "weights":
        (folder / "model.safetensors").write_bytes(b"weights")
    elif broken == "config":
        (folder / "config.json").write_text("{}")
    else:
        (folder / "config.json").unlink()
    assert read_folder_facts(folder) is None


def test_what_is_no_model_of_ours_has_no_facts() -> None:
    endpoint = ModelConfig(engine="endpoint", model=HUB, base_url="http://127.0.0.1/v1")
    assert find_model_facts(endpoint) is None
    assert find_model_facts(ModelConfig(engine="scripted", model=HUB)) is None
    assert find_model_facts(ModelConfig(model="nobody/nothing")) is None


def test_a_downloaded_model_is_found_by_its_name_or_commit(hub: Path) -> None:
    folder = hub / "models--meta-llama--Meta-Llama-3-8B-Instruct"
    assert find_model_folder(ModelConfig(model=HUB)) is None
    snapshot = write_model(folder / "snapshots" / COMMIT, [8, 8])
    pinned = ModelConfig(model=HUB, revision=COMMIT)
    assert find_cached_commit(ModelConfig(model=HUB)) is None
    assert find_cached_commit(pinned) == COMMIT
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(f"{COMMIT}\n")
    assert find_cached_commit(ModelConfig(model=HUB)) == COMMIT
    assert find_model_folder(ModelConfig(model=HUB)) == snapshot
    found = find_model_facts(pinned)
    assert found is not None
    assert found.parameters == 64


@pytest.mark.parametrize(
    ("name", "told"),
    [(HUB, True), ("gpt2", True), ("./model", False), ("/models/x", False), ("a/b/c", False)],
)
def test_a_hub_name_is_told_from_a_path(name: str, told: bool) -> None:
    assert is_hub_name(ModelConfig(model=name)) is told
    assert not is_hub_name(ModelConfig(engine="scripted", model=name))


def test_a_folder_of_that_name_is_no_hub_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "meta-llama" / "mine", [8])
    assert not is_hub_name(ModelConfig(model="meta-llama/mine"))
    assert find_model_folder(ModelConfig(model="meta-llama/mine")) is not None
