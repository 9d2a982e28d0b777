"""Proves what a plan estimates: tokens, hours, money and disk, with numbers worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.plan.planning import draw_plan
from flows.plan.table import NodePlan, Plan
from flows.recipe.graph import build_graph
from flows.recipe.opening import open_context, prepare
from infra.context import Quiet
from infra.store.manifests import Counts, Manifest, NodeSpec, Usage, write_manifest
from infra.store.storage import Storage
from tests.unit.flows.worlds import make_config, write_config, write_model, write_weights

HOUR = 3600


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return make_config(tmp_path)


def plan(folder: Path, config: dict[str, Any]) -> Plan:
    return draw_plan(prepare(write_config(folder, config)))


def read_node(drawn: Plan, name: str) -> NodePlan:
    return next(node for node in drawn.nodes if node.node == name)


def list_specs(folder: Path, config: dict[str, Any]) -> tuple[Storage, dict[str, NodeSpec]]:
    settings = prepare(write_config(folder, config))
    with open_context(settings, Quiet()) as context:
        nodes = build_graph(settings, context).specs()
    return context.storage, {node.stage: node for node in nodes}


def remember(
    storage: Storage,
    node: NodeSpec,
    rows: int,
    usage: Usage,
    facts: Mapping[str, Any],
    *,
    made: int | None = None,
    fingerprint: str = "earlier",
) -> None:
    """Write a manifest as an earlier run of the node would have left it."""
    made = rows if made is None else made
    counts = Counts(planned=rows, accepted=rows, rejected=0, made=made, reused=rows - made)
    manifest = Manifest(
        stage=node.stage,
        recipe=node.recipe,
        fingerprint=fingerprint,
        upstream={},
        identity=dict(node.identity),
        selection={},
        parts=(),
        members=None,
        counts=counts,
        reasons={},
        usage=usage,
        provenance={"made_at": "2026-01-01T00:00:00+00:00"},
        facts=dict(facts),
    )
    write_manifest(storage, manifest)


def test_without_any_measure_answers_take_a_share_of_their_room(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["characters"] = {"max_new_tokens": 400}
    config["plan"] = {"answer_share": 0.25}
    cost = read_node(plan(tmp_path, config), "characters").cost
    assert cost.output_tokens == 2 * 100
    assert cost.counted == "2 prompts by length, answers 25% of 400"
    assert cost.engine_hours is None
    assert cost.usd is None


def test_prompts_are_tokenised_where_the_model_is_here(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["models"]["teacher"] = {"model": str(write_model(tmp_path / "model"))}
    prompt = tmp_path / "prompt.j2"
    prompt.write_text("[user]\none two {{ persona }}\n")
    config["characters"] = {"prompt": str(prompt)}
    cost = read_node(plan(tmp_path, config), "characters").cost
    # "A baker from Cork who likes long walks." is eight words and a full stop; a turn costs five.
    assert cost.prompt_tokens == 2 * (2 + 9 + 5)
    assert cost.counted.startswith("2 prompts tokenised")


def test_answers_hours_and_price_follow_what_was_measured(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["plan"] = {"usd_per_engine_hour": 3, "tokens_per_s": {"teacher": 1}}
    config["models"]["teacher"]["replicas"] = 2
    storage, specs = list_specs(tmp_path, config)
    usage = Usage(prompt_tokens=1000, completion_tokens=5000, requests=20)
    remember(storage, specs["characters"], 10, usage, {"engine_seconds": 50.0}, made=5)
    drawn = plan(tmp_path, config)
    cost = read_node(drawn, "characters").cost
    assert cost.output_tokens == 2 * 500
    assert cost.counted.endswith("answers as measured")
    # Half the rows, 2,500 tokens, took the two replicas 50 seconds: 50 tokens a second.
    assert cost.engine_hours == pytest.approx(1000 / 50 / HOUR * 2)
    assert cost.usd == pytest.approx(3 * 1000 / 50 / HOUR * 2)
    # A stage that was never run takes the rate of its model, not the given one.
    other = read_node(drawn, "guesses").cost
    assert other.engine_hours == pytest.approx((other.output_tokens or 0) / 50 / HOUR * 2)


def test_repeated_requests_repeat_the_prompt(tmp_path: Path, config: dict[str, Any]) -> None:
    once = read_node(plan(tmp_path, config), "characters").cost.prompt_tokens
    storage, specs = list_specs(tmp_path, config)
    remember(storage, specs["characters"], 10, Usage(completion_tokens=10, requests=30), {})
    assert read_node(plan(tmp_path, config), "characters").cost.prompt_tokens == 3 * (once or 0)


def test_a_given_rate_serves_where_nothing_was_measured(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["plan"] = {"tokens_per_s": {"teacher": 20}}
    config["report"] = {"usd_per_engine_hour": 4}
    drawn = plan(tmp_path, config)
    cost = read_node(drawn, "characters").cost
    assert cost.engine_hours == pytest.approx((cost.output_tokens or 0) / 20 / HOUR)
    assert cost.usd == pytest.approx(4 * (cost.engine_hours or 0))
    assert drawn.totals.untimed == drawn.totals.unpriced == ()


def test_an_endpoint_is_paid_by_the_token(tmp_path: Path, config: dict[str, Any]) -> None:
    config["models"]["teacher"] = {
        "engine": "endpoint", "model": "m", "base_url": "http://127.0.0.1:1/v1",
    }  # fmt: skip
    config["plan"] = {"usd_per_million_tokens": {"teacher": {"prompt": 10, "output": 100}}}
    cost = read_node(plan(tmp_path, config), "characters").cost
    prompt, output = cost.prompt_tokens or 0, cost.output_tokens or 0
    assert cost.usd == pytest.approx((10 * prompt + 100 * output) / 1e6)
    assert cost.engine_hours == 0
    del config["plan"]
    assert "characters" in plan(tmp_path, config).totals.unpriced


def test_what_is_cached_costs_nothing(tmp_path: Path, config: dict[str, Any]) -> None:
    storage, specs = list_specs(tmp_path, config)
    node = specs["dialogues_rewrite"]
    usage = Usage(prompt_tokens=9, completion_tokens=9, requests=1)
    remember(storage, node, 1, usage, {}, fingerprint=node.fingerprint)
    found = read_node(plan(tmp_path, config), "dialogues_rewrite")
    assert (found.make, found.reuse, found.cost.prompt_tokens) == (0, 1, None)


@pytest.fixture
def trained(tmp_path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Add a student of 1,000 parameters."""
    folder = write_model(tmp_path / "student")
    shape = {"num_hidden_layers": 1, "hidden_size": 10, "vocab_size": 100}
    told = {"model_type": "llama", "max_position_embeddings": 2048, **shape}
    (folder / "config.json").write_text(json.dumps(told))
    write_weights(folder / "model.safetensors", 100, 10)
    config["models"]["student"] = {"model": str(folder)}
    config["training"] = {
        "model": "student", "max_length": 100, "global_batch": 2, "epochs": 3,
        "keep_checkpoints": 2, "export_dtype": "float32",
    }  # fmt: skip
    return config


