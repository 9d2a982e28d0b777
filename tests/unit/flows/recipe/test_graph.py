"""Proves which nodes move when something changes: what hangs on it, and nothing above."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.recipe.graph import Graph, GraphBuilder, build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import load_settings
from infra.context import Quiet
from infra.paths import packaged_configs
from infra.store.manifests import NodeSpec
from tasks.dialogues import players
from tasks.dialogues.config import DialogueConfig
from tasks.dialogues.strategies import STRATEGIES
from tests.unit.evaluation.test_personagym import change, lay_out
from tests.unit.flows.worlds import make_config, write_config, write_lines, write_model

PROMPTS = {
    "characters.prompt": "character.j2",
    "dialogues.generate.prompt": "generate.j2",
    "dialogues.rewrite.prompt": "rewrite.j2",
    "instructions.synthesis.prompt": "instruction.j2",
    "curation.prompt": "roleplay.j2",
}
PLAYED = {"dialogues_generate", "dialogues_rewrite"}
LAST = {"curation", "export", "report"}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """Return a configuration whose prompts are copies that a test may change."""
    config = make_config(tmp_path)
    (tmp_path / "prompts").mkdir()
    for key, name in PROMPTS.items():
        copy = tmp_path / "prompts" / name
        copy.write_bytes((packaged_configs() / "prompts" / name).read_bytes())
        *parents, last = key.split(".")
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = str(copy)
    return config


def draw(folder: Path, config: dict[str, Any], *overrides: str) -> dict[str, NodeSpec]:
    settings = load_settings(write_config(folder, config), overrides)
    with open_context(settings, Quiet()) as context:
        return {node.stage: node for node in build_graph(settings, context).specs()}


def find_moved(before: dict[str, NodeSpec], after: dict[str, NodeSpec]) -> set[str]:
    assert list(before) == list(after)
    return {name for name in before if before[name].fingerprint != after[name].fingerprint}


def test_nodes_come_upstream_first_and_each_reads_only_what_came_before(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    nodes = draw(tmp_path, config)
    assert set(nodes) == {
        "personas", "instructions", "guesses", "characters", *PLAYED, *LAST,
    }  # fmt: skip
    seen: dict[str, str] = {}
    for name, node in nodes.items():
        assert node.upstream.items() <= seen.items()
        seen[name] = node.fingerprint


def test_the_same_configuration_is_the_same_graph(tmp_path: Path, config: dict[str, Any]) -> None:
    assert draw(tmp_path, config) == draw(tmp_path, config)


@pytest.mark.parametrize(
    ("prompt", "moved"),
    [
        ("character.j2", {"characters", *PLAYED, *LAST}),
        ("generate.j2", {"dialogues_generate", *LAST}),
        ("rewrite.j2", {"dialogues_rewrite", *LAST}),
        ("instruction.j2", {"guesses", "dialogues_generate", *LAST}),
        ("roleplay.j2", LAST),
    ],
)
def test_a_changed_prompt_file_moves_its_node_and_what_hangs_on_it(
    tmp_path: Path, config: dict[str, Any], prompt: str, moved: set[str]
) -> None:
    before = draw(tmp_path, config)
    path = tmp_path / "prompts" / prompt
    path.write_text(path.read_text().rstrip("\n") + " Be brief.\n")
    after = draw(tmp_path, config)
    assert find_moved(before, after) == moved
    changed = {name for name in moved if before[name].recipe != after[name].recipe}
    assert len(changed) == 1  # the others keep their rows and make only what is new


@pytest.mark.parametrize(
    ("override", "moved"),
    [
        ("characters.temperature=0.5", {"characters", *PLAYED, *LAST}),
        ("models.teacher.dtype=bfloat16", {"guesses", "characters", *PLAYED, *LAST}),
        ("models.teacher.model=other", {"guesses", "characters", *PLAYED, *LAST}),
        ("dialogues.rewrite.structured=false", {"dialogues_rewrite", *LAST}),
        ("curation.profile_dropout=0.5", LAST),
        ("export.name=Mine", {"export", "report"}),
    ],
)
def test_an_identity_knob_moves_its_node_and_what_hangs_on_it(
    tmp_path: Path, config: dict[str, Any], override: str, moved: set[str]
) -> None:
    assert find_moved(draw(tmp_path, config), draw(tmp_path, config, override)) == moved


@pytest.mark.parametrize(
    ("override", "moved"),
    [
        ("personas.sample=1", {"personas", "guesses", "characters", *PLAYED, *LAST}),
        ("dialogues.characters_per_question=2", {*PLAYED, *LAST}),
        ("instructions.synthesis.count=2", {"guesses", "dialogues_generate", *LAST}),
        ("characters.max_attempts=9", {"characters", *PLAYED, *LAST}),
        ("instructions.limit=1", {"instructions", *PLAYED, *LAST}),
    ],
)
def test_a_selection_knob_moves_nodes_and_keeps_every_row_recipe(
    tmp_path: Path, config: dict[str, Any], override: str, moved: set[str]
) -> None:
    before, after = draw(tmp_path, config), draw(tmp_path, config, override)
    assert find_moved(before, after) == moved
    for name in ("personas", "instructions", "guesses", "characters", *PLAYED):
        assert before[name].recipe == after[name].recipe


def test_execution_knobs_move_nothing(tmp_path: Path, config: dict[str, Any]) -> None:
    overrides = [
        "run.name=other",
        f"storage.root={tmp_path / 'elsewhere'}",
        "runner.chunk_rows=3",
        "retry.retries=0",
        "ray.address=null",
        "models.teacher.replicas=4",
        "models.teacher.max_num_seqs=2",
        "models.teacher.timeout_s=1",
        "models.teacher.script={latency_s: 0.1}",
        "characters.min_yield=0",
        "dialogues.generate.min_yield=0",
    ]
    assert find_moved(draw(tmp_path, config), draw(tmp_path, config, *overrides)) == set()


def test_what_a_stage_calls_its_model_moves_nothing(tmp_path: Path, config: dict[str, Any]) -> None:
    before = draw(tmp_path, config)
    config["models"]["writer"] = dict(config["models"]["teacher"])
    assert find_moved(before, draw(tmp_path, config, "characters.model=writer")) == set()


def test_data_that_moved_moves_nothing_and_changed_data_does(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    before = draw(tmp_path, config)
    moved = tmp_path / "deep" / "people.jsonl"
    moved.parent.mkdir()
    source = Path(config["personas"]["source"])
    moved.write_bytes(source.read_bytes())
    config["personas"]["source"] = str(moved)
    assert find_moved(before, draw(tmp_path, config)) == set()
    write_lines(moved, {"persona": "A cook from Cork."})
    assert find_moved(before, draw(tmp_path, config)) == {
        "personas", "guesses", "characters", *PLAYED, *LAST,
    }  # fmt: skip


def test_a_model_is_its_content_not_its_folder(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one, two = write_model(tmp_path / "one"), write_model(tmp_path / "two")
    config["models"]["teacher"] = {"model": str(one)}
    before = draw(tmp_path, config)
    config["models"]["teacher"] = {"model": str(two)}
    assert find_moved(before, draw(tmp_path, config)) == set()
    (two / "model.safetensors").write_bytes(b"tuned!!")
    assert find_moved(before, draw(tmp_path, config)) == {"guesses", "characters", *PLAYED, *LAST}


def test_a_strategy_that_is_off_has_no_node_and_leaves_the_others_rows(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    both, one = draw(tmp_path, config), draw(tmp_path, config, "dialogues.rewrite=null")
    assert set(both) - set(one) == {"dialogues_rewrite"}
    assert one["dialogues_generate"] == both["dialogues_generate"]


def test_without_synthesis_nothing_is_guessed(tmp_path: Path, config: dict[str, Any]) -> None:
    one = draw(tmp_path, config, "instructions.synthesis.count=0")
    assert "guesses" not in one
    both = draw(tmp_path, config)
    assert one["instructions"] == both["instructions"]
    assert one["dialogues_rewrite"] == both["dialogues_rewrite"]


def build(folder: Path, config: dict[str, Any], *overrides: str) -> Graph:
    settings = load_settings(write_config(folder, config), overrides)
    with open_context(settings, Quiet()) as context:
        return build_graph(settings, context)


def test_a_run_until_a_stage_has_no_node_after_it(tmp_path: Path, config: dict[str, Any]) -> None:
    graph = build(tmp_path, config).up_to("characters")
    assert [node.name for node in graph] == ["personas", "instructions", "guesses", "characters"]


def test_a_personagym_evaluation_has_no_node_of_synthesis(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["evaluation"] = {
        "models": ["teacher"],
        "questions": {"suite": "personagym", "path": str(lay_out(tmp_path / "gym"))},
        "judges": [{"model": "teacher", "examples": None}],
    }
    settings = load_settings(write_config(tmp_path, config))
    with open_context(settings, Quiet()) as context:
        graph = GraphBuilder(settings, context).build_scores()
    assert [node.name for node in graph] == [
        "questions", "answers_teacher", "judgements_teacher_teacher", "scores", "report",
    ]  # fmt: skip


def evaluate_gym(
    folder: Path, config: dict[str, Any], *overrides: str, checked: int = 0
) -> dict[str, NodeSpec]:
    config["evaluation"] = {
        "models": ["teacher"],
        "questions": {"suite": "personagym", "path": str(folder / "gym")},
        "judges": [{"model": "teacher", "check_examples": checked}],
        "attribution": None,
    }
    return draw(folder, config, *overrides)


def test_a_judges_own_examples_are_checked_where_that_is_asked_for(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    lay_out(tmp_path / "gym", "A baker")
    plain = evaluate_gym(tmp_path, config)
    few = evaluate_gym(tmp_path, config, checked=5)
    more = evaluate_gym(tmp_path, config, checked=6)
    assert set(few) - set(plain) == {"anchors_teacher"}
    assert {"anchors_teacher", "examples_teacher"} <= set(few["scores"].upstream)
    assert find_moved(few, more) == {"anchors_teacher", "scores", "report"}
    assert few["anchors_teacher"].recipe == more["anchors_teacher"].recipe
    same = {name for name in plain if plain[name].fingerprint == few[name].fingerprint}
    assert set(plain) - same == {"scores", "report"}


def test_what_the_run_evaluates_on_moves_curation_only_if_it_is_kept_out(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    lay_out(tmp_path / "gym", "A baker")
    auto = "curation.decontamination=auto"
    counted, kept_out = evaluate_gym(tmp_path, config), evaluate_gym(tmp_path, config, auto)
    without = draw(tmp_path, {**config, "evaluation": None})
    assert counted["curation"].fingerprint == without["curation"].fingerprint
    assert kept_out["curation"].fingerprint != counted["curation"].fingerprint
    change(tmp_path / "gym", "A baker", Toxicity=["What else?"])
    again, moved = evaluate_gym(tmp_path, config), evaluate_gym(tmp_path, config, auto)
    assert again["curation"].fingerprint == counted["curation"].fingerprint
    assert moved["curation"].fingerprint != kept_out["curation"].fingerprint


def test_bounds_on_data_move_nothing(tmp_path: Path, config: dict[str, Any]) -> None:
    after = draw(tmp_path, config, "curation.data_tests={max_refusal_share: 0.1}")
    assert find_moved(draw(tmp_path, config), after) == set()


def test_every_file_of_players_is_a_strategy() -> None:
    files = {path.stem for path in Path(players.__path__[0]).glob("*.py")} - {"__init__"}
    assert len(STRATEGIES) == len(files) and {"generate", "rewrite"} <= set(STRATEGIES)
    assert set(STRATEGIES) <= set(DialogueConfig.model_fields)
