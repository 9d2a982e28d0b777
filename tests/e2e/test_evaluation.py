"""Checks evaluation with scripted engines: counts, growth, missing verdicts, PersonaGym."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.look.comparing import compare_runs
from flows.look.lineage import show_lineage
from flows.look.matrix import opencharacter_matrix
from flows.look.sheets import SheetOptions, write_sheet
from flows.recipe.opening import open_context, prepare
from flows.runs.closing import RunResult
from infra.errors import ConfigError, StorageError, YieldError
from infra.nodes.node import JobNode, Node, RowNode, SetNode
from infra.store.manifests import NodeRef, read_manifest, read_tables
from tests.e2e.scripted import LEDGER, ScriptedWorld, Silent, read_parts
from tests.e2e.test_pipeline import latest_states
from tests.unit.evaluation.test_personagym import CODE, lay_out, write_code

pytestmark = pytest.mark.e2e

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "personagym"

ASKED = 6
"""Personas that are asked; five tasks each, two questions a task."""

EVALUATION = (
    "evaluation.models=[teacher]",
    "evaluation.questions.unseen=false",
    f"evaluation.questions.personas={ASKED}",
    "evaluation.questions.writing={count: 2, language: null}",
    "evaluation.judges=[{model: judge}, {model: second, examples: null}]",
    "evaluation.resamples=200",
)
MODELS = (
    "models.judge={engine: scripted, model: judge}",
    "models.second={engine: scripted, model: second}",
    "models.other={engine: scripted, model: other}",
)
ALONE = (*MODELS, *EVALUATION)
GYM = (
    *MODELS,
    "evaluation.models=[teacher, other]",
    "evaluation.questions.suite=personagym",
    "evaluation.resamples=200",
)


def read_measures(world: ScriptedWorld, *overrides: str, holds: str = "measures") -> pl.DataFrame:
    settings = prepare(world.config, overrides)
    with open_context(settings, Silent()) as context:
        spec = world.graph(*overrides)["scores"].spec
        manifest = read_manifest(context.storage, spec.manifest_path)
        return read_tables(context.storage, [p for p in manifest.parts if p.holds == holds])


def check_counts(result: RunResult) -> None:
    for name, counts in result.counts.items():
        assert counts.planned == counts.accepted + counts.rejected, name


def read_page(result: RunResult) -> str:
    return Path(result.report).read_text(encoding="utf-8")


def test_questions_are_written_answered_and_judged_and_counts_add_up(world: ScriptedWorld) -> None:
    result = world.run(*ALONE)
    check_counts(result)
    questions = result.counts["questions"].accepted
    assert 0.8 * 10 * ASKED <= questions <= 10 * ASKED
    assert result.counts["answers_teacher"].planned == questions
    for judge in ("judge", "second"):
        verdicts = result.counts[f"judgements_{judge}_teacher"]
        assert verdicts.planned == verdicts.accepted == result.counts["answers_teacher"].accepted
    assert result.counts["examples_judge"].planned == questions
    assert "examples_second" not in result.counts
    assert 1 <= result.scores["persona_score_teacher"] <= 5
    agreements = read_measures(world, *ALONE, holds="agreements")
    assert agreements["units"].to_list() == [result.counts["answers_teacher"].accepted]
    page = read_page(result)
    assert "PersonaScore" in page and "Krippendorff" in page

    again = world.run(*ALONE)
    assert again.counts == result.counts and again.engines_started == {}
    assert {names[-1] for names in latest_states().values()} == {"Cached"}


def test_a_transient_fault_in_each_node_is_retried(
    world: ScriptedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: set[str] = set()

    def stumble(original: Callable[[Any], NodeRef]) -> Callable[[Node], NodeRef]:
        def make(node: Node) -> NodeRef:
            if node.stage in ("evaluation", "report") and node.name not in failed:
                failed.add(node.name)
                raise StorageError("injected")
            return original(node)

        return make

    for kind in (SetNode, JobNode, RowNode):
        monkeypatch.setattr(kind, "make", stumble(kind.make))
    result = world.run(*ALONE)
    check_counts(result)
    states = latest_states()
    retried = {name for name, names in states.items() if "AwaitingRetry" in names}
    assert retried == failed
    assert {
        "questions",
        "answers_teacher",
        "judgements_judge_teacher",
        "scores",
        "report",
    } <= retried
    assert all(names[-1] == "Completed" for names in states.values())


def test_one_more_model_costs_its_own_answers_and_judgements_only(
    world: ScriptedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = world.run(*ALONE)
    more = (*ALONE, "evaluation.models=[teacher, other]")
    result = world.run(*more)
    made = {name for name, states in latest_states().items() if states[-1] != "Cached"}
    assert made == {
        "answers_other",
        "judgements_judge_other",
        "judgements_second_other",
        "scores",
        "report",
    }
    assert result.scores["persona_score_teacher"] == first.scores["persona_score_teacher"]
    assert "persona_score_other_gain_low" in result.scores
    assert set(result.engines_started) == {"other", "judge", "second"}


def test_verdicts_that_cannot_be_read_are_missing_counted_and_shown(world: ScriptedWorld) -> None:
    spoilt = (
        *ALONE,
        "models.judge.script={bad_output_share: 0.6}",
        "evaluation.judges=[{model: judge, max_attempts: 1, examples: null}]",
    )
    with pytest.raises(YieldError, match=r"verdicts of judge on teacher's answers .* max_missing"):
        world.run(*spoilt)
    allowed = (
        *spoilt[:-1],
        "evaluation.judges=[{model: judge, max_attempts: 1, examples: null, max_missing: 1.0}]",
    )
    result = world.run(*allowed)
    check_counts(result)
    verdicts = world.rows("judgements_judge_teacher", *allowed)
    unread = verdicts["score"].null_count()
    assert 0.3 * verdicts.height < unread < verdicts.height
    assert set(verdicts["score"].drop_nulls().to_list()) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    measures = read_measures(world, *allowed)
    whole = measures.filter(pl.col("name") == "persona_score")
    assert whole["missing"].to_list() == [unread]
    assert str(unread) in read_page(result)


def test_personagym_light_asks_each_task_once_with_its_own_prompts(
    world: ScriptedWorld, tmp_path: Path
) -> None:
    checkout = lay_out(tmp_path / "gym", "A baker from Cork", "A pilot from Oslo", each=3)
    overrides = (
        *GYM,
        f"evaluation.questions.path={checkout}",
        "evaluation.judges=[{model: judge, prompts: personagym}]",
        "evaluation.answers.prompt=prompts/evaluation/roleplay_personagym.j2",
        "evaluation.published=ablation-5",
    )
    result = world.run(*overrides)
    check_counts(result)
    assert result.counts["questions"].accepted == 10
    assert result.counts["questions"].rejected == 20
    assert result.counts["answers_teacher"].planned == 10
    assert result.counts["judgements_judge_other"].planned == 10
    published = read_measures(world, *overrides, holds="published")
    own = published.filter(pl.col("mark") == "recipe", pl.col("task") == "")
    assert own.select("suite", "value").rows() == [("light", 4.66), ("full", 4.5)]
    assert published.select("suite", "model").n_unique() == 27
    full = world.run(*overrides, "evaluation.questions.light=false")
    assert full.counts["questions"].accepted == 30


def test_one_run_asks_a_model_under_the_checkouts_line_and_under_its_own(
    world: ScriptedWorld, tmp_path: Path
) -> None:
    checkout = lay_out(tmp_path / "gym", "A baker from Cork", "A pilot from Oslo", each=1)
    write_code(checkout, CODE)
    plain = (
        *GYM,
        f"evaluation.questions.path={checkout}",
        "evaluation.judges=[{model: judge, prompts: personagym, examples: null}]",
        "evaluation.published=opencharacter",
    )
    world.run(*plain)
    both = (*plain, "evaluation.models=[teacher, other, {role: teacher, prompt: personagym}]")
    result = world.run(*both)
    check_counts(result)
    made = {name for name, states in latest_states().items() if states[-1] != "Cached"}
    assert made == {
        "answers_teacher-personagym", "judgements_judge_teacher-personagym", "scores", "report",
    }  # fmt: skip
    compared = read_measures(world, *both, holds="comparisons")
    compared = compared.filter(pl.col("name") == "persona_score")
    assert set(compared.select("model", "against").rows()) == {
        ("other", "teacher"),
        ("other", "teacher-personagym"),
        ("teacher-personagym", "teacher"),
    }
    assert {"persona_score_other_gain", "persona_score_other_over_teacher-personagym_gain"} <= set(
        result.scores
    )
    page = read_page(result)
    for told in (
        "teacher-personagym", "under PersonaGym&#39;s line", "under prompts/roleplay.j2",
        "both under prompts/roleplay.j2", "here: other with teacher-personagym",
        "this run&#39;s recipe", "ablation-1-base", "PersonaGym in full, not comparable",
    ):  # fmt: skip
        assert told in page, told
    assert world.run(*both).engines_started == {}


def test_what_evaluation_lacks_is_told_at_once_and_before_anything_starts(
    world: ScriptedWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LEDGER, os.devnull)
    with pytest.raises(ConfigError) as caught:
        world.run(
            "evaluation.models=[teacher, tuned, nobody]",
            "evaluation.judges=[{model: judge, rubrics: none.yaml}]",
            "evaluation.questions={suite: personagym, path: nowhere}",
            "evaluation.people=[sheet.csv]",
            "evaluation.published=ablation-9",
        )
    told = str(caught.value)
    for said in (
        "evaluation.models.tuned: this run trains no model",
        "names a model 'nobody'",
        "names a model 'judge'",
        "none.yaml",
        "no such folder",
        "sheet.csv",
        "no recipe 'ablation-9'",
    ):
        assert said in told, said


def test_models_that_do_not_fit_side_by_side_take_turns(
    world: ScriptedWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import ray

    from infra.generation.engine_pool import _WORKER_CPUS

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.5 * _WORKER_CPUS})
    overrides = (*ALONE, "evaluation.models=[teacher, other]")
    result = world.run(*overrides)
    check_counts(result)
    assert set(result.engines_started) == {"teacher", "other", "judge", "second"}
    left = [text for text in caplog.messages if "evicted: its place is needed" in text]
    assert len(left) == sum(result.engines_started.values()) - 1
    monkeypatch.undo()
    assert result.scores == world.run(*overrides).scores


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no PersonaGym checkout at {REAL}")
def test_a_real_checkout_is_asked_whole(world: ScriptedWorld) -> None:
    overrides = (
        *GYM,
        "evaluation.models=[teacher]",
        f"evaluation.questions.path={REAL}",
        "evaluation.judges=[{model: judge, prompts: personagym, examples: null}]",
        "runner.chunk_rows=64",
    )
    result = world.run(*overrides)
    check_counts(result)
    assert result.counts["questions"].accepted == 500
    assert result.counts["judgements_judge_teacher"].planned == 500
    measures = read_measures(world, *overrides).filter(pl.col("name") == "persona_score")
    assert measures["clusters"].to_list() == [100]


def test_people_rate_a_sheet_and_every_verdict_leads_back_to_a_persona(
    world: ScriptedWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = world.run(*ALONE)
    settings = prepare(world.config, ALONE)
    sheet = tmp_path / "ada.csv"
    write_sheet(settings, SheetOptions(sample=20, blind=True, out=str(sheet)))
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20 and "model" not in rows[0]
    for place, row in enumerate(rows):
        row["score"] = str(1 + place % 5)
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)

    rated = world.run(*ALONE, f"evaluation.people=[{sheet}]")
    assert rated.scores == first.scores
    lines = read_measures(world, *ALONE, f"evaluation.people=[{sheet}]", holds="agreements")
    people = lines.filter(pl.col("people"))
    assert people["raters"].to_list() == [["ada", "judge"], ["ada", "second"]]
    assert people["units"].to_list() == [20, 20]

    capsys.readouterr()
    verdict = world.rows("judgements_judge_teacher", *ALONE)["key"][0]
    show_lineage(settings, verdict[:12], as_json=True)
    told = capsys.readouterr().out
    for node in ("answers_teacher", "questions", "characters", "personas"):
        assert f'"{node}"' in told, node


def test_two_runs_of_a_store_are_compared_on_the_questions_both_asked(
    world: ScriptedWorld,
) -> None:
    world.run(*ALONE, "run.name=one")
    world.run(*ALONE, "run.name=two", "evaluation.answers.temperature=0.5")
    found = compare_runs("one", "two", str(world.root), seed=1)
    (gain,) = [
        item for item in found.comparisons if item.name == "persona_score" and item.judge == "judge"
    ]
    assert gain.rows == ASKED and gain.unmatched == 0
    assert gain.low is not None and gain.high is not None
    same = compare_runs("one", "one", str(world.root), seed=1)
    assert {item.mean for item in same.comparisons if item.name == "persona_score"} == {0.0}


def test_a_matrix_runs_all_configurations_in_one_store_and_shares_what_they_share(
    world: ScriptedWorld,
) -> None:
    second = world.folder / "warmer.yaml"
    second.write_text("extends: small.yaml\nevaluation: {answers: {temperature: 0.5}}\n")
    found = opencharacter_matrix([str(world.config), str(second)], list(ALONE), "ab")
    assert [run.run for run in found.runs] == ["small", "warmer"]
    assert {item.run for item in found.differences} == {"warmer"}
    assert "persona_score" in {item.measure for item in found.differences}
    assert "warmer" in Path(found.page).read_text(encoding="utf-8")
    made = world.manifest("characters", *ALONE).counts
    assert made.planned == read_parts(world.root, "characters").height
