"""Checks what the page says of a training."""

from __future__ import annotations

import pytest

from infra.store.storage import Storage
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.learning import describe_training

from .worlds import write_training


def test_a_training_is_told_from_its_manifest_and_files(storage: Storage) -> None:
    line = describe_training(RunNodes(storage, [write_training(storage)]))
    assert line is not None
    assert line.gain == pytest.approx(0.8)
    assert line.model == storage.url("training/x")
    assert [sample.answer for sample in line.samples] == ["The <b>oven</b>, friend."]
    assert line.curves.startswith("<svg") and "<style" not in line.curves


def test_a_run_without_training_has_none(storage: Storage) -> None:
    assert describe_training(RunNodes(storage, [])) is None
