"""Proves where the files that a configuration names are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import ConfigError
from infra.paths import find_path, packaged_configs, require_path


@pytest.fixture(autouse=True)
def _work_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def test_the_working_folder_wins_over_the_package(tmp_path: Path) -> None:
    own = tmp_path / "prompts" / "character.j2"
    own.parent.mkdir()
    own.write_text("[user]\nmine")
    assert find_path("prompts/character.j2") == own


@pytest.mark.parametrize("name", ["prompts/character.j2", "configs/prompts/character.j2"])
def test_the_package_is_found_from_any_folder(name: str) -> None:
    assert find_path(name) == (packaged_configs() / "prompts/character.j2").resolve()


def test_home_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "home" / "personas.jsonl"
    file.parent.mkdir()
    file.write_text("{}")
    assert find_path("~/personas.jsonl") == file


def test_a_file_that_is_nowhere_is_named_with_its_key_and_where_it_was_looked_for(
    tmp_path: Path,
) -> None:
    with pytest.raises(ConfigError) as caught:
        require_path("prompts/none.j2", "characters.prompt")
    (problem,) = caught.value.problems
    assert problem.where == "characters.prompt"
    assert "prompts/none.j2" in problem.what
    assert str(tmp_path) in problem.todo
    assert str(packaged_configs()) in problem.todo
