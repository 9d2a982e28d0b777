"""Gives an engine a folder for what is temporary, and clears away what killed ones left.

vLLM makes a socket and a meeting file for every engine and removes neither.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from getpass import getuser
from pathlib import Path

_NAME = "opencharacter-engine"
_PROCESSES = Path("/proc/self/ns/pid")
_LONGEST_FOLDER = 60
"""Characters. The system bounds the path of a socket, and vLLM adds a name of 37."""


def take_scratch() -> Path:
    """Have this process and its children put what is temporary in a folder of its own.

    Folders of processes that ended without :func:`drop_scratch` go first.
    """
    usual = Path(tempfile.gettempdir())
    # What is compiled once is wanted again by the next engine.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(usual / f"torchinductor_{getuser()}"))
    where = usual if len(str(usual)) <= _LONGEST_FOLDER else Path("/tmp")
    space = _name_space()
    _sweep(where, space)
    folder = tempfile.mkdtemp(prefix=f"{_NAME}-{space}-{os.getpid()}-", dir=where)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    return Path(folder)


def drop_scratch(folder: Path) -> None:
    """Remove the folder; what this process makes from now on lies where it lay before."""
    shutil.rmtree(folder, ignore_errors=True)
    if tempfile.tempdir == str(folder):
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder.parent)


def _sweep(where: Path, space: int) -> None:
    for folder in where.glob(f"{_NAME}-{space}-*-*"):
        pid = folder.name.split("-")[3]
        if pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)  # another user's stays


def _name_space() -> int:
    """Return what tells containers apart that share a folder: each counts its own processes."""
    try:
        return _PROCESSES.stat().st_ino
    except OSError:
        return 0


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
