"""Fills a machine's cache, uses parts of it from other processes, and looks at what goes."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.file_locks import keep_alone
from infra.models import node_cache
from infra.models.hub_snapshots import HubNote, write_note
from infra.models.node_cache import (
    bound_cache,
    find_kept,
    find_stale,
    hold,
    list_entries,
    make_room,
    read_bound,
)
from infra.paths import CACHE_GIB, user_cache

BLOCK = 4096
GIB = 2**30
DAY_S = 86_400
USE = "import sys; from pathlib import Path; from infra.models.node_cache import hold;"
USE += "hold(Path(sys.argv[1])); print('held', flush=True); input()"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(CACHE_GIB, str(10 * BLOCK / GIB))
    return tmp_path / "opencharacter"


def keep(kind: str, name: str, *, blocks: int = 1, days: float = 0) -> Path:
    """Keep something of so many blocks that was used so many days ago."""
    kept = user_cache(kind) / name
    kept.mkdir(parents=True)
    (kept / "file").write_bytes(b"x" * BLOCK * blocks)
    lock = kept.with_name(f".{name}.use")
    lock.touch()
    used = lock.stat().st_mtime - days * DAY_S
    os.utime(lock, (used, used))
    return kept


@contextmanager
def use(kept: Path) -> Iterator[None]:
    """Use an entry in another process inside the block."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", USE, str(kept)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.stdin.write("\n")


def list_names() -> list[str]:
    return [entry.kept.name for entry in list_entries() if entry.size]


def test_what_was_used_longest_ago_goes_first_and_only_as_much_as_needed() -> None:
    keep("models", "oldest", blocks=4, days=3)
    keep("tokens", "older", blocks=3, days=2)
    keep("tasks", "young", blocks=2, days=1)
    make_room(BLOCK)
    assert list_names() == ["oldest", "older", "young"], "ten blocks fit"
    make_room(2 * BLOCK)
    assert list_names() == ["older", "young"]
    make_room(100 * BLOCK)
    assert list_names() == []


def test_what_a_process_uses_stays_until_it_ends() -> None:
    engine, other = keep("models", "engine", blocks=8, days=9), keep("models", "other", blocks=1)
    with use(engine):
        make_room(5 * BLOCK)
        assert list_names() == ["engine"], "it is not touched, and the bound is passed"
        assert not other.exists()
    (left,) = list_entries()
    assert not left.is_in_use()
    make_room(5 * BLOCK)
    assert list_entries() == []


def test_use_counts_from_when_it_began() -> None:
    kept = keep("models", "old", days=40)
    with use(kept):
        assert [entry.is_in_use() for entry in list_entries()] == [True]
    (entry,) = list_entries()
    assert find_stale([entry], 30) == []


def test_nothing_is_left_of_an_entry_neither_locks_nor_half_copies(cache: Path) -> None:
    kept = keep("models", "whole")
    with keep_alone(kept):
        kept.with_name(".whole.part").write_bytes(b"x" * BLOCK)
    half = user_cache("models") / ".half.tmp"
    half.mkdir()
    (half / "file").write_bytes(b"x" * BLOCK)
    assert sorted(entry.size for entry in list_entries()) == [BLOCK, 2 * BLOCK]
    assert all(entry.remove() for entry in list_entries())
    assert list((cache / "models").iterdir()) == []


def test_a_removal_that_was_cut_short_leaves_nothing_that_looks_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = keep("models", "one")

    def fail(path: Path, **_: object) -> None:
        if path.exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(node_cache, "shutil", SimpleNamespace(rmtree=fail))
    (entry,) = list_entries()
    with pytest.raises(KeyboardInterrupt):
        entry.remove()
    assert not kept.exists()
    monkeypatch.setattr(node_cache, "shutil", shutil)
    (entry,) = list_entries()
    assert entry.size == BLOCK and entry.remove() and list_entries() == []


def test_who_waits_while_an_entry_goes_holds_what_comes_in_its_place() -> None:
    kept = keep("models", "one")
    removing = node_cache._lock(kept, fcntl.LOCK_EX)
    waiting = threading.Thread(target=hold, args=(kept,))
    waiting.start()
    kept.with_name(".one.use").unlink()
    os.close(removing)
    waiting.join()
    (entry,) = list_entries()
    assert entry.is_in_use()


def test_what_is_found_is_held_from_then_on() -> None:
    kept = keep("models", "one")
    assert not find_kept(kept.with_name("two"))
    assert find_kept(kept)
    assert list_entries()[0].is_in_use() and not list_entries()[0].remove()
    assert not kept.with_name(".two.use").exists()