def test_training_is_reckoned_from_the_encoded_rows(
    tmp_path: Path, trained: dict[str, Any]
) -> None:
    trained["plan"] = {"usd_per_engine_hour": 2}
    storage, specs = list_specs(tmp_path, trained)
    node = specs["encoding"]
    facts = {"train": {"examples": 30, "rows": 7, "tokens": 600}}
    remember(storage, node, 30, Usage(), facts, fingerprint=node.fingerprint)
    done = {"tokens": 4000, "seconds": 10.0, "ranks": 4}
    remember(storage, specs["training"], 30, Usage(), done)
    found = plan(tmp_path, trained).training
    assert found is not None
    assert (found.examples, found.rows, found.tokens, found.about) == (30, 7, 600, False)
    assert found.steps == 11  # ceil(7 · 3 / 2)
    assert found.parameters == 1000
    assert found.rank_hours == pytest.approx(600 * 3 / 100 / HOUR)
    assert found.usd == pytest.approx(2 * 600 * 3 / 100 / HOUR)


def test_training_is_estimated_before_there_are_rows(
    tmp_path: Path, trained: dict[str, Any]
) -> None:
    trained["curation"] = {"validation_share": 0.0}
    trained["plan"] = {"training_tokens_per_s": 7}
    storage, specs = list_specs(tmp_path, trained)
    facts = {"train": {"examples": 10, "rows": 3, "tokens": 500}}
    remember(storage, specs["encoding"], 10, Usage(), facts)
    found = plan(tmp_path, trained).training
    assert found is not None
    # Two dialogues played and one rewritten, of 50 tokens each as before.
    assert (found.examples, found.tokens, found.about) == (3, 150, True)
    assert found.rows == 2  # 150 tokens, 95 a row
    assert found.steps == 3
    assert found.rank_hours == pytest.approx(450 / 7 / HOUR)


def test_a_first_estimate_takes_dialogues_for_examples(
    tmp_path: Path, trained: dict[str, Any]
) -> None:
    trained["curation"] = {"validation_share": 0.0}
    trained["training"]["max_examples"] = 2
    drawn = plan(tmp_path, trained)
    found = drawn.training
    assert found is not None
    costs = [read_node(drawn, f"dialogues_{name}").cost for name in ("generate", "rewrite")]
    tokens = sum((cost.prompt_tokens or 0) + (cost.output_tokens or 0) for cost in costs)
    assert found.examples == 2
    assert found.tokens == pytest.approx(tokens * 2 / 3, abs=2)


def test_disk_holds_checkpoints_at_their_most_and_both_copies_of_the_model(
    tmp_path: Path, trained: dict[str, Any]
) -> None:
    disk = plan(tmp_path, trained).disk
    assert disk.checkpoints == 3 * 16 * 1000
    assert disk.models == 2 * 4 * 1000
    parts = (disk.rows, disk.encoding, disk.checkpoints, disk.models, disk.export)
    assert disk.total == sum(parts)
    trained["models"]["student"] = {"model": "nobody/nothing", "revision": "0" * 40}
    unknown = plan(tmp_path, trained).disk
    assert unknown.checkpoints is unknown.models is None
    assert unknown.total == unknown.rows + unknown.encoding + unknown.export


def test_rows_take_the_disk_that_earlier_rows_took(tmp_path: Path, config: dict[str, Any]) -> None:
    first = read_node(plan(tmp_path, config), "characters").cost.disk_bytes
    assert first > 0
    config["characters"] = {"max_new_tokens": 4000}
    assert read_node(plan(tmp_path, config), "characters").cost.disk_bytes > first
