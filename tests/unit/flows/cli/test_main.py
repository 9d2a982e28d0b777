"""Tests what the command line says of itself."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from flows.cli.main import main

PROJECT = Path(__file__).parents[4] / "pyproject.toml"


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        main(["--version"])
    except SystemExit as ended:
        assert not ended.code
    wanted = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"]
    assert capsys.readouterr().out.strip() == wanted