def test_a_full_disk_makes_room_below_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    keep("models", "old", days=1)
    keep("models", "new")
    free = SimpleNamespace(free=BLOCK)

    def measure_disk(_: Path) -> SimpleNamespace:
        free.free = BLOCK * (3 - len(list_names()))
        return free

    monkeypatch.setattr(shutil, "disk_usage", measure_disk)
    make_room(2 * BLOCK)
    assert list_names() == ["new"]


def test_what_another_user_keeps_is_left_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    keep("models", "theirs", blocks=9)

    def refuse(path: Path, to: Path) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "rename", refuse)
    make_room(5 * BLOCK)
    assert list_names() == ["theirs"]


def refuse_to_write(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    """Have files be opened for reading alone, and dates be nobody's to set; root may do both."""
    real = os.open

    def open_to_read(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise error
        return real(path, flags, mode)

    def refuse(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "open", open_to_read)
    monkeypatch.setattr(os, "utime", refuse)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_what_lies_in_a_cache_that_cannot_be_written_is_used_all_the_same(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, bare = keep("models", "locked"), keep("models", "bare")
    bare.with_name(".bare.use").unlink()
    with monkeypatch.context() as theirs:
        refuse_to_write(theirs, OSError(code, os.strerror(code)))
        assert find_kept(locked) and find_kept(bare)
        with pytest.raises(OSError, match=os.strerror(code)):
            hold(bare.with_name("to-come"))
        make_room(100 * BLOCK)
        assert list_names() == ["bare", "locked"], "what cannot be locked is not removed either"
    taken = {entry.kept.name: entry.is_in_use() for entry in list_entries()}
    assert taken == {"bare": False, "locked": True}


def test_room_on_another_disk_is_made_there_and_nothing_goes_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep("models", "old", days=9)
    keep("tokens", "new")
    far = tmp_path / "far"
    write_note(
        keep("hub", "fetched", days=1),
        HubNote(name="a/b", commit="0" * 40, cache=str(far), files={"x": 1}, fetched=1),
    )
    far.mkdir()
    usage = SimpleNamespace(free=BLOCK, total=1)
    monkeypatch.setattr(node_cache, "_find_device", lambda path: int(path == far))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    make_room(2 * BLOCK, far)
    assert list_names() == ["old", "new"]
    make_room(9 * BLOCK, far)
    assert list_names() == ["new"], "beyond the bound it does not matter where something lies"


def test_gc_says_why_something_goes() -> None:
    keep("models", "forgotten", days=31)
    keep("models", "big", blocks=8, days=2)
    keep("models", "small", blocks=3, days=1)
    entries = list_entries()
    told = [(entry.kept.name, why) for entry, why in find_stale(entries, 30)]
    assert told == [("forgotten", "unused for 30 days"), ("big", "beyond the cache's bound")]
    bound_cache(1)
    assert [entry.kept.name for entry, _ in find_stale(entries, 30)] == ["forgotten"]
    assert {why for _, why in find_stale(entries, 0)} == {"unused"}
    assert len(find_stale(entries, 0)) == 3


@pytest.mark.parametrize("given", ["", "plenty", "inf", "nan", "-1", "0", "1e308"])
def test_half_of_the_disk_is_the_bound_unless_it_is_told(
    given: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert read_bound() == 10 * BLOCK
    monkeypatch.setenv(CACHE_GIB, given)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "yet"))
    assert read_bound() == shutil.disk_usage(tmp_path).total // 2


@pytest.mark.parametrize("own", [str(10 * BLOCK / GIB), None])
def test_a_configuration_without_a_bound_takes_back_that_of_another(
    own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if own is None:
        monkeypatch.delenv(CACHE_GIB)
    machine = read_bound()
    for gib in (1, 0.5):
        bound_cache(gib)
        assert read_bound() == gib * GIB
    for _ in range(2):
        bound_cache(None)
        assert read_bound() == machine and os.environ.get(CACHE_GIB) == own
    bound_cache(1)
    monkeypatch.setenv(CACHE_GIB, "2")
    bound_cache(None)
    assert read_bound() == 2 * GIB, "somebody else has set it since"


@pytest.mark.parametrize("name", [".nfs000123", ".DS_Store", "..x", "...x", "....x"])
def test_a_stray_dotfile_is_of_no_entry_and_takes_nothing_with_it(name: str, cache: Path) -> None:
    used, idle = keep("models", "used"), keep("models", "idle", days=1)
    stray = cache / "models" / name
    stray.touch()
    with use(used):
        assert list_names() == ["idle", "used"]
        make_room(100 * BLOCK)
        assert used.is_dir() and not idle.exists() and stray.is_file()


def test_an_empty_machine_has_nothing_to_remove(tmp_path: Path) -> None:
    make_room(10**18, tmp_path / "hub")
    assert list_entries() == []
