"""Proves that what cannot work is told before any engine, all of it at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows import pipeline
from flows.recipe.checks import check_settings
from flows.recipe.opening import resolve_settings
from flows.recipe.settings import load_settings
from infra.errors import ConfigError, Problem
from infra.models.node_cache import read_bound
from infra.paths import CACHE_GIB
from tests.unit.flows.worlds import (
    index_problems,
    make_config,
    write_config,
    write_lines,
    write_model,
)


def find_problems(folder: Path, config: dict[str, Any], *overrides: str) -> dict[str, Problem]:
    settings = resolve_settings(load_settings(write_config(folder, config), overrides))
    try:
        check_settings(settings)
    except ConfigError as error:
        return {problem.where: problem for problem in error.problems}
    return {}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return make_config(tmp_path)


def test_a_sound_configuration_has_no_problem(tmp_path: Path, config: dict[str, Any]) -> None:
    assert find_problems(tmp_path, config) == {}
    config["models"]["teacher"] = {"model": str(write_model(tmp_path / "model"))}
    assert find_problems(tmp_path, config) == {}


def break_everything(folder: Path, config: dict[str, Any]) -> set[str]:
    """Make every mistake of the list at once, and return where each is to be told."""
    (folder / "file").write_text("")
    config["storage"]["root"] = str(folder / "file" / "store")
    other = write_lines(folder / "other.jsonl", {"text": "A baker."})
    config["personas"] = {"source": str(other), "sample": 2}
    config["dialogues"]["characters_per_question"] = 3
    prompt = folder / "odd.j2"
    prompt.write_text("[user]\n{{ persona }} {{ hobby }}\n")
    bare = write_model(folder / "bare", tokenizer=False)
    config["models"] = {
        "teacher": {"model": str(write_model(folder / "small", context=256))},
        "bare": {"model": str(bare)},
    }
    config["characters"] = {"max_new_tokens": 256, "prompt": str(prompt)}
    config["dialogues"]["generate"] = {"model": "bare"}
    config["dialogues"]["rewrite"] = {"model": "nobody"}
    return {
        str(folder / "file" / "store"),
        f"personas.source ({other})",
        "dialogues.characters_per_question",
        f"characters.prompt ({prompt})",
        "characters.max_new_tokens",
        "instructions.synthesis.max_new_tokens",
        "models.bare.model",
        "dialogues.rewrite.model",
    }


def test_all_impossible_combinations_are_told_at_once(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    expected = break_everything(tmp_path, config)
    problems = find_problems(tmp_path, config)
    assert set(problems) == expected
    assert all(problem.todo for problem in problems.values())
    assert "hobby" in problems[f"characters.prompt ({tmp_path / 'odd.j2'})"].what
    assert "no column 'persona'" in problems[f"personas.source ({tmp_path / 'other.jsonl'})"].what
    assert "known: bare, teacher" in problems["dialogues.rewrite.model"].todo
    assert "has no tokenizer" in problems["models.bare.model"].what
    assert "context of 256" in problems["characters.max_new_tokens"].what


def test_they_are_told_before_a_store_or_an_engine_is_opened(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = break_everything(tmp_path, config)
    opened: list[object] = []
    monkeypatch.setattr(pipeline, "open_context", lambda *_: opened.append("context"))
    with pytest.raises(ConfigError) as caught:
        pipeline.opencharacter.fn(str(write_config(tmp_path, config)))
    assert set(index_problems(caught)) == expected
    assert opened == []


@pytest.mark.parametrize(("budget", "sound"), [(800, True), (1000, False), (3000, False)])
def test_the_answer_must_leave_room_for_a_prompt(
    tmp_path: Path, config: dict[str, Any], budget: int, sound: bool
) -> None:
    model = write_model(tmp_path / "model")
    config["models"]["teacher"] = {"model": str(model), "max_model_len": 1024}
    for section in ("generate", "rewrite"):
        config["dialogues"][section] = {"max_new_tokens": budget}
    config["characters"] = {"max_new_tokens": 100}
    config["instructions"]["synthesis"]["max_new_tokens"] = budget
    expected = {
        "dialogues.generate.max_new_tokens",
        "dialogues.rewrite.max_new_tokens",
        "instructions.synthesis.max_new_tokens",
    }
    assert set(find_problems(tmp_path, config)) == (set() if sound else expected)


def test_a_context_longer_than_the_model_was_made_for_is_told(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    model = write_model(tmp_path / "model")
    config["models"]["teacher"] = {"model": str(model), "max_model_len": 4096}
    problem = find_problems(tmp_path, config)["models.teacher.max_model_len"]
    assert "4096 tokens, but the model was made for 2048" in problem.what


def test_a_model_folder_that_is_not_there_or_no_model_is_told(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["models"]["teacher"] = {"model": str(tmp_path / "none")}
    assert "no such folder" in find_problems(tmp_path, config)["models.teacher.model"].what
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "tokenizer.json").write_text("{}")
    assert "no config.json" in find_problems(tmp_path, config)["models.teacher.model"].what


def test_a_name_on_the_hub_is_left_to_the_hub(tmp_path: Path, config: dict[str, Any]) -> None:
    config["models"]["teacher"] = {"model": "org/some-model"}
    assert find_problems(tmp_path, config) == {}


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"characters.prompt": "none.j2"}, "characters.prompt"),
        ({"curation.prompt": "none.j2"}, "curation.prompt"),
        ({"personas.source": "none.jsonl"}, "personas.source"),
        ({"models.teacher.script": "{latencies: 1}"}, "models.teacher.script"),
        ({"dialogues.generate": "null", "dialogues.rewrite": "null"}, "dialogues"),
        ({"characters.model": "nobody"}, "characters.model"),
    ],
)
def test_single_mistakes_are_told_where_they_are(
    tmp_path: Path, config: dict[str, Any], changes: dict[str, str], where: str
) -> None:
    overrides = [f"{key}={value}" for key, value in changes.items()]
    assert [key.split(" ")[0] for key in find_problems(tmp_path, config, *overrides)] == [where]


def test_what_the_run_does_not_use_is_not_checked(tmp_path: Path, config: dict[str, Any]) -> None:
    config["models"]["idle"] = {"model": str(tmp_path / "none")}
    overrides = ["dialogues.rewrite=null", "instructions.synthesis={count: 0, prompt: none.j2}"]
    assert find_problems(tmp_path, config, *overrides) == {}


def test_a_missing_key_of_an_endpoint_is_told_by_its_reference(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OUR_KEY", raising=False)
    endpoint = {"engine": "endpoint", "model": "m", "base_url": "http://127.0.0.1:1/v1"}
    config["models"]["teacher"] = {**endpoint, "api_key": "env:OUR_KEY"}
    problems = find_problems(tmp_path, config)
    assert list(problems) == ["env:OUR_KEY"]
    monkeypatch.setenv("OUR_KEY", "secret")
    assert find_problems(tmp_path, config) == {}


def test_the_bound_of_the_cache_goes_with_its_configuration(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_GIB, "3")
    path = write_config(tmp_path, config)
    bounds = []
    for overrides in (["storage.cache_gib=1"], []):
        resolve_settings(load_settings(path, overrides))
        bounds.append(read_bound() / 2**30)
    assert bounds == [1, 3]
    with pytest.raises(ConfigError, match="cache_gib"):
        load_settings(path, ["storage.cache_gib=.inf"])


def test_inputs_are_made_absolute_from_the_working_folder(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config["personas"]["source"] = "personas.jsonl"
    config["instructions"]["sources"] = ["questions.jsonl", "s3://bucket/q.jsonl"]
    config["curation"] = {"toxic_words": "words.txt"}
    config["models"]["teacher"] = {"model": write_model(tmp_path / "model").name}
    (tmp_path / "words.txt").write_text("bad\n")
    settings = resolve_settings(load_settings(write_config(tmp_path, config)))
    assert settings.personas.source == str(tmp_path / "personas.jsonl")
    assert [source.path for source in settings.instructions.sources] == [
        str(tmp_path / "questions.jsonl"),
        "s3://bucket/q.jsonl",
    ]
    assert settings.curation.toxic_words == str(tmp_path / "words.txt")
    assert settings.models["teacher"].model == str(tmp_path / "model")


def test_the_name_of_a_served_model_is_no_path(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripted").mkdir()
    settings = resolve_settings(load_settings(write_config(tmp_path, config)))
    assert settings.models["teacher"].model == "scripted"


def test_a_broken_model_config_is_told_not_thrown(tmp_path: Path, config: dict[str, Any]) -> None:
    model = write_model(tmp_path / "model")
    config["models"]["teacher"] = {"model": str(model)}
    for text in ("{", "[]"):
        (model / "config.json").write_text(text)
        problems = find_problems(tmp_path, config)
        assert list(problems) == ["models.teacher.model"]
        assert "config.json is not a JSON object" in problems["models.teacher.model"].what
