"""Proves that evaluation is drawn as its configuration says, and what is wrong is found early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.recipe.checks import check_settings
from flows.recipe.evaluation_checks import note_prompts
from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context, resolve_settings
from flows.recipe.settings import dump_settings, load_settings
from infra.context import Quiet
from infra.errors import ConfigError
from tasks.evaluation.nodes import Answers
from tests.unit.evaluation.test_personagym import CODE, lay_out, write_code
from tests.unit.flows.worlds import index_problems, make_config, write_config

SCRIPTED = {"engine": "scripted", "model": "scripted"}


def configure(folder: Path, **evaluation: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    config = make_config(folder)
    config["models"] |= {"judge": SCRIPTED, "other": {**SCRIPTED, "model": "another"}}
    config["evaluation"] = {
        "models": ["teacher"],
        "judges": [{"model": "judge"}],
        **evaluation,
    }
    return config


def draw(folder: Path, **evaluation: Any) -> Graph:
    path = write_config(folder, configure(folder / "data", **evaluation))
    settings = resolve_settings(load_settings(path))
    check_settings(settings)
    with open_context(settings, Quiet()) as context:
        return build_graph(settings, context)


def name(graph: Graph) -> dict[str, str]:
    return {node.name: node.spec.fingerprint for node in graph if node.stage == "evaluation"}


def test_every_model_is_answered_and_judged_by_every_judge(tmp_path: Path) -> None:
    names = name(draw(tmp_path, models=["teacher", "other"]))
    assert set(names) == {
        "question_settings",
        "question_texts",
        "questions",
        "answers_teacher",
        "answers_other",
        "examples_judge",
        "judgements_judge_teacher",
        "judgements_judge_other",
        "scores",
    }


def test_a_further_model_renames_the_scores_and_nothing_else(tmp_path: Path) -> None:
    before = name(draw(tmp_path / "a"))
    after = name(draw(tmp_path / "b", models=["teacher", "other"]))
    changed = {node for node in before if before[node] != after[node]}
    assert changed == {"scores"}


def test_another_rubric_renames_what_is_judged_and_not_what_is_asked(tmp_path: Path) -> None:
    rubrics = yaml.safe_load(Path("configs/prompts/evaluation/rubrics.yaml").read_text())
    rubrics["toxicity_control"]["description"] = "Is it polite?"
    changed = tmp_path / "rubrics.yaml"
    changed.write_text(yaml.safe_dump(rubrics))
    before = name(draw(tmp_path / "a"))
    after = name(draw(tmp_path / "b", judges=[{"model": "judge", "rubrics": str(changed)}]))
    assert {node for node in before if before[node] != after[node]} == {
        "examples_judge",
        "judgements_judge_teacher",
        "scores",
    }


def test_held_out_questions_ask_no_model(tmp_path: Path) -> None:
    names = name(draw(tmp_path, questions={"suite": "held_out"}))
    assert not {"question_settings", "question_texts"} & set(names)


REWORDED = "prompts/evaluation/roleplay_personagym.j2"
PAIRS = ["teacher", "other", {"role": "teacher", "prompt": REWORDED}]


def test_a_role_is_asked_under_two_prompts_and_each_is_judged(tmp_path: Path) -> None:
    names = name(draw(tmp_path, models=PAIRS))
    called = ("teacher", "other", "teacher-roleplay-personagym")
    assert {node for node in names if node.startswith(("answers", "judgements"))} == {
        *(f"answers_{model}" for model in called),
        *(f"judgements_judge_{model}" for model in called),
    }


def test_a_further_prompt_renames_the_scores_and_nothing_else(tmp_path: Path) -> None:
    before = name(draw(tmp_path / "a", models=["teacher", "other"]))
    after = name(draw(tmp_path / "b", models=PAIRS))
    assert {node for node in before if before[node] != after[node]} == {"scores"}
    given = [{"role": "teacher"}, {"role": "other", "prompt": None}]
    assert name(draw(tmp_path / "c", models=given)) == before


def test_what_needs_no_answers_is_measured_once_a_role(tmp_path: Path) -> None:
    config = configure(
        tmp_path / "data", models=["student", {"role": "student", "prompt": REWORDED}]
    )
    config["models"]["student"] = {"model": "configs/demo/base"}
    settings = resolve_settings(load_settings(write_config(tmp_path, config)))
    with open_context(settings, Quiet()) as context:
        names = name(build_graph(settings, context))
    assert {node for node in names if node.startswith("attribution")} == {"attribution_student"}


def test_roles_are_written_as_they_are_given(tmp_path: Path) -> None:
    settings = load_settings(write_config(tmp_path, configure(tmp_path, models=PAIRS)))
    assert yaml.safe_load(dump_settings(settings))["evaluation"]["models"] == PAIRS


def test_a_checkout_asks_under_its_own_line(tmp_path: Path) -> None:
    gym = lay_out(tmp_path / "gym", "A baker")
    asked: dict[str, Any] = {
        "models": ["other", {"role": "teacher", "prompt": "personagym"}],
        "questions": {"suite": "personagym", "path": str(gym)},
        "attribution": None,
    }

    def find() -> tuple[str, list[str]]:
        graph = draw(tmp_path, **asked)
        config = configure(tmp_path / "data", **asked)
        notes = list(note_prompts(load_settings(write_config(tmp_path, config))))
        (answers,) = (node for node in graph.find(Answers) if node.told_as != "other")
        assert answers.name == "answers_teacher-personagym"
        return answers.prompt_source(), notes

    reworded, (note,) = find()
    assert reworded == Path("configs", REWORDED).read_text()
    assert str(gym) in note and REWORDED in note
    write_code(gym, CODE)
    line, notes = find()
    assert "Be {% endraw %}{{ persona }}" in line and notes == []


@pytest.mark.parametrize(
    ("evaluation", "where", "what"),
    [
        (
            {"models": ["teacher", {"role": "nobody", "prompt": REWORDED}]},
            "evaluation.models.nobody-roleplay-personagym",
            "not configured",
        ),
        (
            {"models": [{"role": "teacher", "prompt": "gone.j2"}]},
            "evaluation.models.teacher-gone.prompt",
            "no such file: gone.j2",
        ),
        ({"answers": {"prompt": "gone.j2"}}, "evaluation.answers.prompt", "no such file: gone.j2"),
        (
            {"models": ["teacher", {"role": "teacher", "prompt": "./configs/prompts/roleplay.j2"}]},
            "evaluation.models.teacher-roleplay.prompt",
            "is the prompt that teacher answers under",
        ),
        ({"models": ["tuned"]}, "evaluation.models.tuned", "trains no model"),
        ({"models": ["nobody"]}, "evaluation.models.nobody", "not configured"),
        ({"judges": [{"model": "nobody"}]}, "evaluation.judges.nobody", "not configured"),
        (
            {"questions": {"writing": {"prompt": "prompts/rewrite.j2"}}},
            "evaluation.questions.writing.prompt (prompts/rewrite.j2)",
            "uses dialog",
        ),
        ({"published": "best"}, "evaluation.published", "no recipe"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(
    tmp_path: Path, evaluation: dict[str, Any], where: str, what: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        draw(tmp_path, **evaluation)
    assert what in index_problems(caught)[where].what


@pytest.mark.parametrize(
    ("evaluation", "told"),
    [
        ({"models": ["teacher", "teacher"]}, "teacher is named twice under prompts/roleplay.j2"),
        (
            {"models": ["teacher", {"role": "teacher", "prompt": "prompts/roleplay.j2"}]},
            "teacher is named twice under prompts/roleplay.j2",
        ),
        (
            {"models": [{"role": "teacher", "prompt": f"{place}/one.j2"} for place in "ab"]},
            "two would be called teacher-one",
        ),
        (
            {"models": ["a-b", {"role": "a", "prompt": "b.j2"}]},
            "two would be called a-b",
        ),
        (
            {"models": [{"role": "a", "prompt": "b.j2"}, {"role": "a-b", "prompt": "c.j2"}]},
            "two would be called a-b",
        ),
        ({"models": [{"role": "teacher", "promt": REWORDED}]}, "did you mean prompt"),
        ({"models": [{"prompt": REWORDED}]}, "role: missing"),
        ({"models": [{"role": "teacher", "prompt": "personagym"}]}, "must name the PersonaGym"),
        ({"models": []}, "at least 1 item"),
        ({"models": [7]}, "evaluation.models.0"),
    ],
)
def test_a_list_of_models_that_cannot_be_is_an_error(
    tmp_path: Path, evaluation: dict[str, Any], told: str
) -> None:
    path = write_config(tmp_path, configure(tmp_path / "data", **evaluation))
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert told in str(caught.value)


def test_unseen_characters_need_a_held_out_share(tmp_path: Path) -> None:
    config = {**configure(tmp_path / "data"), "curation": {"validation_share": 0}}
    settings = resolve_settings(load_settings(write_config(tmp_path, config)))
    with pytest.raises(ConfigError) as caught:
        check_settings(settings)
    assert "held out" in index_problems(caught)["curation.validation_share"].what


def test_two_nodes_of_one_name_are_refused(tmp_path: Path) -> None:
    config = configure(
        tmp_path / "data",
        judges=[{"model": "judge_a"}, {"model": "judge_a_b"}],
        models=["b_c", "c"],
    )
    config["models"] |= dict.fromkeys(("judge_a", "judge_a_b", "b_c", "c"), SCRIPTED)
    settings = resolve_settings(load_settings(write_config(tmp_path, config)))
    with pytest.raises(ConfigError) as caught:
        check_settings(settings)
    what = index_problems(caught)["evaluation.judges"].what
    assert "judgements_judge_a_b_c" in what
    assert "judge_a on b_c" in what and "judge_a_b on c" in what
    with (
        open_context(settings, Quiet()) as context,
        pytest.raises(ConfigError, match="judge_a_b_c"),
    ):
        build_graph(settings, context)  # however it was built
