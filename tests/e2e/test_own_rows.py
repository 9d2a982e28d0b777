"""Brings rows of one's own into a run: profiles, and whole dialogues."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from flows.lineage import show_lineage
from flows.opening import prepare
from flows.planning import plan_run
from infra.errors import ConfigError, YieldError
from infra.manifests import refer_to
from infra.reading import read_accepted_frame
from infra.storage import Storage
from tests.e2e.scripted import ScriptedWorld

pytestmark = pytest.mark.e2e


def test_profiles_of_ones_own_are_taken_and_no_model_is_asked_for_any(
    world: ScriptedWorld, tmp_path: Path
) -> None:
    made = world.run()
    exported = Path(made.dataset) / "synthetic_character.jsonl"
    own = tmp_path / "own.jsonl"
    lines = exported.read_text().splitlines()
    own.write_text("\n".join(lines[:20]) + "\n")
    overrides = (f"characters.source={own}", f"storage.root={tmp_path / 'other'}")
    (plan,) = [n for n in plan_run(world.config, overrides).nodes if n.node == "characters"]
    assert plan.cost.prompt_tokens is None
    result = world.run(*overrides)
    counts = result.counts["characters"]
    assert (counts.planned, counts.accepted, counts.rejected) == (24, 20, 4)
    names = world.rows("characters")["name"].drop_nulls().to_list()
    cast = read_accepted_frame(
        Storage(str(tmp_path / "other")),
        refer_to(world.manifest("characters", *overrides)),
    )
    assert cast.height == 20 and set(cast["name"]) <= set(names)
    again = world.run(*overrides)
    assert again.engines_started == {} and again.counts == result.counts


def test_an_exported_data_set_comes_back_as_it_went(
    world: ScriptedWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = world.run()
    dataset = Path(made.dataset)
    people = dataset / "synthetic_character.jsonl"
    own = (
        f"personas.source={people}",
        f"characters.source={people}",
        f"dialogues.source={dataset / 'synthetic_dialogue.jsonl'}",
        f"storage.root={tmp_path / 'other'}",
    )
    nodes = {node.node: node for node in plan_run(world.config, own).nodes}
    assert "dialogues_given" in nodes and not {"dialogues_generate", "guesses"} & set(nodes)
    assert all(not node.cost.prompt_tokens for node in nodes.values())
    result = world.run(*own)
    assert result.engines_started == {}
    counts = result.counts["dialogues_given"]
    assert (counts.accepted, counts.rejected) == (made.counts["curation"].accepted, 0)
    assert result.counts["curation"].accepted == counts.accepted
    for split in ("train", "validation"):
        before, after = (
            sorted(pl.read_parquet(folder / f"sft_{split}.parquet")["messages"].to_list(), key=str)
            for folder in (dataset, Path(result.dataset))
        )
        assert before == after and before
    key = read_accepted_frame(
        Storage(str(tmp_path / "other")), refer_to(world.manifest("dialogues_given", *own))
    )["key"][0]
    capsys.readouterr()
    show_lineage(prepare(world.config, own), key)
    out = capsys.readouterr().out
    print(out)
    assert "character" in out
    card = (Path(result.dataset) / "README.md").read_text()
    assert "| alpaca | dialogues |" in card and "| alpaca | instructions |" not in card
    again = world.run(*own)
    assert again.counts == result.counts and again.engines_started == {}


def test_dialogues_without_their_people_are_told(world: ScriptedWorld, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    chat = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Ahoy."}]
    rows.write_text(json.dumps({"persona": "A stranger", "character": "Name: X", "messages": chat}))
    with pytest.raises(ConfigError, match=r"characters\.source="):
        world.run(f"dialogues.source={rows}")
    rows.write_text(json.dumps({"persona": "A stranger", "messages": chat}))
    with pytest.raises(YieldError, match=r"no_character.*personas\.source"):
        world.run(f"dialogues.source={rows}", "retry.retries=0")
