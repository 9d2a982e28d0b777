"""Proves that only whole, finite, rightly shaped weights leave, cast and cut to size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.training.model.export_errors import BrokenWeights, ChangedVocabulary
from tasks.training.model.export_weights import Architecture, read_architecture, rewrite_weights

from .exports import build_base, read_weights, write_weights

pytestmark = pytest.mark.torch


def read_config(folder: Path) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(folder))


def rewrite(trained: Path, target: Path, architecture: Architecture, **more: Any) -> Any:
    target.mkdir()
    return rewrite_weights(trained, target, architecture, **({"dtype": "bfloat16"} | more))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return build_base(tmp_path / "base")


@pytest.fixture
def architecture(base: Path) -> Architecture:
    return read_architecture(read_config(base))


def test_an_architecture_is_read_without_weights(tmp_path: Path) -> None:
    folder = build_base(tmp_path / "tied", tied=True)
    found = read_architecture(read_config(folder))
    assert found.tied == {"lm_head.weight": "model.embed_tokens.weight"}
    assert found.embeddings == {"lm_head.weight", "model.embed_tokens.weight"}
    stored = {name: tuple(value.shape) for name, value in read_weights(folder).items()}
    assert stored == {n: s for n, s in found.shapes.items() if n not in found.tied}


def test_weights_are_cast_and_otherwise_equal(
    base: Path, architecture: Architecture, tmp_path: Path
) -> None:
    import torch

    written = rewrite(base, tmp_path / "out", architecture)
    before, after = read_weights(base), read_weights(tmp_path / "out")
    assert written.files == ("model.safetensors",)
    assert written.parameters == sum(value.numel() for value in before.values())
    assert before.keys() == after.keys()
    for name, value in after.items():
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, before[name].to(torch.bfloat16))


def test_large_models_are_cut_into_files_with_an_index(
    base: Path, architecture: Architecture, tmp_path: Path
) -> None:
    most = 2048 * 64 * 2 + 10  # an embedding matrix in bf16, and little else
    written = rewrite(base, tmp_path / "out", architecture, shard_bytes=most)
    assert len(written.files) >= 3
    assert all((tmp_path / "out" / name).stat().st_size < most + 4096 for name in written.files)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == read_weights(base).keys()
    assert set(index["weight_map"].values()) == set(written.files)
    assert index["metadata"]["total_size"] == 2 * written.parameters

    from transformers import AutoModelForCausalLM

    (tmp_path / "out" / "config.json").write_text((base / "config.json").read_text())
    again = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"))
    assert sum(value.numel() for value in again.parameters()) == written.parameters


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3.4e38])
def test_numbers_that_are_not_finite_in_the_exported_format_are_refused(
    bad: float, base: Path, architecture: Architecture, tmp_path: Path
) -> None:
    tensors = read_weights(base)
    tensors["model.norm.weight"][7] = bad
    trained = write_weights(tmp_path / "trained", tensors)
    with pytest.raises(BrokenWeights, match=r"model\.norm\.weight holds 1 numbers"):
        rewrite(trained, tmp_path / "out", architecture, dtype="float16")


def test_missing_unknown_and_misshapen_tensors_are_all_named(
    base: Path, architecture: Architecture, tmp_path: Path
) -> None:
    tensors = read_weights(base)
    tensors["stranger"] = tensors.pop("model.norm.weight")
    name = "model.layers.0.mlp.up_proj.weight"
    tensors[name] = tensors[name][:-1].contiguous()
    trained = write_weights(tmp_path / "trained", tensors)
    with pytest.raises(BrokenWeights) as caught:
        rewrite(trained, tmp_path / "out", architecture)
    told = str(caught.value)
    assert "missing: model.norm.weight" in told
    assert "unknown: stranger" in told
    assert f"misshapen: {name} is [95, 64] instead of [96, 64]" in told


def test_grown_embeddings_are_another_vocabulary(
    base: Path, architecture: Architecture, tmp_path: Path
) -> None:
    import torch

    tensors = read_weights(base)
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        tensors[name] = torch.cat([tensors[name], tensors[name][:8]])
    trained = write_weights(tmp_path / "trained", tensors)
    with pytest.raises(ChangedVocabulary, match=r"2056, 64\] instead of \[2048, 64"):
        rewrite(trained, tmp_path / "out", architecture)


def test_a_tied_copy_is_dropped_and_one_that_differs_is_refused(tmp_path: Path) -> None:
    folder = build_base(tmp_path / "base", tied=True)
    architecture = read_architecture(read_config(folder))
    tensors = read_weights(folder)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    trained = write_weights(tmp_path / "same", tensors)
    rewrite(trained, tmp_path / "out", architecture)
    assert "lm_head.weight" not in read_weights(tmp_path / "out")

    tensors["lm_head.weight"][0] += 1
    other = write_weights(tmp_path / "other", tensors)
    with pytest.raises(BrokenWeights, match=r"lm_head\.weight differs"):
        rewrite(other, tmp_path / "out2", architecture)


def test_folders_without_weights_say_what_to_do(architecture: Architecture, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BrokenWeights, match=r"holds no \*\.safetensors"):
        rewrite(empty, tmp_path / "out", architecture)
    (empty / "adapter_config.json").write_text("{}")
    with pytest.raises(BrokenWeights, match="merge_adapter"):
        rewrite(empty, tmp_path / "out2", architecture)
    cut = write_weights(tmp_path / "cut", {}) / "model.safetensors"
    cut.write_bytes(b"\x08")
    with pytest.raises(BrokenWeights, match="cannot be read"):
        rewrite(cut.parent, tmp_path / "out3", architecture)
