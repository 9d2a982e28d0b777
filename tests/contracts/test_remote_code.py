"""Proves that no code of strangers is run: every loader is told so in words."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_LOADERS = ("from_pretrained", "from_config")
_OTHERS = ("GenerationConfig", "PeftModel")
"""They load no code of a model folder."""


def _find_silent(tree: ast.AST) -> list[int]:
    """Return the lines of loaders that are not told that no code is trusted."""
    lines = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        owner = node.func.value
        if node.func.attr not in _LOADERS or (isinstance(owner, ast.Name) and owner.id in _OTHERS):
            continue
        told = {item.arg: item.value for item in node.keywords}.get("trust_remote_code")
        if not (isinstance(told, ast.Constant) and told.value is False):
            lines.append(node.lineno)
    return lines


@pytest.mark.parametrize("room", ["flows", "tasks", "infra"])
def test_every_loader_is_told_that_no_code_is_trusted(room: str) -> None:
    silent = {
        str(path.relative_to(_ROOT)): lines
        for path in sorted((_ROOT / room).rglob("*.py"))
        if (lines := _find_silent(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert silent == {}


def test_a_loader_that_is_not_told_is_seen() -> None:
    assert _find_silent(ast.parse("AutoModel.from_pretrained(name)")) == [1]
    assert _find_silent(ast.parse("AutoModel.from_config(c, trust_remote_code=True)")) == [1]
