"""Proves that what is wrong with a model folder is named from its files alone."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, models

from infra.models.known_architectures import can_serve, can_train, has_tokenizer
from infra.models.soundness import find_model_faults, lift_text_config, read_model_config
from infra.models.weight_files import INDEX
from infra.paths import packaged_configs

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n"
CONFIG: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 8,
}  # fmt: skip
EMBEDDING = "model.embed_tokens.weight"


def write_tensors(path: Path, rows: int = 8, *, name: str = EMBEDDING, number: float = 1.0) -> None:
    header = {name: {"dtype": "F32", "shape": [rows, 2], "data_offsets": [0, rows * 8]}}
    text = json.dumps(header).encode()
    data = struct.pack(f"<{rows * 2}f", *[number] * (rows * 2))
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make_folder(folder: Path) -> Path:
    """Write a sound model of eight words."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    words = Tokenizer(models.WordLevel({f"w{n}": n for n in range(8)}, unk_token="w0"))
    words.save(str(folder / "tokenizer.json"))
    write_tensors(folder / "model.safetensors")
    return folder


def configure(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **changes}))


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def cut_header(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:20])


def split(folder: Path, *, present: bool, index: str | None = None) -> None:
    """Replace the weights by two shards, of which the second may be missing."""
    (folder / "model.safetensors").unlink()
    write_tensors(folder / "a.safetensors")
    if present:
        write_tensors(folder / "b.safetensors", name="lm_head.weight")
    told = {"weight_map": {EMBEDDING: "a.safetensors", "lm_head.weight": "b.safetensors"}}
    (folder / INDEX).write_text(index or json.dumps(told))


def pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80")


