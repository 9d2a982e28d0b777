"""Proves that models which their vendor shut down are named, and that nobody is stopped."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from flows.recipe.retired_models import find_retirements, load_retirements
from flows.recipe.settings import load_settings
from tests.unit.flows.worlds import make_config, write_config

OLD, NEXT = "gpt-4o-2024-05-13", "gpt-4o-2024-08-06"
VENDOR = "https://api.openai.com/v1"


def find(folder: Path, today: date, **model: Any) -> list[tuple[str, bool]]:
    config = make_config(folder)
    config["models"]["teacher"] = {"engine": "endpoint", "base_url": VENDOR, **model}
    settings = load_settings(write_config(folder, config))
    return [(found.text, found.gone) for found in find_retirements(settings, today)]


@pytest.mark.parametrize(
    ("name", "today", "gone"),
    [
        (OLD, date(2026, 10, 22), False),
        (OLD, date(2026, 10, 23), True),
        (NEXT, date(2026, 11, 27), False),
        (NEXT, date(2027, 1, 14), True),
    ],
)
def test_what_is_gone_and_what_goes_is_told_apart(
    tmp_path: Path, name: str, today: date, gone: bool
) -> None:
    ((text, told),) = find(tmp_path, today, model=name)
    assert told is gone
    assert text.startswith(f"models.teacher: {name} {'was' if gone else 'will be'} shut down")
    assert load_retirements()[name].gone.isoformat() in text
    assert "set models.teacher.model=" in text and "base_url" in text


@pytest.mark.parametrize(
    "model",
    [
        {"model": OLD, "base_url": "http://127.0.0.1:8000/v1"},
        {"model": OLD, "base_url": "https://mine.example/api.openai.com/v1"},
        {"model": "gpt-4o-2024-11-20"},
        {"model": OLD, "engine": "scripted"},
    ],
)
def test_elsewhere_a_model_of_that_name_goes_on(tmp_path: Path, model: dict[str, Any]) -> None:
    assert find(tmp_path, date(2030, 1, 1), **model) == []


def test_a_model_that_nobody_asks_is_not_told(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config["models"]["spare"] = {"engine": "endpoint", "model": OLD, "base_url": VENDOR}
    settings = load_settings(write_config(tmp_path, config))
    assert list(find_retirements(settings, date(2030, 1, 1))) == []
