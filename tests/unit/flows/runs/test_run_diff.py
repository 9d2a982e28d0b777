"""Compares runs that differ in a knob, a prompt, a version or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from flows.runs.diff import RunDiff, diff_runs, diff_values, print_diff
from flows.runs.history import NodeMark, RunRecord
from infra.errors import ConfigError
from infra.store.manifests import NodeSpec
from infra.store.storage import Storage
from tasks.records import Character, Persona
from tests.unit.flows.evaluated import BAKER, write_rows, write_whole

PROMPT = "You are {{ name }}.\nBe brief.\nStay in character.\n"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


def name_nodes(prompt: str, limit: int, version: int = 1) -> tuple[NodeSpec, NodeSpec, NodeSpec]:
    personas = NodeSpec.build("personas", 1, identity={}, selection={"sample": limit})
    characters = NodeSpec.build(
        "characters",
        version,
        identity={"prompt": prompt, "temperature": 0.7},
        selection={},
        upstream=[personas],
    )
    report = NodeSpec.build("report", 1, identity={}, selection={}, upstream=[characters])
    return personas, characters, report


def write(
    storage: Storage, run: str, nodes: Sequence[NodeSpec], config: object, *, done: bool = True
) -> None:
    record = RunRecord(
        run=run,
        id="20260101T000000000-aaaaaa",
        began="2026-01-01T00:00:00+00:00",
        config=yaml.safe_dump(config),
        provenance={"made_at": run, "host": run, "ray": "2.1"},
        nodes=tuple(
            NodeMark(stage=node.stage, recipe=node.recipe, fingerprint=node.fingerprint)
            for node in nodes
        ),
    )
    storage.write_bytes(record.path, record.model_dump_json().encode())
    for node in nodes if done else ():
        if node.stage == "characters":
            write_rows(storage, node, Character, [])
        else:
            write_whole(storage, node, Persona, [BAKER])


def find_changes(diff: RunDiff, node: str) -> dict[str, tuple[str, str]]:
    found = next(item for item in diff.nodes if item.node == node)
    return {change.key: (change.before, change.after) for change in found.changes}


def test_a_changed_prompt_is_a_diff_at_its_node_and_a_consequence_below(storage: Storage) -> None:
    edited = PROMPT.replace("brief", "wordy")
    write(storage, "one", name_nodes(PROMPT, 5), {"characters": {"temperature": 0.7}})
    write(storage, "two", name_nodes(edited, 5), {"characters": {"temperature": 0.7}})

    diff = diff_runs("one", "two", storage.root)

    assert diff.knobs == () and diff.versions == ()
    assert diff.same_nodes == ("personas",)
    assert {node.node: node.why for node in diff.nodes} == {
        "characters": "own knobs", "report": "what it reads",
    }  # fmt: skip
    assert find_changes(diff, "characters") == {"prompt": (PROMPT, edited)}
    text = print_diff(diff)
    assert "-Be brief." in text and "+Be wordy." in text
    assert "only what they read differs: report" in text
    assert "the same in both: personas" in text


def test_knobs_and_selection_are_told_with_both_values(storage: Storage) -> None:
    write(storage, "one", name_nodes(PROMPT, 5), {"personas": {"sample": 5}, "x": [1.0, 2.0]})
    write(storage, "two", name_nodes(PROMPT, 9), {"personas": {"sample": 9}, "x": [1.0, 3.0]})

    diff = diff_runs("one", "two", storage.root)

    assert [(item.key, item.before, item.after) for item in diff.knobs] == [
        ("personas.sample", "5", "9"), ("x", "[1.0, 2.0]", "[1.0, 3.0]"),
    ]  # fmt: skip
    assert find_changes(diff, "personas") == {"sample": ("5", "9")}
    assert "personas.sample: 5 → 9" in print_diff(diff)


def test_a_new_version_of_a_stage_is_told_from_its_knobs(storage: Storage) -> None:
    write(storage, "one", name_nodes(PROMPT, 5), {})
    write(storage, "two", name_nodes(PROMPT, 5, version=2), {})

    node = diff_runs("one", "two", storage.root).nodes[0]

    assert (node.node, node.why, node.note) == (
        "characters", "own knobs", "another version of the stage",
    )  # fmt: skip


def test_nodes_of_one_side_and_nodes_not_made_are_named(storage: Storage) -> None:
    nodes = name_nodes(PROMPT, 5)
    write(storage, "one", nodes, {})
    write(storage, "two", name_nodes("Other.", 5)[:2], {}, done=False)

    found = {node.node: node for node in diff_runs("one", "two", storage.root).nodes}

    assert found["report"].why == "only in A"
    assert found["characters"].why == "own knobs"
    assert found["characters"].note == "its manifest is not there in B"


def test_the_same_run_differs_in_nothing_and_host_and_time_do_not_count(storage: Storage) -> None:
    for run in ("one", "two"):
        write(storage, run, name_nodes(PROMPT, 5), {"a": 1})

    diff = diff_runs("one", f"{storage.root}/runs/two@2026", storage.root)

    assert print_diff(diff).endswith("no difference: the same knobs and the same nodes")


def test_values_that_only_one_side_has_are_absent_on_the_other() -> None:
    changes = list(diff_values({"a": {"b": 1}}, {"a": {"c": None}}))

    assert [(item.key, item.before, item.after) for item in changes] == [
        ("a.b", "1", "(absent)"), ("a.c", "(absent)", "None"),
    ]  # fmt: skip


def test_an_unknown_run_is_told_by_its_argument(storage: Storage) -> None:
    write(storage, "one", [], {})
    with pytest.raises(ConfigError, match="RUN_B two: no run two"):
        diff_runs("one", "two", storage.root)
