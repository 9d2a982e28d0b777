"""Proves that a run waits for the root before it begins, and gives it back when all is closed."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.pipeline import open_run
from flows.recipe.settings import Settings, load_settings
from infra.context import Quiet
from infra.errors import RootBusy
from infra.locking import root_lock
from infra.locking.holder import Holder, read_holder
from infra.locking.root_lock import LOCK_FILE, RootLock
from infra.store.manifests import open_store
from infra.store.storage import Storage


class Other(Quiet):
    """Run that holds the root until it hears that somebody waits for it."""

    def __init__(self, root: str) -> None:
        storage = Storage(root)
        open_store(storage)
        self.lines: list[str] = []
        self.lock = RootLock(storage, "run other")
        self.lock.acquire(wait=False, note=self.lines.append)

    def node_note(self, node: str, text: str) -> None:
        """End once it is waited for."""
        self.lines.append(f"{node}: {text}")
        if "waits: " in text:
            self.lock.release()


@pytest.fixture(autouse=True)
def glance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_lock, "_GLANCE_S", 0.01)


def load(folder: Path, *overrides: str) -> Settings:
    return load_settings("configs/demo.yaml", [f"storage.root={folder}", *overrides])


def who_holds(folder: Path) -> Holder:
    return read_holder((folder / LOCK_FILE).read_bytes())


def test_a_run_begins_after_the_one_before_and_its_wait_is_no_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Other(str(tmp_path))
    with open_run(load(tmp_path), other) as (context, _):
        assert who_holds(tmp_path).name == "run demo"
        assert context.waited_s > 0
        assert context.storage.fence is not None
        holder: list[Holder] = []
        monkeypatch.setattr(context, "close_engines", lambda: holder.append(who_holds(tmp_path)))
    assert [one.ended for one in holder] == [""], "the next run would start beside its engines"
    assert who_holds(tmp_path).ended
    waits, goes_on = other.lines
    assert waits.startswith(f"demo: waits: {tmp_path} is held by run other (process ")
    assert goes_on.startswith("demo: goes on after waiting for ")


def test_a_run_may_be_told_not_to_wait_or_not_to_look(tmp_path: Path) -> None:
    other = Other(str(tmp_path))
    with (
        pytest.raises(RootBusy, match="held by run other"),
        open_run(load(tmp_path, "run.other_runs=refuse"), other),
    ):
        pass
    with open_run(load(tmp_path, "run.other_runs=ignore"), other) as (context, _):
        assert context.storage.fence is None
    assert who_holds(tmp_path).name == "run other"
    assert other.lines == []
