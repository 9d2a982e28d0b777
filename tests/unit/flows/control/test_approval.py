"""Proves what a person is shown before training, and that somebody must be there to see it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.control.approval import check_approval, describe_rows
from infra.cluster.session import RayConfig
from infra.context import Quiet, RunContext
from infra.errors import ConfigError
from infra.generation.runner_config import RunnerConfig
from infra.store.set_store import Rejection
from infra.store.storage import Storage
from tasks.records import Example, Turn
from tests.unit.flows.evaluated import World, name_node, write_whole


class Watched(Quiet):
    """Is a run's display at which somebody sits."""

    def can_approve(self) -> bool:
        return True


def open_context(storage: Storage, listener: Quiet | None = None) -> RunContext:
    return RunContext(storage, {}, RayConfig(), RunnerConfig(), listener or Quiet())


def test_a_person_sees_the_plan_what_was_left_out_and_rows_that_cannot_break_the_table(
    tmp_path: Path,
) -> None:
    storage = Storage(str(tmp_path))
    world = World(storage)
    nasty = (
        Turn("system", "You are Ada."),
        Turn("user", "a|b\n<b>c</b>"),
        Turn("assistant", "x" * 400),
    )
    examples = [replace(world.example, key=f"{place:032x}", messages=nasty) for place in range(12)]
    left_out = [Rejection("0" * 31 + "f", "duplicate", "said twice", "")]
    node = name_node("curation", identity={"try": 2})
    reference = write_whole(storage, node, Example, examples, left_out)
    lines = list(describe_rows(open_context(storage), reference, "the plan"))
    assert "the plan" in lines
    assert "12 examples, 1 left out" in lines and "- duplicate: 1" in lines
    rows = lines[lines.index("|---|---|") + 1 :]
    assert rows == ["| a\\|b &lt;b>c&lt;/b> | " + "x" * 300 + "… |"] * 8


def test_a_run_that_is_to_ask_needs_somebody_to_ask(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    with pytest.raises(ConfigError, match="there is nobody to ask"):
        check_approval(open_context(storage))
    check_approval(open_context(storage, Watched()))
