"""Makes temporary folders that go with the process that made them, however it ended.

A process that is killed removes nothing. So a folder's name says whose it is, and whoever makes
the next one on the same machine clears away those whose owners have ended.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from infra.process_life import has_ended, name_machine, read_birth


def name_owned(kind: str) -> str:
    """Return how the names of this process's folders of a kind begin; a kind has no hyphen."""
    return f"oc-{kind}-{_name_here()}-{os.getpid()}-{read_birth(os.getpid()) or 0}-"


def take_folder(kind: str, where: Path | None = None) -> Path:
    """Make a folder of this process's own, in the usual place if no other is given."""
    where = where or Path(tempfile.gettempdir())
    sweep_folders(where)
    return Path(tempfile.mkdtemp(prefix=name_owned(kind), dir=where))


@contextmanager
def temporary_folder(kind: str) -> Iterator[Path]:
    """Have a folder for the block."""
    folder = take_folder(kind)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_folders(where: Path | None = None) -> None:
    """Remove the folders of this machine's processes that are gone; another user's stay."""
    where = where or Path(tempfile.gettempdir())
    for folder in where.glob(f"oc-*-{_name_here()}-*-*-*"):
        pid, born = folder.name.split("-")[3:5]
        if pid.isdecimal() and born.isdecimal() and has_ended(int(pid), int(born)):
            shutil.rmtree(folder, ignore_errors=True)


def _name_here() -> str:
    return sha256(name_machine().encode()).hexdigest()[:6]
