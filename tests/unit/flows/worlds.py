"""Writes small configurations with their data, and reads what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tokenizers import Tokenizer, models, pre_tokenizers

from infra.errors import ConfigError, Problem


def write_lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_model(folder: Path, *, context: int = 2048, tokenizer: bool = True) -> Path:
    """Make a folder that looks like a model's; nobody loads it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    (folder / "model.safetensors").write_bytes(b"weights")
    if tokenizer:
        words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        words.save(str(folder / "tokenizer.json"))
    return folder


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
