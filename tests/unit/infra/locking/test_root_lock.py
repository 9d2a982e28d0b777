"""Proves that one run at a time writes below a root, and that who was taken over writes no more."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.errors import ConfigError, InterruptedRun, RootBusy, RootLost, StorageError
from infra.locking import root_lock
from infra.locking.holder import Holder, read_holder
from infra.locking.root_lock import BEAT_S, LOCK_FILE, STALE_S, RootLock, hold_root
from infra.process_life import read_birth
from infra.store.storage import Storage
from tests.unit.infra.locking.clocks import Clock, make_lock, take


@pytest.fixture
def root(tmp_path: Path) -> Storage:
    (tmp_path / "store").mkdir()
    return Storage(str(tmp_path / "store"))


def read_lock(storage: Storage) -> Holder:
    return read_holder(storage.read_bytes(LOCK_FILE))


def write_lock(storage: Storage, **changes: object) -> Holder:
    """Write the lock of a run that is not of this machine, unless told otherwise."""
    other = Holder.introduce("run other").model_copy(
        update={"machine": "another boot/1", "host": "node-7", **changes}
    )
    storage.write_bytes(LOCK_FILE, other.model_dump_json().encode())
    return other


def test_who_comes_second_waits_until_the_first_has_ended_and_says_so(root: Storage) -> None:
    clock = Clock()
    first, second = (make_lock(root, name, clock) for name in ("run a", "run b"))
    assert take(first) == []
    clock.others = [first.renew, first.release]

    waits, goes_on = take(second)

    assert f"{root.root} is held by run a (process {os.getpid()} on " in waits
    assert ", since 20" in waits
    assert goes_on == "goes on after waiting for 4 s"
    assert read_lock(root).name == "run b"


def test_who_does_not_want_to_wait_is_refused_with_who_is_there(root: Storage) -> None:
    clock = Clock()
    first = make_lock(root, "run a", clock)
    take(first)
    with pytest.raises(RootBusy, match=r"held by run a \(process .*run\.other_runs=wait"):
        take(make_lock(root, "run b", clock), wait=False)
    first.release()
    assert take(make_lock(root, "run b", clock), wait=False) == []


def test_a_wait_ends_when_the_run_is_told_to_stop(root: Storage) -> None:
    clock = Clock()
    take(make_lock(root, "run a", clock))
    stop = threading.Event()
    clock.others = [stop.set]
    with pytest.raises(InterruptedRun, match="while it waited"):
        make_lock(root, "run b", clock).acquire(wait=True, note=lambda _: None, stopped=stop.is_set)
    assert read_lock(root).name == "run a"


def test_a_process_that_has_ended_on_this_machine_is_taken_over_at_once(root: Storage) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    clock = Clock()
    write_lock(root, machine=Holder.introduce("").machine, pid=ended.pid)
    (said,) = take(make_lock(root, "run b", clock), wait=False)
    assert said.startswith(f"took over from run other (process {ended.pid} on node-7")
    assert clock.now == Clock().now


def test_a_process_that_nobody_has_waited_for_and_one_with_a_used_number_have_ended() -> None:
    unheard = subprocess.Popen([sys.executable, "-c", ""])
    me = Holder.introduce("run a")
    assert me.born is not None and me.born > 0
    started = read_birth(unheard.pid)
    os.waitid(os.P_PID, unheard.pid, os.WEXITED | os.WNOWAIT)
    assert me.model_copy(update={"pid": unheard.pid, "born": started}).is_gone()
    unheard.wait()
    assert not me.is_gone()
    assert me.model_copy(update={"born": (me.born or 0) - 1}).is_gone()


def test_a_number_says_nothing_about_the_process_of_another_machine(root: Storage) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert not write_lock(root, pid=ended.pid).is_gone()
    assert not write_lock(root, pid=ended.pid, machine="").is_gone()


def test_elsewhere_it_is_taken_over_once_it_has_been_watched_in_silence(root: Storage) -> None:
    clock = Clock()
    write_lock(root)
    waits, took_over = take(make_lock(root, "run b", clock))
    assert "run other" in waits
    assert "took over from run other" in took_over
    assert STALE_S <= clock.now - Clock().now < STALE_S + BEAT_S


def test_every_sign_of_life_begins_the_watch_anew(root: Storage) -> None:
    clock = Clock()
    write_lock(root)
    clock.others = [lambda: None] * 50 + [lambda: write_lock(root, beat=1)]
    take(make_lock(root, "run b", clock))
    assert clock.now - Clock().now >= 100 + STALE_S


def test_an_outage_is_no_silence_of_the_holder(
    root: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    write_lock(root)
    real, outage = root.read_version, range(1_100, 1_400)

    def read(path: str) -> object:
        if clock.now in outage:
            raise StorageError("no answer")
        return real(path)

    monkeypatch.setattr(root, "read_version", read)
    take(make_lock(root, "run b", clock))
    assert clock.now >= outage.stop + STALE_S


def test_who_was_taken_over_notices_before_it_commits(root: Storage) -> None:
    clock = Clock()
    old, new = Storage(root.root), Storage(root.root)
    frozen, heir = make_lock(old, "run a", clock), make_lock(new, "run b", clock)
    take(frozen)
    take(heir)
    old.fence, new.fence = frozen, heir
    new.commit("node/manifest.json", b"new")

    writes: tuple[Callable[[], None], ...] = (
        lambda: old.commit("node/manifest.json", b"old"),
        lambda: old.write_bytes("node/part", b"old"),
        lambda: old.move("node/manifest.json", "node/gone"),
        lambda: old.remove("node/manifest.json"),
    )
    for write in writes:
        with pytest.raises(RootLost, match=r"taken over by run b .* the same command goes on"):
            write()
    assert old.read_bytes("node/manifest.json") == b"new"
    assert root.stat("node/part") is None
    with pytest.raises(RootLost):
        frozen.renew()
    frozen.release()
    assert read_lock(root).name == "run b"
    assert not read_lock(root).ended


def test_a_silence_alone_is_enough_to_look_before_any_write(root: Storage) -> None:
    clock = Clock()
    old = Storage(root.root)
    frozen = make_lock(old, "run a", clock)
    take(frozen)
    old.fence = frozen
    write_lock(root)
    clock.now += 1.5 * BEAT_S
    old.write_bytes("node/part", b"not long ago: not looked up")
    clock.now += 3 * BEAT_S
    with pytest.raises(RootLost):
        old.write_bytes("node/other", b"")


def test_frozen_between_look_and_write_it_does_not_write_over_the_next_one(
    root: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    old, new = Storage(root.root), Storage(root.root)
    frozen = make_lock(old, "run a", clock)
    take(frozen)
    old.fence = frozen
    looked = frozen.confirm

    def look_and_freeze() -> None:
        looked()
        monkeypatch.setattr(frozen, "confirm", looked)
        heir = make_lock(new, "run b", clock)
        take(heir)
        new.fence = heir
        new.commit("node/manifest.json", b"new")

    monkeypatch.setattr(frozen, "confirm", look_and_freeze)
    with pytest.raises(RootLost):
        old.commit("node/manifest.json", b"old")
    assert root.read_bytes("node/manifest.json") == b"new"


def test_what_a_frozen_run_committed_late_is_replaced_by_the_holder(root: Storage) -> None:
    holder, late = Storage(root.root), Storage(root.root)
    lock = make_lock(holder, "run b", Clock())
    take(lock)
    holder.fence = lock
    looked = lock.confirm
    pending = [b"late"]

    def look() -> None:
        looked()
        if pending:
            late.write_bytes("node/manifest.json", pending.pop())

    lock.confirm = look  # type: ignore[method-assign]
    holder.commit("node/manifest.json", b"new")
    assert root.read_bytes("node/manifest.json") == b"new"


def test_workers_write_without_asking_for_the_root(root: Storage) -> None:
    lock = make_lock(root, "run a", Clock())
    take(lock)
    root.fence = lock
    assert pickle.loads(pickle.dumps(root)).fence is None
    assert root.fence is lock


def test_a_lock_file_that_was_removed_is_written_again(root: Storage) -> None:
    lock = make_lock(root, "run a", Clock())
    take(lock)
    root.remove(LOCK_FILE)
    lock.renew()
    lock.renew()
    assert (read_lock(root).name, read_lock(root).beat) == ("run a", 2)


def test_what_cannot_be_read_may_be_held_and_is_watched(root: Storage) -> None:
    root.write_bytes(LOCK_FILE, b'{"id": 7, "of": "a later version"}')
    clock = Clock()
    waits, _ = take(make_lock(root, "run b", clock))
    assert "an unknown run" in waits
    assert clock.now - Clock().now >= STALE_S


def test_a_block_holds_the_root_and_gives_it_back_whatever_happens(root: Storage) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        hold_root(root, "run a", "wait", note=print, stop=threading.Event()),
    ):
        assert isinstance(root.fence, RootLock)
        other = Storage(root.root)
        with (
            pytest.raises(RootBusy, match="held by run a"),
            hold_root(other, "gc", "refuse", note=print, stop=threading.Event()),
        ):
            pass
        assert other.fence is None
        raise ZeroDivisionError
    assert root.fence is None
    assert read_lock(root).ended


def test_a_run_that_was_stopped_for_the_loss_of_its_root_says_that(root: Storage) -> None:
    stop = threading.Event()
    with pytest.raises(RootLost), hold_root(root, "run a", "wait", note=print, stop=stop):
        write_lock(root)
        with pytest.raises(RootLost):
            root.commit("node/manifest.json", b"old")
        raise InterruptedRun("stopped before characters")
    with pytest.raises(InterruptedRun), hold_root(root, "b", "ignore", note=print, stop=stop):
        raise InterruptedRun("by a person")


def test_a_run_at_work_shows_that_it_lives_and_is_stopped_once_it_was_taken_over(
    root: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_lock, "BEAT_S", 0.01)
    stop = threading.Event()
    with pytest.raises(RootLost), hold_root(root, "run a", "wait", note=print, stop=stop):
        while read_lock(root).beat < 3:
            assert not stop.wait(0.01)
        while not stop.wait(0.05):  # a beat may come between its look and this write
            write_lock(root)
        raise InterruptedRun("stopped in characters")


def test_nothing_is_held_where_others_are_to_be_ignored(root: Storage) -> None:
    with hold_root(root, "run a", "ignore", note=print, stop=threading.Event()):
        assert root.fence is None
    assert root.stat(LOCK_FILE) is None


def test_a_storage_that_knows_no_locks_is_an_error_with_a_way_out(
    root: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bool:
        raise OSError(38, "A header you provided implies functionality that is not implemented")

    monkeypatch.setattr(root, "swap", refuse)
    with (
        pytest.raises(ConfigError, match=r"one run at a time.*other_runs: ignore"),
        hold_root(root, "run a", "wait", note=print, stop=threading.Event()),
    ):
        pass


def test_a_storage_that_heeds_no_condition_cannot_keep_a_lock(
    root: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As some gateways of S3 do; who would run there alone says so."""

    def write(_: Storage, path: str, found: object, data: bytes) -> bool:
        root.write_bytes(path, data)
        return True

    monkeypatch.setattr(Storage, "swap", write)
    with pytest.raises(OSError, match="was to be absent"):
        take(make_lock(root, "run a", Clock()), wait=False)
