"""Bounds what is kept once a machine, and leaves alone what somebody there uses.

Models, token files and task files lie in the user's cache, each below a folder that its content
names. Who uses one holds its lock to the end of the process, so that neither another run's models
nor `gc` take it away; of the others what was used longest ago goes first.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.models.hub_snapshots import read_note, remove_snapshot
from infra.paths import CACHE_GIB, user_cache

_KINDS = ("models", "hub", "tokens", "tasks")
_DAY_S = 86_400.0
_OWN_GIB = f"{CACHE_GIB}_OWN"
"""Holds what a configuration set the bound to, and after a slash what it was before."""
_AT_ONCE = fcntl.LOCK_EX | fcntl.LOCK_NB


@dataclass(frozen=True, slots=True)
class CachedEntry:
    """What is kept of one model or file, whole or not; empty where only its locks are left.

    Attributes:
        kind: A model, token file or task, or a snapshot in the hub's cache.
        kept: Where it lies when it is whole.
        size: Its bytes, those in the hub's cache too.
        used: When somebody began to use it last, in seconds since the epoch.
        device: Number of the file system that its bytes are on.
    """

    kind: str
    kept: Path
    size: int
    used: float
    device: int

    def is_in_use(self) -> bool:
        """Tell whether a process of this machine uses it."""
        if not _name_lock(self.kept).exists():
            return False
        try:
            os.close(_lock(self.kept, _AT_ONCE))
        except OSError:  # somebody holds it, or it is another user's to remove
            return True
        return False

    def remove(self) -> bool:
        """Remove it, and tell whether that could be; not while somebody uses it."""
        try:
            lock = _lock(self.kept, _AT_ONCE)
        except OSError:
            return False
        try:
            _remove(self.kind, self.kept)
        except PermissionError:
            return False
        finally:
            os.close(lock)
        return True


def hold(kept: Path) -> None:
    """Keep an entry that is there, or will be, from being removed while this process lives."""
    _hold(kept)


def find_kept(kept: Path) -> bool:
    """Tell whether an entry is there; if it is, it is held."""
    if kept.is_dir():
        hold(kept)
    return kept.is_dir()


def make_room(need: int = 0, place: Path | None = None) -> None:
    """Remove what was used longest ago until ``need`` more bytes fit, in the bound and on the disk.

    ``place`` is where they will lie, if that is not the cache; what is on another disk makes no
    room there. Where all that is left is in use, it stays, and the bound is passed.
    """
    bound, place = read_bound(), _find_existing(place or user_cache("models"))
    device = _find_device(place)
    entries = sorted(list_entries(), key=lambda entry: entry.used)
    total = sum(entry.size for entry in entries)
    for entry in entries:
        over, full = total + need > bound, need > shutil.disk_usage(place).free
        if not over and not full:
            return
        if entry.size and (over or entry.device == device) and entry.remove():
            total -= entry.size


def list_entries() -> list[CachedEntry]:
    """Return all that is kept on this machine."""
    found = []
    for kind in _KINDS:
        folder = user_cache(kind)
        names = {_name_entry(path) for path in (folder.iterdir() if folder.is_dir() else ())}
        # A stray dotfile is of no entry: an empty name, or dots, would be the folder itself.
        found += [_look_at(kind, folder / name) for name in sorted(names) if name.strip(".")]
    return found


def find_stale(entries: Sequence[CachedEntry], days: float) -> list[tuple[CachedEntry, str]]:
    """Return which entries can go and why: unused for so long, or beyond the bound."""
    free = [entry for entry in sorted(entries, key=lambda e: e.used) if not entry.is_in_use()]
    over = sum(entry.size for entry in entries) - read_bound()
    since, stale = time.time() - days * _DAY_S, []
    for entry in free:
        if entry.used <= since:
            stale.append((entry, f"unused for {days:g} days" if days else "unused"))
        elif over > 0 and entry.size:
            stale.append((entry, "beyond the cache's bound"))
        else:
            continue
        over -= entry.size
    return stale


def bound_cache(gib: float | None) -> None:
    """Bound the cache of this machine, for all processes that begin from here on.

    To the nodes of a joined cluster the bound travels with the environment. ``None`` takes back
    what this function set before: the machine's own bound counts again.
    """
    told, _, own = os.environ.pop(_OWN_GIB, "").partition("/")
    if told and told == os.environ.get(CACHE_GIB):
        os.environ.pop(CACHE_GIB)
        if own:
            os.environ[CACHE_GIB] = own
    if gib is not None:
        told = f"{gib:g}"
        os.environ[_OWN_GIB] = f"{told}/{os.environ.get(CACHE_GIB, '')}"
        os.environ[CACHE_GIB] = told


def read_bound() -> int:
    """Return how many bytes this machine's cache may hold: half of its disk unless it is told.

    What is no positive finite number tells nothing.
    """
    with suppress(ValueError):
        told = float(os.environ.get(CACHE_GIB, "")) * 2**30
        if 0 < told < math.inf:
            return int(told)
    return shutil.disk_usage(_find_existing(user_cache("models"))).total // 2


def measure_path(path: Path) -> int:
    """Return the bytes that are there of a file, or of all files in a folder; of nothing 0.

    A file that is being copied has its full length from the beginning, and holes in it.
    """
    try:
        if path.is_dir():
            return sum(map(measure_path, path.iterdir()))
        stat = path.stat()
        return min(stat.st_size, stat.st_blocks * 512)
    except FileNotFoundError:  # it was moved to where it belongs meanwhile
        return 0


@cache
def _hold(kept: Path) -> int | None:
    """Return a descriptor that nobody closes: the lock is the process's, to its end.

    What lies in another user's cache, or in one that cannot be written, may have no lock that can
    be had; it is used without.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = _lock(kept, fcntl.LOCK_SH)
    except OSError:
        if not kept.is_dir():
            raise
        return None
    with suppress(OSError):
        os.utime(lock)
    return lock


