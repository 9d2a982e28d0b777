"""Holds the shipped recipes to the paper: what they differ in, and that each can be planned."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi, constants

from flows.plan.planning import plan_run
from flows.recipe.checks import list_asked_roles
from flows.recipe.retired_models import find_retirements
from flows.recipe.settings import Settings, load_settings
from infra.engines.model_facts import find_model_facts, is_hub_name
from infra.paths import packaged_configs
from tasks.evaluation.measures.published import list_recipes
from tasks.evaluation.measures.score_table import pair_models

LIMA, ALPACA, PH = (
    "data/sources/lima/train.jsonl",
    "data/sources/alpaca",
    "data/sources/persona_hub/instruction.jsonl",
)
LATER = date(2027, 1, 15)
GPT, LLAMA = "gpt-4o-2024-05-13", "meta-llama/Meta-Llama-3-70B-Instruct"

RECIPES = {
    "ablation-1": ((LIMA, ALPACA), "rewrite", GPT),
    "ablation-2": ((LIMA, ALPACA), "rewrite", LLAMA),
    "ablation-3": ((PH,), "generate", GPT),
    "ablation-4": ((PH,), "generate", LLAMA),
    "ablation-5": ((LIMA, ALPACA), "generate", LLAMA),
    "opencharacter": ((LIMA, ALPACA, PH), "generate", LLAMA),
}
"""The paper's table: corpora, strategy, teacher (PAPER, section 2)."""

BY_NAME = ("Qwen/Qwen3-30B-A3B-Instruct-2507", "meta-llama/Llama-3.3-70B-Instruct")
"""Open models that are pinned by a name with a date or a number; a run notes their commits."""

ALLOWED = ("run.name", "instructions.sources", "dialogues.", "evaluation.published")
FROM_BASE = ("run.name", "models.base.", "evaluation.published")


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder, without keys, hub cache and network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a plan asked the hub")

    monkeypatch.setattr(HfApi, "model_info", fail)


def load(name: str) -> Settings:
    return load_settings(f"configs/paper/{name}.yaml")


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{path}.{key}" if path else key)
    else:
        yield path, value


def differ(one: Settings, two: Settings) -> set[str]:
    left, right = (dict(flatten(item.model_dump(mode="json"))) for item in (one, two))
    return {key for key in {*left, *right} if left.get(key) != right.get(key)}


def test_every_file_is_a_recipe_of_the_paper() -> None:
    found = {path.stem for path in (packaged_configs() / "paper").glob("*.yaml")}
    recipes = {*RECIPES, *(f"{name}-base" for name in RECIPES)}
    assert found - recipes == {"method", "shared", "released", "open"}
    assert recipes < found


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_what_the_paper_says(name: str) -> None:
    corpora, strategy, teacher = RECIPES[name]
    settings = load(name)
    assert tuple(source.path for source in settings.instructions.sources) == corpora
    assert settings.instructions.synthesis.count == 0
    strategies = {"generate": settings.dialogues.generate, "rewrite": settings.dialogues.rewrite}
    used = {key: config for key, config in strategies.items() if config is not None}
    assert list(used) == [strategy]
    assert settings.models[used[strategy].model].model == teacher
    assert settings.dialogues.characters_per_question == 3
    assert settings.personas.sample == 20_000
    assert settings.models[settings.characters.model].model == GPT
    assert settings.curation.profile_dropout == 0
    training, evaluation = settings.training, settings.evaluation
    assert training is not None and evaluation is not None
    assert settings.models[training.model].model == "meta-llama/Meta-Llama-3-8B-Instruct"
    assert (training.learning_rate, training.final_learning_rate) == (1e-5, 1e-6)
    assert training.adam_betas == (0.9, 0.95)
    assert training.lora is None
    assert (evaluation.answers.temperature, evaluation.answers.max_new_tokens) == (0.9, 1024)
    assert (evaluation.questions.suite, evaluation.questions.light) == ("personagym", False)
    (judge,) = evaluation.judges
    assert settings.models[judge.model].model == "gpt-4o-2024-08-06"
    assert (judge.temperature, judge.prompts) == (0, "personagym")
    assert evaluation.published == name
    assert name in list_recipes()


@pytest.mark.parametrize("name", [*RECIPES, "opencharacter-base", "released", "open"])
def test_one_run_compares_under_one_prompt_and_as_the_paper_compares(name: str) -> None:
    evaluation = load(name).evaluation
    assert evaluation is not None
    assert evaluation.names == ("base", "tuned", "base-personagym")
    assert set(pair_models(evaluation)) > {("tuned", "base"), ("tuned", "base-personagym")}
    prompts = {model.name: evaluation.find_prompt(model) for model in evaluation.models}
    trained = load(name).curation.prompt
    assert prompts == {"base": trained, "tuned": trained, "base-personagym": "personagym"}


def test_recipes_differ_in_what_the_paper_differs_in_and_in_nothing_else() -> None:
    for one, two in combinations(RECIPES, 2):
        for ending in ("", "-base"):
            extra = {
                key
                for key in differ(load(f"{one}{ending}"), load(f"{two}{ending}"))
                if not key.startswith(ALLOWED)
            }
            assert extra == set(), f"{one}{ending} and {two}{ending}"


@pytest.mark.parametrize("name", RECIPES)
def test_the_other_backbone_changes_the_backbone_alone(name: str) -> None:
    instruct, base = load(name), load(f"{name}-base")
    keys = differ(instruct, base)
    assert {key for key in keys if not key.startswith(FROM_BASE)} == set()
    assert base.evaluation is not None
    assert base.evaluation.published == f"{name}-base" in list_recipes()
    assert base.models["base"].model == "meta-llama/Meta-Llama-3-8B"
    assert base.models["base"].chat_template is not None, "it has none of its own to be asked in"


