"""Builds small models, trained weights and token rows for the tests of the export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from infra.paths import packaged_configs
from tasks.training.rows.templates import ChatFormat, choose_format

BASE = packaged_configs() / "demo" / "base"
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def load_tokenizer(folder: Path = BASE) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


def load_format() -> ChatFormat:
    return choose_format(load_tokenizer())


def build_base(folder: Path, *, tied: bool = False, seed: int = 0) -> Path:
    """Write a Llama of random weights with the demo's tokenizer; about 300,000 parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=4,
        pad_token_id=5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    for name in _TOKENIZER_FILES:
        shutil.copy(BASE / name, folder / name)
    return folder


def read_weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        found.update(load_file(str(path)))
    return found


def write_weights(folder: Path, tensors: dict[str, Any]) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(folder / "model.safetensors"))
    return folder


def write_rows(path: Path, rows: Sequence[tuple[list[int], list[int], list[int]]]) -> Path:
    """Write token rows as training reads them: an Arrow stream of three list columns."""
    names = ("input_ids", "labels", "position_ids")
    kind = pa.list_(pa.int32())
    columns = {name: pa.array([row[n] for row in rows], kind) for n, name in enumerate(names)}
    table = pa.table(columns)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return path


def encode_questions(count: int) -> list[tuple[list[int], list[int], list[int]]]:
    """Encode the demo's questions with their answers as rows of one document each."""
    tokenizer = load_tokenizer()
    text = (packaged_configs() / "demo" / "instructions.jsonl").read_text(encoding="utf-8")
    rows = []
    for line in text.splitlines()[:count]:
        item = json.loads(line)
        turns = [{"role": "user", "content": item["instruction"]}]
        prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        given = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        said = [*tokenizer(item["output"], add_special_tokens=False)["input_ids"], 3]
        ids = given + said
        rows.append((ids, [-100] * len(given) + said, list(range(len(ids)))))
    return rows
