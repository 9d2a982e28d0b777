"""Proves what a plan counts, what it says of it, and that it needs nothing a run needs."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi, constants

from flows.plan.planning import LATER, draw_plan, plan_run
from flows.plan.table import Plan, print_plan
from flows.recipe.graph import build_graph
from flows.recipe.opening import open_context, prepare
from infra.context import Quiet
from infra.errors import ConfigError
from infra.store.fingerprints import content_key, row_key
from tasks.records import PROFILE_FIELDS, Character
from tests.unit.flows.evaluated import write_rows
from tests.unit.flows.worlds import make_config, write_config, write_lines, write_model

KEY = "OPENCHARACTER_TEST_NO_SUCH_KEY"


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return make_config(tmp_path)


@pytest.fixture(autouse=True)
def _no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("a plan asked the hub")

    monkeypatch.setattr(HfApi, "model_info", fail)


def plan(folder: Path, config: dict[str, Any], *overrides: str) -> Plan:
    return plan_run(write_config(folder, config), overrides)


def test_every_row_stage_is_planned_before_anything_is_made(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    drawn = plan(tmp_path, config)
    rows = {node.node: (node.make, node.reuse) for node in drawn.nodes}
    assert rows["characters"] == (2, 0)
    assert rows["guesses"] == (1, 0)
    assert rows["dialogues_generate"] == (2, 0)
    assert rows["dialogues_rewrite"] == (1, 0)
    assert (drawn.personas, drawn.questions, drawn.pairs) == (2, 2, 2)
    assert drawn.notes == ()
    assert {node.why for node in drawn.nodes if node.make} == {"never made here"}


def test_a_plan_of_prepared_settings_is_the_same(tmp_path: Path, config: dict[str, Any]) -> None:
    drawn = plan(tmp_path, config)
    assert draw_plan(prepare(tmp_path / "small.yaml")) == drawn


def test_a_plan_survives_json(tmp_path: Path, config: dict[str, Any]) -> None:
    config["training"] = {"model": "student"}
    config["models"]["student"] = {"model": "Qwen/Qwen2.5-0.5B-Instruct"}
    drawn = plan(tmp_path, config)
    assert Plan.model_validate_json(drawn.model_dump_json()) == drawn
    assert drawn.training is not None
    assert drawn.models["student"] is not None


@pytest.mark.parametrize(
    ("batch", "told"),
    [
        (1, "over 1 rank)"),
        (64, "over 1, 2, 4, 8, 16, 32 or 64 ranks"),
        (720, "over …, 45, 48, 60, 72, 80, 90, 120, 144, 180, 240, 360 or 720 ranks"),
    ],
)
def test_a_plan_says_over_how_many_ranks_a_step_can_be_split(
    tmp_path: Path, config: dict[str, Any], batch: int, told: str
) -> None:
    config["training"] = {"model": "student", "global_batch": batch}
    config["models"]["student"] = {"model": "Qwen/Qwen2.5-0.5B-Instruct"}
    assert f"a step can be split {told}" in print_plan(plan(tmp_path, config))


def test_rows_of_questions_that_are_not_written_are_told_about(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["evaluation"] = {
        "models": ["teacher"],
        "attribution": None,
        "questions": {"writing": {"count": 4}},
        "judges": [{"model": "teacher", "examples": None}],
    }
    config["curation"] = {"validation_share": 0.5}
    nodes = {node.node: node for node in plan(tmp_path, config).nodes}
    counts = {"question_settings": 1, "question_texts": 5, "answers_teacher": 20}
    for name, rows in {**counts, "judgements_teacher_teacher": 20}.items():
        node = nodes[name]
        assert (node.rows, node.make, node.about, node.why) == (rows, rows, True, LATER)
        assert node.cost.prompt_tokens
    assert not nodes["characters"].about


def test_rows_that_are_brought_are_counted_as_they_will_be_taken(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    texts = [f"A {trade} from Cork who likes long walks." for trade in ("baker", "sailor")]
    talk = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "word " * 500}]
    chats = [{"persona": text, "messages": talk} for text in (texts[0], texts[1], "A stranger")]
    write_model(tmp_path / "student")
    config["models"]["student"] = {"model": str(tmp_path / "student")}
    config["training"] = {"model": "student", "max_length": 1024}
    config["curation"] = {"validation_share": 0.0}
    config["dialogues"]["source"] = str(write_lines(tmp_path / "chats.jsonl", *chats))
    drawn = plan(tmp_path, config)
    rows = {node.node: node.rows for node in drawn.nodes if node.rows}
    assert rows == {"characters": 2, "dialogues_given": 2}
    assert drawn.training is not None
    assert drawn.training.examples == 2 and drawn.training.tokens > 2 * 500
    assert drawn.totals.output_tokens == 800  # half of what two profiles may have

    profile = {name: "Nora" for _, name in PROFILE_FIELDS} | {"age": 44, "birth_place": "Cork"}
    people = write_lines(tmp_path / "people.jsonl", {"persona": texts[0], **profile})
    config["characters"] = {"source": str(people)}
    drawn = plan(tmp_path, config)
    rows = {node.node: node.rows for node in drawn.nodes if node.rows}
    assert rows == {"characters": 1, "dialogues_given": 1}
    assert drawn.training is not None and drawn.training.examples == 1
    assert drawn.totals.output_tokens == 0


def describe_missing(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Take both inputs away and describe them, with models that only a network knows."""
    config["personas"]["source"] = str(folder / "gone" / "people.jsonl")
    config["personas"]["sample"] = 40
    config["instructions"]["sources"] = [
        {"path": str(folder / "gone" / "lima.jsonl"), "format": "lima"}
    ]
    config["instructions"]["synthesis"] = {"count": 0}
    config["models"]["teacher"] = {
        "engine": "endpoint", "model": "m", "base_url": "http://127.0.0.1:1/v1",
        "api_key": f"env:{KEY}",
    }  # fmt: skip
    config["models"]["student"] = {"model": "nobody/nothing"}
    config["training"] = {"model": "student"}
    config["plan"] = {
        "sources": {
            "people": {"path": config["personas"]["source"], "get": "the people", "rows": 90},
            "lima": {
                "path": str(folder / "gone" / "lima.jsonl"), "get": "the questions", "rows": 33,
            },
            "unused": {"path": str(folder / "gone" / "other"), "get": "nothing", "rows": 1},
        }
    }  # fmt: skip
    return config


