"""Proves that a base's generation settings never keep a trained model from being saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.training.model.export import ExportPlan, assemble_export
from tasks.training.model.generation_settings import (
    FILE,
    clean_settings,
    name_invalid,
    read_settings,
)

from .exports import BASE, build_base, load_format

ENDS = {"bos_token_id": 0, "eos_token_id": [3, 4], "pad_token_id": 5}
CASES: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    ({"temperature": 0.9, "top_p": 0.6}, ["temperature", "top_p"]),
    ({"temperature": 0.9, "top_p": 0.6, "do_sample": False}, ["temperature", "top_p"]),
    ({"temperature": 0.9, "top_p": 0.6, "do_sample": True}, []),
    ({"top_k": 20, "min_p": 0.1, "do_sample": None}, ["min_p", "top_k"]),
    ({"temperature": 1.0, "top_k": 50, "top_p": 1.0}, []),
    ({"length_penalty": 0.5, "early_stopping": True}, ["early_stopping", "length_penalty"]),
    ({"length_penalty": 0.5, "early_stopping": True, "num_beams": 4}, []),
    ({"output_scores": True, "output_attentions": True}, ["output_attentions", "output_scores"]),
    ({"output_scores": True, "return_dict_in_generate": True}, []),
    ({"max_new_tokens": 0, "typical_p": 0.9}, ["max_new_tokens", "typical_p"]),
    ({"temperature": 0.0}, ["temperature"]),
    ({"temperature": 0.0, "do_sample": True, "top_k": 0}, []),
    ({"repetition_penalty": 1.1, "max_new_tokens": 20, "do_sample": True}, []),
]


@pytest.mark.parametrize(("settings", "expected"), CASES)
def test_what_is_left_out_is_what_says_nothing_alone(
    tmp_path: Path, settings: dict[str, Any], expected: list[str]
) -> None:
    found, dropped = clean_settings({**settings, **ENDS})
    assert dropped == expected
    assert name_invalid(settings) == expected
    found.save_pretrained(tmp_path)
    for name, value in settings.items():
        if name not in expected and value not in (None, False):
            assert getattr(found, name) == value


@pytest.mark.parametrize(
    "odd", [{"num_return_sequences": 4}, {"max_new_tokens": 0}, {"early_stopping": 3}]
)
def test_what_cannot_even_be_read_is_left_out(odd: dict[str, Any]) -> None:
    _, dropped = clean_settings({**odd, **ENDS})
    assert dropped == list(odd)


@pytest.mark.parametrize("value", ["</s>", [3, "</s>"], True])
def test_tokens_spelled_out_in_place_of_their_ids_are_left_out(value: object) -> None:
    kept, dropped = clean_settings({"eos_token_id": value, "do_sample": True})
    assert dropped == name_invalid({"eos_token_id": value, "do_sample": True}) == ["eos_token_id"]
    assert kept.eos_token_id is None


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_file_that_holds_no_settings_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert read_settings(tmp_path) == {}


@pytest.mark.torch
def test_a_model_whose_base_ships_a_temperature_alone_is_exported(tmp_path: Path) -> None:
    base = build_base(tmp_path / "base")
    told = {
        "temperature": 0.7, "do_sample": False, "repetition_penalty": 1.2,
        "eos_token_id": [4, 128_009], "bos_token_id": "<s>",
    }  # fmt: skip
    (base / FILE).write_text(json.dumps(told))
    plan = replace(ExportPlan(str(BASE), None, load_format()), base=str(base))
    assemble_export(base, tmp_path / "out", plan)
    kept = json.loads((tmp_path / "out" / FILE).read_text())
    assert "temperature" not in kept and kept.get("bos_token_id") != "<s>"
    assert (kept["repetition_penalty"], kept["eos_token_id"]) == (1.2, [3, 4])
