"""Checks what the page says of a training."""

from __future__ import annotations

import pytest

from infra.store.storage import Storage
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.learning import describe_control, describe_training
from tasks.reporting.sections.making import build_cost_table
from tasks.reporting.sections.overview import ModelLine, build_model_table

from .worlds import write_control, write_training


def test_a_training_is_told_from_its_manifest_and_files(storage: Storage) -> None:
    line = describe_training(RunNodes(storage, [write_training(storage)]))
    assert line is not None
    assert line.gain == pytest.approx(0.8)
    assert line.model == storage.url("training/x")
    assert [sample.answer for sample in line.samples] == ["The <b>oven</b>, friend."]
    assert line.curves.startswith("<svg") and "<style" not in line.curves


def test_a_control_says_which_share_of_the_gain_is_the_profile_s(storage: Storage) -> None:
    nodes = RunNodes(storage, [write_training(storage), write_control(storage, 1.0)])
    told = describe_control(nodes)
    # From 2.5 to 0.5 with the profiles, to 1.0 without: 0.5 of 2.
    assert "2.500 before, 1.000 control, 0.500 tuned: 25 % of the gain" in told
    table = build_model_table(nodes, (ModelLine("base", "tiny", "vllm"),))
    assert [row.name for row in table.rows] == ["base", "tuned", "control"]
    costs = build_cost_table(nodes, None)
    assert [row.name for row in costs.rows] == ["training", "training control", "all"]


def test_a_control_that_learned_as_much_leaves_nothing_to_the_profile(storage: Storage) -> None:
    nodes = RunNodes(storage, [write_training(storage), write_control(storage, 0.4)])
    assert "0.500 tuned: none of the gain is the profile's" in describe_control(nodes)


def test_a_run_without_a_control_says_nothing_of_one(storage: Storage) -> None:
    assert describe_control(RunNodes(storage, [write_training(storage)])) == ""


def test_a_run_without_training_has_none(storage: Storage) -> None:
    assert describe_training(RunNodes(storage, [])) is None
