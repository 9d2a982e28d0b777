"""Starts processes that do not see what lies in a folder, as those of another machine do not.

They live in a mount namespace of their own, in which an empty file system lies over the folder.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NEW_MOUNTS = 0x00020000
_OWN_FOLDERS = 0x00000200
"""CLONE_FS: threads that were started meanwhile share theirs with us, and nobody may who moves."""
_PRIVATE = (1 << 14) | (1 << 18)
"""MS_REC and MS_PRIVATE: what is mounted here is not mounted for the others."""


def can_hide() -> bool:
    """Tell whether this machine lets us have mounts of our own."""
    made = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return made.returncode == 0


@contextmanager
def hide(folder: Path) -> Iterator[None]:
    """Have processes that this thread starts inside the block find a folder empty, to their end.

    The thread itself comes back to the mounts, and the working folder, that it had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    libc = ctypes.CDLL(None, use_errno=True)
    before, here = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/mnt", "."))
    try:
        _check(libc.unshare(_NEW_MOUNTS))
        _check(libc.mount(b"none", b"/", None, ctypes.c_ulong(_PRIVATE), None))
        _check(libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", ctypes.c_ulong(0), None))
        yield
    finally:
        _check(libc.unshare(_OWN_FOLDERS))
        _check(libc.setns(before, _NEW_MOUNTS))
        os.fchdir(here)
        os.close(before)
        os.close(here)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