def test_a_plan_needs_no_downloads_no_network_and_no_key(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    drawn = plan(
        tmp_path, describe_missing(tmp_path, config), "dialogues.characters_per_question=3"
    )
    rows = {node.node: node.rows for node in drawn.nodes}
    assert rows["characters"] == 40
    assert rows["dialogues_generate"] == rows["dialogues_rewrite"] == 99
    told = ["lima.jsonl is not here: planned with 33", "people.jsonl is not here: planned with 90"]
    told.append("models.student: the commit of nobody/nothing is not known")
    assert len(drawn.notes) == len(told)
    for note, text in zip(sorted(drawn.notes), told, strict=True):
        assert text in note
    for note in drawn.notes:
        assert note in print_plan(drawn)
    assert list((tmp_path / "store").iterdir()) == [tmp_path / "store/opencharacter-store.json"]


def test_a_missing_input_that_nobody_describes_stops_a_plan(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config = describe_missing(tmp_path, config)
    del config["plan"]["sources"]["lima"]
    with pytest.raises(ConfigError, match=r"instructions\.sources\[0\]") as caught:
        plan(tmp_path, config)
    assert len(caught.value.problems) == 1


def test_what_changed_is_named_and_rows_already_made_are_reused(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    settings = prepare(write_config(tmp_path, config))
    with open_context(settings, Quiet()) as context:
        node = build_graph(settings, context)["characters"].spec
        persona = content_key("persona", "A baker from Cork who likes long walks.")
        made = Character(row_key(node.recipe, [persona]), persona, *["x"] * 9)
        write_rows(context.storage, node, Character, [made])
    nodes = {item.node: item for item in plan(tmp_path, config).nodes}
    assert (nodes["characters"].make, nodes["characters"].why) == (0, "cached")
    people = (
        {"persona": f"A {trade} from Cork who likes long walks."} for trade in ("baker", "ox")
    )
    write_lines(tmp_path / "personas.jsonl", *people)
    nodes = {item.node: item for item in plan(tmp_path, config).nodes}
    assert (nodes["characters"].make, nodes["characters"].reuse) == (1, 1)
    assert nodes["characters"].why == "changed: upstream personas"
    nodes = {item.node: item for item in plan(tmp_path, config, "characters.top_p=0.5").nodes}
    assert (nodes["characters"].make, nodes["characters"].reuse) == (2, 0)
    assert nodes["characters"].why == "changed: top_p, upstream personas"


def test_the_table_holds_every_node_and_the_sums(tmp_path: Path, config: dict[str, Any]) -> None:
    config["plan"] = {"tokens_per_s": {"teacher": 100}, "usd_per_engine_hour": 2}
    drawn = plan(tmp_path, config)
    text = print_plan(drawn)
    for node in drawn.nodes:
        assert node.node in text
    assert "in all: " in text
    assert "disk: " in text
    assert yaml.safe_load(drawn.model_dump_json())["totals"]["untimed"] == []


def test_a_plan_names_what_it_reads_and_what_it_does_not(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    folder = tmp_path / "asked"
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        row = {"question": f"Who {split}s?", "answer": "I.", "id": 1}
        write_lines(folder / split / "rows.jsonl", row)
    config["instructions"]["sources"] = [str(folder)]
    drawn = plan(tmp_path, config)
    assert drawn.questions == 2  # one of the folder, one guessed
    assert drawn.inputs == (
        f"personas.source: {config['personas']['source']}",
        f"instructions.sources[0]: {folder}: split train; train/rows.jsonl;"
        " left aside: test/rows.jsonl",
    )
    assert drawn.notes == (f"instructions.sources[0] ({folder}): not read: column id (1 rows)",)
    text = print_plan(drawn)
    assert "reads instructions.sources[0]:" in text and "note: instructions.sources[0]" in text


def bring(folder: Path, config: dict[str, Any], *profiles: str) -> None:
    """Bring a profile for each persona, and two dialogues of the first."""
    people = [f"A {trade} from Cork who likes long walks." for trade in ("baker", "sailor")]
    rows = [{"persona": who, "character": what} for who, what in zip(people, profiles, strict=True)]
    plays = [
        {"persona": people[0], "question": f"How {n}?", "character_answer": "So."} for n in range(2)
    ]
    config["characters"] = {"source": str(write_lines(folder / "people.jsonl", *rows))}
    config["dialogues"] = {"source": str(write_lines(folder / "plays.jsonl", *plays))}


def test_brought_rows_that_fall_are_warned_of(tmp_path: Path, config: dict[str, Any]) -> None:
    bring(tmp_path, config, "Name: Ada", "Name: Ben")
    assert plan(tmp_path, config).warnings == ()
    bring(tmp_path, config, "Name: Ada", " ")
    (warning,) = plan(tmp_path, config).warnings
    source = config["characters"]["source"]
    assert warning == (
        f"characters.source ({source}): 1 rows are taken, 1 are not: 1 × empty;"
        " that is below its min_yield of 60%, so a run would stop"
    )
    config["characters"]["min_yield"] = 0.5
    (warning,) = plan(tmp_path, config).warnings
    assert "would stop" not in warning


def test_a_source_all_of_whose_rows_fall_is_an_error_of_the_plan(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    bring(tmp_path, config, " ", " ")
    with pytest.raises(ConfigError, match=r"characters.source .* none of its 2 rows .* 2 × empty"):
        plan(tmp_path, config)
    bring(tmp_path, config, "Name: Ada", "Name: Ben")
    write_lines(Path(config["dialogues"]["source"]), {"persona": "X", "messages": ["Hm?", "Ah."]})
    with pytest.raises(ConfigError, match=r"dialogues.source .* 1 × no_character"):
        plan(tmp_path, config)
    config = make_config(tmp_path)
    write_lines(Path(config["personas"]["source"]), {"persona": "Short"}, {"persona": None})
    with pytest.raises(ConfigError, match=r"none of its rows is a persona: 1 × too_short, 1 × mi"):
        plan(tmp_path, config)


def test_a_source_that_ends_early_is_one_message(tmp_path: Path, config: dict[str, Any]) -> None:
    lines = Path(config["personas"]["source"]).read_bytes() * 3_000
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(lines, mtime=0)[:-20])
    config["personas"]["source"] = str(cut)
    with pytest.raises(ConfigError, match=r"cut.jsonl.gz: cannot be read: it ends early") as caught:
        plan(tmp_path, config)
    assert len(caught.value.problems) == 1
