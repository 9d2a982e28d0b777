"""Proves that templates are looked at before a run, and what is done about them is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from flows.control import doctor
from flows.plan.planning import plan_run
from infra.errors import ConfigError
from tests.unit.flows.worlds import index_problems, make_config, write_config, write_model

GRUFF = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('No system prompts') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') == (loop.index0 % 2 == 1) %}"
    "{{ raise_exception('In turn') }}{% endif %}{{ m.role }} {{ m.content }} {% endfor %}"
)


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    made = make_config(tmp_path)
    made["models"]["teacher"] = {"model": str(write_model(tmp_path / "model"))}
    return made


def give_template(folder: Path, template: str) -> None:
    (folder / "model" / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}))


@pytest.mark.torch
def test_what_is_done_to_conversations_is_said_by_plan_and_doctor(
    tmp_path: Path, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    give_template(tmp_path, GRUFF)
    path = write_config(tmp_path, config)
    (note,) = plan_run(path).notes
    assert "models.teacher" in note
    assert "the system prompt opens the first user turn" in note
    assert "consecutive turns of one role become one" in note
    well = doctor.examine(str(path), ())
    assert "opens the first user turn" in " ".join(capsys.readouterr().out.split())
    assert well


def test_a_template_that_takes_all_is_not_talked_about(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    give_template(tmp_path, "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}")
    assert plan_run(write_config(tmp_path, config)).notes == ()


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for m in messages %}{% endfor %}", "leaves out what the user asks"),
        ("{{ raise_exception('I take nobody') }}", "I take nobody"),
        ("{% if %}", "is no template"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "do not come to an end",
        ),
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_a_template_that_takes_no_question_is_refused(
    tmp_path: Path, config: dict[str, Any], template: str, told: str, own: bool
) -> None:
    give_template(tmp_path, template if own else "{{ messages[0].content }}")
    if not own:
        (tmp_path / "given.jinja").write_text(template)
        config["models"]["teacher"]["chat_template"] = str(tmp_path / "given.jinja")
    with pytest.raises(ConfigError) as caught:
        plan_run(write_config(tmp_path, config))
    assert told in index_problems(caught)["models.teacher.chat_template"].what


def test_a_template_that_refuses_one_prompt_of_the_run_is_told_by_the_plan(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    give_template(
        tmp_path,
        "{% for m in messages %}{% if 'Cork' in m.content %}{{ raise_exception('Not Cork') }}"
        "{% endif %}{{ m.content }}{% endfor %}",
    )
    with pytest.raises(ConfigError, match="does not render a prompt of this run: Not Cork"):
        plan_run(write_config(tmp_path, config))


def test_settings_that_the_export_drops_are_said(tmp_path: Path, config: dict[str, Any]) -> None:
    student = write_model(tmp_path / "student")
    (student / "generation_config.json").write_text('{"temperature": 0.9, "top_p": 0.6}')
    config["models"]["student"] = {"model": str(student)}
    config["training"] = {"model": "student", "max_length": 1024}
    notes = plan_run(write_config(tmp_path, config)).notes
    assert any("leaves out temperature, top_p" in note for note in notes)


def test_a_base_that_fits_no_training_template_is_told(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    student = write_model(tmp_path / "student")
    bare = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    bare.save(str(student / "tokenizer.json"))
    config["models"]["student"] = {"model": str(student)}
    config["training"] = {"model": "student", "max_length": 1024}
    with pytest.raises(ConfigError) as caught:
        plan_run(write_config(tmp_path, config))
    assert "gemma needs <bos>" in index_problems(caught)["training.template"].what
