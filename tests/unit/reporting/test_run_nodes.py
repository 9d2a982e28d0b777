"""Checks that nodes are found by name, and that an absent one holds nothing."""

from __future__ import annotations

from infra.store.storage import Storage
from tasks.records import Answer, Character, EvalQuestion, HeldOutAnswer
from tasks.reporting.run_nodes import RunNodes

from .worlds import write_evaluation, write_synthesis


def test_rows_of_a_kind_come_from_all_its_nodes(storage: Storage) -> None:
    nodes = RunNodes(storage, write_evaluation(storage, people=3))
    assert nodes.list_stages("answers_") == ["answers_base", "answers_tuned"]
    assert nodes.list_stages("answers") == []
    answers = nodes.read_rows(Answer, "answers_")
    assert [item.model for item in answers] == ["base"] * 6 + ["tuned"] * 6
    assert len(nodes.read_part("questions", "references", HeldOutAnswer)) == 6
    assert len(nodes.read_rows(EvalQuestion, "questions")) == 6


def test_absent_nodes_and_parts_hold_nothing(storage: Storage) -> None:
    nodes = RunNodes(storage, [])
    assert nodes.find("training") is None
    assert nodes.read_frame("answers_").is_empty()
    assert nodes.read_rows(Character, "characters") == []
    assert nodes.read_part("questions", "references", HeldOutAnswer) == []
    assert list(nodes.read_rejects()) == []
    some = RunNodes(storage, write_synthesis(storage, people=2))
    assert some.read_part("personas", "references", HeldOutAnswer) == []


def test_only_nodes_with_rejects_are_read_for_them(storage: Storage) -> None:
    nodes = RunNodes(storage, write_synthesis(storage, people=2))
    found = {stage: frame.height for stage, frame in nodes.read_rejects()}
    assert found == {"personas": 5, "characters": 1, "curation": 3}
