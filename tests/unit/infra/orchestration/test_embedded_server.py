"""Proves that a server starts before Prefect is imported only where Prefect's settings are bare."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.orchestration.embedded_server import may_have_settings


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder and a home in which Prefect finds no settings at all."""
    home = tmp_path / "home"
    home.mkdir()
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_is_there(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "ERROR")  # inherited by the server
    (bare / "pyproject.toml").write_text("[tool.ruff]\n")
    assert not may_have_settings()


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"])
def test_the_environment_may_name_a_server(
    name: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "something")
    assert may_have_settings()


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".env", ""),
        ("prefect.toml", ""),
        ("pyproject.toml", "[tool.prefect]\n"),
        ("home/profiles.toml", ""),
    ],
)
def test_a_file_may_name_a_server(file: str, text: str, bare: Path) -> None:
    (bare / file).write_text(text)
    assert may_have_settings()