def adapt(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")


def add_words(folder: Path) -> None:
    path = folder / "tokenizer.json"
    words = Tokenizer.from_file(str(path))
    words.add_tokens([AddedToken("w8"), AddedToken("w9")])
    words.save(str(path))


def bring_code(folder: Path, name: str) -> None:
    told = {"tokenizer_class": name, "auto_map": {"AutoTokenizer": ["tokenization_odd.Odd", None]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


ODD_CODE = {"AutoModelForCausalLM": "modeling_odd.Odd"}
Break = Callable[[Path], object]
FAULTS: list[tuple[str, Break, str]] = [
    ("no weights", lambda f: (f / "model.safetensors").unlink(), "has no weights"),
    ("cut", cut, "cut short: 1"),
    ("cut header", cut_header, "cut short within its header"),
    (
        "no safetensors",
        lambda f: (f / "model.safetensors").write_bytes(b"\0" * 64),
        "no safetensors",
    ),
    (
        "odd header",
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 2) + b"[]"),
        "no readable header",
    ),
    ("pointer", lambda f: (f / "model.safetensors").write_text(POINTER), "Git LFS pointer"),
    ("tokenizer pointer", lambda f: (f / "tokenizer.json").write_text(POINTER), "Git LFS pointer"),
    ("missing shard", lambda f: split(f, present=False), "names b.safetensors, which is not there"),
    ("broken index", lambda f: split(f, present=True, index="{"), "is no index of weights"),
    ("list as index", lambda f: split(f, present=True, index="[]"), "is no index of weights"),
    ("pickles", pickle, "pickled weights only"),
    ("NaN", lambda f: write_tensors(f / "model.safetensors", number=float("nan")), "holds NaN"),
    (
        "infinity",
        lambda f: write_tensors(f / "model.safetensors", number=float("inf")),
        "holds NaN",
    ),
    ("small vocabulary", add_words, "knows 10 tokens, its vocabulary holds 8"),
    ("few rows", lambda f: write_tensors(f / "model.safetensors", 5), "its weights hold 5"),
    ("broken tokenizer", lambda f: (f / "tokenizer.json").write_text("{"), "tokenizer.json cannot"),
    ("empty tokenizer", lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json cannot"),
    ("no tokenizer", lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    (
        "broken tokenizer config",
        lambda f: (f / "tokenizer_config.json").write_text("["),
        "tokenizer_config.json is not",
    ),
    (
        "tokenizer code",
        lambda f: bring_code(f, "OddTokenizer"),
        r"tokenizer \(OddTokenizer\) needs code",
    ),
    ("no config", lambda f: (f / "config.json").unlink(), "has no config.json"),
    ("adapter", adapt, "LoRA adapter"),
    ("broken config", lambda f: (f / "config.json").write_text("{"), "not a JSON object"),
    ("list as config", lambda f: (f / "config.json").write_text("[]"), "not a JSON object"),
    ("no type", lambda f: configure(f, model_type=None), "names no model_type"),
    (
        "unknown",
        lambda f: configure(f, model_type="odd", architectures=["OddForCausalLM"]),
        r"architecture \(OddForCausalLM\) is no causal language model",
    ),
    (
        "code",
        lambda f: configure(f, model_type="odd", architectures=["Odd"], auto_map=ODD_CODE),
        r"code of its own \(modeling_odd.py\), which is never run",
    ),
]


@pytest.mark.torch
@pytest.mark.parametrize(
    ("spoil", "told"), [item[1:] for item in FAULTS], ids=[i[0] for i in FAULTS]
)
def test_every_fault_is_named_once_with_what_to_do(tmp_path: Path, spoil: Break, told: str) -> None:
    import re

    folder = make_folder(tmp_path / "model")
    spoil(folder)
    (found,) = find_model_faults(folder, served=True, trained=False)
    assert re.search(told, found.what)
    assert found.todo


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"model_type": "t5", "architectures": ["T5Model"], "is_encoder_decoder": True},
            "encoder-decoder",
        ),
        ({"model_type": "odd"}, "no causal language model"),
        ({"quantization_config": {"quant_method": "gptq"}}, r"quantised \(gptq\)"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantised"),
    ],
)
def test_what_cannot_be_fine_tuned_is_told_of_a_base(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    import re

    folder = make_folder(tmp_path / "model")
    configure(folder, **changes)
    found = list(find_model_faults(folder, served=False, trained=True))
    assert any(re.search(told, item.what) for item in found)


def test_sound_folders_have_no_fault(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    assert not list(find_model_faults(folder, served=True, trained=True))
    split(folder, present=True)
    assert not list(find_model_faults(folder, served=True, trained=True))
    configure(folder, auto_map=ODD_CODE)  # what is known by itself needs none of that code
    bring_code(folder, "PreTrainedTokenizerFast")
    configure(folder, quantization_config={"quant_method": "awq"})
    assert not list(find_model_faults(folder, served=True, trained=False))
    for name in ("teacher", "base"):
        demo = packaged_configs() / "demo" / name
        assert not list(find_model_faults(demo, served=True, trained=True))


def test_a_folder_without_its_weights_is_not_blamed_for_that(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert not list(find_model_faults(folder, served=True, trained=True, weights=False))


def test_what_a_multimodal_config_nests_is_on_top(tmp_path: Path) -> None:
    inner = {"vocab_size": 9, "max_position_embeddings": 77, "model_type": "gemma3_text"}
    found = lift_text_config({"model_type": "gemma3", "text_config": inner})
    assert (found["model_type"], found["vocab_size"]) == ("gemma3", 9)
    folder = make_folder(tmp_path / "model")
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": inner}))
    assert read_model_config(folder)["max_position_embeddings"] == 77


@pytest.mark.torch
def test_the_tables_of_the_libraries_are_found() -> None:
    assert can_train("llama")
    assert can_train("qwen3")
    assert not can_train("t5")
    assert can_serve("LlamaForCausalLM", "llama")
    assert can_serve("Gemma3ForConditionalGeneration", "gemma3")
    assert not can_serve("OddForCausalLM", "odd")
    assert has_tokenizer("LlamaTokenizerFast", "")
    assert not has_tokenizer("OddTokenizer", "odd")


def test_nothing_heavy_is_imported_for_it() -> None:
    folder = packaged_configs() / "demo" / "base"
    code = (
        "import sys; from pathlib import Path;"
        "from infra.models.soundness import find_model_faults;"
        f"print(list(find_model_faults(Path({str(folder)!r}), served=True, trained=True)));"
        "assert not {'torch', 'transformers', 'vllm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
