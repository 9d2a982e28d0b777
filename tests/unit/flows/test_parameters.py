"""Proves that forms become the overrides they stand for, and refuse what they cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.parameters import Recipe, SynthesisSize, list_preview_overrides
from flows.recipe.graph import KINDS
from flows.recipe.settings import load_settings
from flows.recipe.stages import STAGES

from .worlds import make_config, write_config


def test_the_form_offers_the_stages_in_the_flow_s_order() -> None:
    assert tuple(dict.fromkeys(kind.stage for kind in KINDS)) == STAGES


def test_named_fields_win_over_changes_and_are_read_back_as_they_are(tmp_path: Path) -> None:
    path = write_config(tmp_path, make_config(tmp_path))
    root = str(tmp_path / "a store: with a colon")
    recipe = Recipe(config=str(path), name="007", root=root, overrides=("run.name=other",))
    settings = load_settings(path, recipe.list_overrides())
    assert settings.run.name == "007"
    assert settings.storage.root == root
    assert recipe.label == "007"
    assert Recipe(config="configs/paper/opencharacter.yaml").label == "opencharacter"
    assert Recipe().list_overrides() == []


def test_a_size_changes_only_what_is_given(tmp_path: Path) -> None:
    path = write_config(tmp_path, make_config(tmp_path))
    size = SynthesisSize(personas=7, characters_per_question=2)
    settings = load_settings(path, size.list_overrides())
    assert settings.personas.sample == 7
    assert settings.dialogues.characters_per_question == 2
    assert settings.instructions.limit == load_settings(path).instructions.limit


@pytest.mark.parametrize(
    "given",
    [
        {"overrides": ["no equals sign"]},
        {"name": "../elsewhere"},
        {"unknown": 1},
        {"config": ""},
    ],
)
def test_a_form_that_cannot_be_meant_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(given)


def test_a_preview_limits_every_stage_of_the_demo_and_has_its_own_folder() -> None:
    whole = load_settings("configs/demo.yaml")
    overrides = list_preview_overrides(whole, 20)
    settings = load_settings("configs/demo.yaml", overrides)
    assert settings.run.name == "demo-preview"
    assert settings.personas.sample == 20
    guesses = settings.instructions.synthesis.count
    assert guesses == 5
    assert settings.instructions.limit == 20 - guesses
    assert settings.dialogues.characters_per_question == 1
    assert settings.training is not None and settings.training.max_examples == 20
    assert settings.evaluation is not None and settings.evaluation.questions.personas == 4


def test_a_preview_keeps_figures_that_are_smaller_and_adds_no_stage(tmp_path: Path) -> None:
    path = write_config(tmp_path, make_config(tmp_path))
    whole = load_settings(path, ["personas.sample=3", "instructions.synthesis.count=2"])
    overrides = list_preview_overrides(whole, 20)
    settings = load_settings(path, overrides)
    assert settings.personas.sample == 3
    assert settings.instructions.synthesis.count == 2
    assert settings.training is None
    assert settings.evaluation is None
