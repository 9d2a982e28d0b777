"""Proves that missing inputs are stood in for by as many rows, and told with where to get them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.recipe.checks import check_settings
from flows.recipe.opening import resolve_settings
from flows.recipe.placeholders import explain_missing, find_missing, stand_in
from flows.recipe.settings import Settings, load_settings
from infra.engines.identity import identify_model
from infra.errors import ConfigError, Problem
from tasks.evaluation.questions.personagym import read_line
from tasks.evaluation.questions.sets import Sources, collect_questions
from tasks.instructions.selection import select_instructions
from tests.unit.flows.worlds import make_config, write_config


def load(folder: Path, change: dict[str, Any]) -> Settings:
    config = make_config(folder)
    for key, value in change.items():
        config[key] = {**config.get(key, {}), **value}
    return resolve_settings(load_settings(write_config(folder, config)))


def note(path: Path, rows: int, **more: int) -> dict[str, Any]:
    return {"path": str(path), "get": "the moon", "rows": rows, **more}


@pytest.mark.parametrize("form", ["alpaca", "lima", "persona_hub", "messages", "pairs"])
def test_every_format_is_made_up_in_its_own_columns(tmp_path: Path, form: str) -> None:
    path = tmp_path / "gone.jsonl"
    sources = [{"path": str(path), "format": form}]
    described = {"one": note(path, 25, words=10, answer_words=4)}
    settings = load(
        tmp_path, {"instructions": {"sources": sources}, "plan": {"sources": described}}
    )
    with stand_in(settings) as (ready, notes):
        check_settings(ready)
        asked = select_instructions(ready.instructions).accepted
        assert len(asked) == 25
        assert {item.answered for item in asked} == {form != "persona_hub"}
        assert {len(item.turns[0].content.split()) for item in asked} == {10}
        made_up = ready.instructions.sources[0].path
    assert len(notes) == 1
    assert not Path(made_up).exists()


def test_a_checkout_is_made_up_with_questions_for_every_task(tmp_path: Path) -> None:
    path = tmp_path / "gym"
    settings = load(
        tmp_path,
        {
            "evaluation": {
                "models": ["teacher", {"role": "teacher", "prompt": "personagym"}],
                "questions": {"suite": "personagym", "path": str(path), "light": False},
                "judges": [{"model": "teacher", "prompts": "personagym"}],
            },
            "plan": {"sources": {"gym": note(path, 500)}},
        },
    )
    with stand_in(settings) as (ready, _):
        check_settings(ready)
        assert ready.evaluation is not None
        questions = collect_questions(ready.evaluation.questions, Sources()).questions
        line = read_line(Path(str(ready.evaluation.questions.path)))
    assert line is not None and "{{ persona }}" in line.source
    assert len(questions) == 500
    assert len({item.persona for item in questions}) == 10
    assert len({item.task for item in questions}) == 5


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "personas.jsonl"
    settings = load(tmp_path, {"plan": {"sources": {"people": note(path, 500)}}})
    assert find_missing(settings) == []
    with stand_in(settings) as (ready, notes):
        assert ready == settings
    assert notes == ()


def test_only_commits_that_nobody_knows_here_are_made_up(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    models = {"free": {"model": "a/b"}, "pinned": {"model": "a/b", "revision": commit}}
    settings = load(tmp_path, {"models": models})
    with stand_in(settings) as (ready, notes):
        assert identify_model(ready.models["pinned"]) == f"hub:a/b@{commit}"
        assert identify_model(ready.models["free"]) != identify_model(ready.models["pinned"])
        assert ready.models["teacher"] == settings.models["teacher"]
    assert [text.split(":")[0] for text in notes] == ["models.free"]


def test_a_run_is_told_where_to_get_what_is_missing_and_where_to_put_it(tmp_path: Path) -> None:
    people, questions = tmp_path / "people.jsonl", tmp_path / "questions.parquet"
    settings = load(
        tmp_path,
        {
            "personas": {"source": str(people)},
            "instructions": {"sources": [str(questions)]},
            "plan": {"sources": {"people": note(people, 9)}},
        },
    )
    with pytest.raises(ConfigError) as caught:
        check_settings(settings)
    told = explain_missing(settings, caught.value.problems)
    assert told[0] == Problem(str(people), "is not there", f"get the moon and put it at {people}")
    assert told[1:] == [item for item in caught.value.problems if str(questions) in item.where]
