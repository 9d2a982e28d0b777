"""Proves that a model or an endpoint that cannot answer is told before any is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.infra.models.test_model_soundness import FAULTS, Break, make_folder

from .situations import Situation, hold_to, tell


def of_folder(name: str, spoil: Break) -> Situation:
    def prepare(folder: Path) -> None:
        spoil(make_folder(folder / "model"))

    words = ("models.teacher", "→")
    return Situation(name, words, ("models.teacher={model: '{folder}/model'}",), prepare=prepare)


def of_endpoint(name: str, values: str, *words: str) -> Situation:
    role = f"models.teacher={{engine: endpoint, model: any, {values}}}"
    return Situation(name, words, (role,))


def copy_weights(folder: Path) -> None:
    (folder / "model.gguf").write_bytes(b"GGUF" + b"\0" * 20)


FOLDERS = [of_folder(name, spoil) for name, spoil, _ in FAULTS] + [
    Situation("no folder", ("no such folder",), ("models.teacher={model: /nowhere/model}",)),
    Situation("no name", ("models.teacher",), ("models.teacher={model: ''}",)),
    Situation("no model at all", ("names a model 'teacher'", "known: none"), ("models={}",)),
    Situation("no such engine", ("engine",), ("models.teacher={engine: magic, model: m}",)),
    Situation("no model for a role", ("models.teacher",), ("models.teacher=null",)),
    Situation("a broken GGUF file", ("model.gguf",),
              ("models.teacher={model: '{folder}/model.gguf'}",), prepare=copy_weights),
    Situation("nobody at once", ("max_concurrency",), ("models.teacher.max_concurrency=0",)),
    Situation("a script that is none", ("models.teacher.script",),
              ("models.teacher.script={x: 1}",)),
]  # fmt: skip

HERE = "base_url: 'http://127.0.0.1:9/v1'"
ENDPOINTS = [
    of_endpoint("no address", "", "base_url"),
    of_endpoint("no address but a word", "base_url: nonsense", "base_url"),
    of_endpoint("another kind of address", "base_url: 'ftp://h/v1'", "base_url"),
    of_endpoint("no such port", "base_url: 'http://h:99999/v1'", "base_url"),
    of_endpoint("a key in the open", f"{HERE}, api_key: sk-1234567890", "api_key names where",
                "env:NAME"),
    Situation("a key that is not set", ("env:NOT_SET_ANYWHERE", "missing"),
              (f"models.teacher={{engine: endpoint, model: any, {HERE},"
               " api_key: 'env:NOT_SET_ANYWHERE'}",), command=("chat",),
              after=("--persona", "A cook")),
    of_endpoint("no time", f"{HERE}, timeout_s: -1", "timeout_s"),
    of_endpoint("an odd dialect", f"{HERE}, dialect: {{token_limit: words}}", "token_limit"),
]  # fmt: skip

ALL = [*FOLDERS, *ENDPOINTS]


@pytest.mark.parametrize("situation", ALL, ids=[one.name for one in ALL])
def test_it_is_told_before_any_engine(
    situation: Situation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hold_to(situation, tell(situation, tmp_path, capsys), tmp_path)


def test_a_key_in_the_open_is_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (given,) = (one for one in ENDPOINTS if one.name == "a key in the open")
    assert "1234567890" not in tell(given, tmp_path, capsys).text
