"""Proves that evaluation is drawn as its configuration says, and what is wrong is found early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.recipe.checks import check_settings
from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context, resolve_settings
from flows.recipe.settings import load_settings
from infra.context import Quiet
from infra.errors import ConfigError
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


@pytest.mark.parametrize(
    ("evaluation", "where", "what"),
    [
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