def _lock(kept: Path, how: int) -> int:
    """Lock an entry; ``BlockingIOError`` where others do and ``how`` does not wait."""
    path = _name_lock(kept)
    while True:
        lock = _open_lock(path, how)
        try:
            fcntl.flock(lock, how)
            if os.path.samestat(os.fstat(lock), path.stat()):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise
        except FileNotFoundError:
            pass
        os.close(lock)  # of a file that went with its entry meanwhile


def _open_lock(path: Path, how: int) -> int:
    if how == fcntl.LOCK_SH:
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDONLY)
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)


def _remove(kind: str, kept: Path) -> None:
    if kind == "hub" and (note := read_note(kept)) is not None and note.fetched:
        remove_snapshot(note)
    gone = kept.with_name(f".{kept.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    with suppress(FileNotFoundError):  # a half removed one would be taken for whole
        kept.rename(gone)
    for path in _list_beside(kept):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _name_lock(kept: Path) -> Path:
    return kept.with_name(f".{kept.name}.use")


def _name_entry(path: Path) -> str:
    """Return the name of the entry that a path of a cache belongs to: ``.name.part`` to name."""
    return path.name[1:].rpartition(".")[0] if path.name.startswith(".") else path.name


def _list_beside(kept: Path) -> list[Path]:
    """Return what there is of an entry: itself, its parts, and its locks last."""
    beside = [path for path in kept.parent.iterdir() if _name_entry(path) == kept.name]
    return sorted(beside, key=lambda path: path == _name_lock(kept))


def _look_at(kind: str, kept: Path) -> CachedEntry:
    paths = _list_beside(kept)
    size, place = sum(map(measure_path, paths)), kept.parent
    if kind == "hub" and (note := read_note(kept)) is not None and note.fetched:
        size, place = size + note.measure_come(), Path(note.cache)
    lock = _name_lock(kept)
    used = max(map(_date, [lock] if lock in paths else paths), default=0.0)
    return CachedEntry(kind, kept, size, used, _find_device(place))


def _date(path: Path) -> float:
    with suppress(FileNotFoundError):  # it went, or was moved to where it belongs, meanwhile
        return path.stat().st_mtime
    return time.time()


def _find_device(path: Path) -> int:
    return _find_existing(path).stat().st_dev


def _find_existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())
