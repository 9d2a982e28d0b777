"""Writes small configurations with their data, and reads what is wrong with them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers

from infra.errors import ConfigError, Problem

_LLAMA_3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_model(folder: Path, *, context: int = 2048, tokenizer: bool = True) -> Path:
    """Make a folder that looks like a model's; nobody loads it."""
    folder.mkdir()
    config = {"model_type": "llama", "max_position_embeddings": context}
    (folder / "config.json").write_text(json.dumps(config))
    write_weights(folder / "model.safetensors")
    if tokenizer:
        words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.add_special_tokens([*_LLAMA_3, "<pad>"])
        words.save(str(folder / "tokenizer.json"))
    return folder


def write_weights(path: Path, *shape: int, name: str = "w", filled: bytes = b"\0") -> None:
    """Write a weight file of one fp32 tensor, each of its bytes the same."""
    size = 4 * math.prod(shape)
    header = {name: {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + filled * size)


def make_config(folder: Path) -> dict[str, Any]:
    """Return a sound configuration over data written to a folder."""
    personas = [f"A {trade} from Cork who likes long walks." for trade in ("baker", "sailor")]
    return {
        "storage": {"root": str(folder / "store")},
        "models": {"teacher": {"engine": "scripted", "model": "scripted"}},
        "personas": {
            "source": str(
                write_lines(folder / "personas.jsonl", *({"persona": text} for text in personas))
            )
        },
        "instructions": {
            "sources": [
                str(
                    write_lines(
                        folder / "questions.jsonl",
                        {"instruction": "Why is bread brown?", "input": "", "output": "Heat."},
                    )
                )
            ],
            "synthesis": {"count": 1},
        },
        "dialogues": {"characters_per_question": 1, "generate": {}, "rewrite": {}},
    }


def write_config(folder: Path, config: dict[str, Any], name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump(config))
    return path


def index_problems(caught: pytest.ExceptionInfo[ConfigError]) -> dict[str, Problem]:
    return {problem.where: problem for problem in caught.value.problems}
