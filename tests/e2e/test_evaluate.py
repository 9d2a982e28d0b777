"""Scores models that are there already: no personas, no training data, any judge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.pipeline import evaluate
from flows.recipe.scoring import prepare_scoring
from flows.runs.closing import RunResult
from infra.errors import ConfigError
from tests.e2e.odd_endpoint import OddEndpoint, serve_oddities
from tests.e2e.test_pipeline import latest_states
from tests.unit.evaluation.test_personagym import lay_out

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BASE = Path(__file__).parents[2] / "configs" / "demo" / "base"
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "personagym"


@pytest.fixture(scope="module")
def judge() -> Iterator[OddEndpoint]:
    with serve_oddities() as running:
        yield running


@pytest.fixture
def config(
    tmp_path: Path, judge: OddEndpoint, prefect_server: str, ray_cluster: None
) -> dict[str, Any]:
    checkout = lay_out(tmp_path / "gym", "A baker from Cork", "A pilot from Oslo", each=2)
    return {
        "storage": {"root": str(tmp_path / "store")},
        "models": {
            "judge": {"engine": "endpoint", "model": "plain", "base_url": judge.address},
            "one": {"engine": "scripted", "model": "one"},
            "two": {"engine": "scripted", "model": "two"},
        },
        "evaluation": {
            "models": ["one"],
            "questions": {"suite": "personagym", "path": str(checkout)},
            "answers": {"prompt": "prompts/evaluation/roleplay_personagym.j2"},
            "judges": [{"model": "judge", "prompts": "personagym"}],
            "resamples": 200,
        },
    }


def score(folder: Path, config: dict[str, Any], *models: str) -> RunResult:
    path = folder / "scores.yaml"
    path.write_text(yaml.safe_dump(config))
    result: RunResult = evaluate(str(path), models)
    return result


def list_made() -> set[str]:
    return {name for name, states in latest_states().items() if states[-1] != "Cached"}


def test_models_are_scored_without_a_persona_of_their_own(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    result = score(tmp_path, config)
    assert set(result.counts) == {
        "questions", "answers_one", "examples_judge", "judgements_judge_one", "scores", "report",
    }  # fmt: skip
    assert result.counts["judgements_judge_one"].accepted == 10
    assert 1 <= result.scores["persona_score_one"] <= 5
    assert (result.dataset, result.model) == ("", "")
    page = Path(result.report).read_text(encoding="utf-8")
    assert "PersonaScore" in page and "scores-evaluation" in result.report

    both = score(tmp_path, config, "one", "two")
    assert list_made() == {"answers_two", "judgements_judge_two", "scores", "report"}
    assert "persona_score_two_gain" in both.scores


def test_a_folder_is_scored_by_its_own_engine_and_an_endpoint_judges(
    tmp_path: Path, config: dict[str, Any], judge: OddEndpoint
) -> None:
    config["evaluation"]["answers"]["max_new_tokens"] = 24
    asked = len(judge.asked)
    result = score(tmp_path, config, str(BASE))
    assert result.engines_started["base"] == 1
    assert result.counts["answers_base"].planned == 10
    assert result.counts["judgements_judge_base"].accepted == result.counts["answers_base"].accepted
    assert len(judge.asked) > asked
    assert set(result.scores) == {"persona_score_base"}


@pytest.mark.skipif(not SHARED.is_dir(), reason="PersonaGym's checkout is not beside this one")
def test_a_real_checkout_is_asked(tmp_path: Path, config: dict[str, Any]) -> None:
    config["evaluation"]["questions"] |= {"path": str(SHARED), "personas": 20}
    config["evaluation"]["judges"][0]["examples"] = None
    result = score(tmp_path, config, "two")
    assert result.counts["judgements_judge_two"].planned == 100


def test_what_would_need_synthesis_is_refused_with_a_way_out(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    personas = tmp_path / "personas.jsonl"
    personas.write_text('{"persona": "A baker from Cork who likes long walks."}\n')
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"instruction": "Why?", "input": "", "output": "Heat."}\n')
    config |= {
        "personas": {"source": str(personas)},
        "instructions": {"sources": [str(questions)]},
        "characters": {"model": "one"},
        "dialogues": {"characters_per_question": 1, "generate": {"model": "one"}},
    }
    config["evaluation"]["questions"] = {"suite": "held_out"}
    config["evaluation"]["judges"] = []
    with pytest.raises(ConfigError, match=r"not made yet.*curation.*questions\.suite=personagym"):
        score(tmp_path, config)


def test_models_of_one_name_are_not_taken_for_each_other(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    path = tmp_path / "scores.yaml"
    path.write_text(yaml.safe_dump(config))
    for name in ("one/export", "two/export", "judge", "tuned"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ConfigError, match="would be called export"):
        prepare_scoring(path, [str(tmp_path / "one/export"), str(tmp_path / "two/export")])
    for name in ("judge", "tuned"):
        with pytest.raises(ConfigError, match=f"would be called {name}"):
            prepare_scoring(path, [str(tmp_path / name)])


def test_a_suite_that_needs_rows_is_refused_where_nothing_says_how_they_are_made(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["evaluation"]["questions"] = {"suite": "generated", "writing": {"model": "one"}}
    config["evaluation"]["questions"]["settings"] = None
    config["evaluation"]["judges"] = []
    with pytest.raises(ConfigError, match=r"needs what is not made yet.*personas"):
        score(tmp_path, config)


def test_a_model_that_is_nowhere_is_told_before_anything_starts(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    path = tmp_path / "scores.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="--model nobody: neither a role nor the folder"):
        prepare_scoring(path, ["nobody"])
    del config["evaluation"]
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConfigError, match="evaluation: this configuration has none"):
        prepare_scoring(path, ["one"])
