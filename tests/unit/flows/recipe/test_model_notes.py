"""Proves that a plan says what people should know of how a model is spoken to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.recipe.model_templates import note_models
from tests.unit.flows.worlds import make_config, write_config


def note(folder: Path, **knobs: Any) -> list[str]:
    from flows.recipe.settings import load_settings

    config = make_config(folder)
    config["models"]["far"] = {
        "engine": "endpoint",
        "model": "some",
        "base_url": "http://127.0.0.1:1/v1",
        **knobs,
    }
    return list(note_models(load_settings(write_config(folder, config)), ["far"]))


def test_batches_of_a_vendor_are_announced_with_their_window(tmp_path: Path) -> None:
    (line,) = note(tmp_path, batch={"window": "48h"})
    assert line.startswith("models.far: ")
    assert "within 48h" in line
    assert "plan.usd_per_million_tokens" in line


def test_an_endpoint_that_is_asked_live_needs_no_word(tmp_path: Path) -> None:
    assert note(tmp_path) == []