@pytest.mark.parametrize(
    "config",
    ["laptop", "paper/released", "paper/open", *(f"paper/{name}" for name in RECIPES)],
)
def test_every_model_has_a_pinned_commit_and_a_known_size(config: str) -> None:
    models = load_settings(f"configs/{config}.yaml").models
    hub = {role: model for role, model in models.items() if is_hub_name(model)}
    assert hub
    for role, model in hub.items():
        if model.model not in BY_NAME:
            assert len(model.revision or "") == 40, role
        assert find_model_facts(model) is not None, role


@pytest.mark.parametrize("name", [*RECIPES, "opencharacter-base", "ablation-1-base"])
def test_a_recipe_plans_on_a_bare_machine(name: str, tmp_path: Path) -> None:
    """With a hundredth of the rows, for time; the full counts are one recipe's, below."""
    fewer = ["lima.rows=10", "alpaca.rows=500", "ph_instruct.rows=500", "persona_hub.rows=200"]
    overrides = [f"plan.sources.{item}" for item in (*fewer, "personagym.rows=100")]
    plan = plan_run(f"configs/paper/{name}.yaml", [*overrides, f"storage.root={tmp_path}/store"])
    assert plan.personas == 200
    assert plan.totals.untimed == ()
    assert plan.training is not None
    assert plan.training.parameters == 8_030_261_248
    assert plan.disk.checkpoints == 3 * 16 * 8_030_261_248
    assert len(plan.notes) == 2 + len(RECIPES[name.removesuffix("-base")][0])


def test_the_headline_recipe_plans_the_papers_counts(tmp_path: Path) -> None:
    plan = plan_run(
        "configs/paper/opencharacter.yaml", ["personas.sample=300", f"storage.root={tmp_path}/s"]
    )
    assert plan.questions == 102_084
    assert plan.pairs == 306_252
    rows = {node.node: node.rows for node in plan.nodes}
    assert rows["dialogues_generate"] == 306_252
    for model in ("base", "tuned", "base-personagym"):
        assert rows[f"answers_{model}"] == rows[f"judgements_judge_{model}"] == 10_000
    assert rows["examples_judge"] == 10_000


def test_the_laptop_plans_on_a_bare_machine(tmp_path: Path) -> None:
    plan = plan_run("configs/laptop.yaml", [f"storage.root={tmp_path}/store"])
    assert plan.notes == ()
    assert plan.training is not None
    assert plan.training.parameters == 494_032_768


RELEASED = ("personas.", "characters.", "dialogues.", "instructions.", "models.", "plan.", "run.")


def test_the_released_rows_need_no_teacher_and_change_nothing_else() -> None:
    released, paper = load("released"), load("opencharacter")
    assert set(released.models) == {"base", "judge"}
    extra = {key for key in differ(released, paper) if not key.startswith(RELEASED)}
    assert extra == set()
    people = released.characters.source
    assert people == released.personas.source
    assert released.dialogues.source is not None and released.personas.sample is None
    assert released.personas.near_duplicate_similarity is None
    assert released.personas.language is None


def test_the_released_rows_plan_on_a_bare_machine(tmp_path: Path) -> None:
    fewer = ["characters.rows=60", "dialogues.rows=300", "personagym.rows=100"]
    overrides = [f"plan.sources.{item}" for item in fewer]
    overrides += ["plan.sources.characters.answer_words=30", f"storage.root={tmp_path}/store"]
    plan = plan_run("configs/paper/released.yaml", overrides)
    rows = {node.node: node.rows for node in plan.nodes}
    assert (plan.personas, rows["characters"], rows["dialogues_given"]) == (60, 60, 300)
    assert not {"dialogues_generate", "dialogues_rewrite", "instructions"} & set(rows)
    assert plan.training is not None and plan.training.examples > 250
    assert len(plan.notes) == 3


def test_open_weights_take_the_place_of_every_endpoint(tmp_path: Path) -> None:
    settings, paper = load("open"), load("opencharacter")
    changed = {
        key
        for key in differ(settings, paper)
        if not key.startswith(("models.", "plan.tokens_per_s", "run.name"))
    }
    assert changed == {"characters.model", "dialogues.generate.model", "evaluation.published"}
    asked = list_asked_roles(settings)
    assert {settings.models[role].engine for role in asked if role != "tuned"} == {"vllm"}
    teacher, judge = (settings.models[role].model for role in ("teacher", "judge"))
    assert teacher.split("/")[0] != judge.split("/")[0]
    fewer = ["lima.rows=10", "alpaca.rows=50", "ph_instruct.rows=50", "persona_hub.rows=20"]
    overrides = [f"plan.sources.{item}" for item in (*fewer, "personagym.rows=50")]
    plan = plan_run("configs/paper/open.yaml", [*overrides, f"storage.root={tmp_path}/store"])
    assert plan.warnings == ()
    assert plan.totals.untimed == ()


def test_recipes_name_the_models_that_are_gone() -> None:
    told = [found for found in find_retirements(load("opencharacter"), LATER)]
    assert {found.text.split()[1]: found.gone for found in told} == {
        GPT: True,
        "gpt-4o-2024-08-06": True,
    }
    assert [found.gone for found in find_retirements(load("released"), LATER)] == [True]
