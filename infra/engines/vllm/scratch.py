"""Gives an engine a folder for what is temporary, and clears away what killed ones left.

vLLM makes a socket and a meeting file for every engine and removes neither.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from getpass import getuser
from hashlib import sha256
from pathlib import Path

from infra.process_life import has_ended, name_machine, read_birth

_NAME = "oc-engine"
_LONGEST_SOCKET = 107
"""Characters that the system allows in the path of a socket."""

_SOCKET = 37
"""Characters that vLLM adds to a folder's name."""

_RANDOM = 8
"""Characters that :func:`tempfile.mkdtemp` adds."""

_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def take_scratch() -> Path:
    """Have this process and its children put what is temporary in a folder of its own.

    It lies in ``/tmp`` where the path of a socket would be too long for the system otherwise.
    Folders of processes that ended without :func:`drop_scratch` go first.
    """
    usual = Path(tempfile.gettempdir())
    if _CACHE not in os.environ:  # what is compiled once is wanted again by the next engine
        os.environ[_CACHE] = str(usual / f"torchinductor_{_name_user()}")
    here = f"{_NAME}-{sha256(name_machine().encode()).hexdigest()[:6]}"
    prefix = f"{here}-{os.getpid()}-{read_birth(os.getpid()) or 0}-"
    fits = len(str(usual / prefix)) + _RANDOM + _SOCKET <= _LONGEST_SOCKET
    where = usual if fits else Path("/tmp")
    _sweep(where, here)
    folder = tempfile.mkdtemp(prefix=prefix, dir=where)
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    return Path(folder)


def drop_scratch(folder: Path) -> None:
    """Remove the folder; what this process makes from now on lies where it lay before."""
    shutil.rmtree(folder, ignore_errors=True)
    if tempfile.tempdir == str(folder):
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder.parent)


def _sweep(where: Path, here: str) -> None:
    """Remove the folders of this machine's processes that are gone; another user's stay."""
    for folder in where.glob(f"{here}-*-*-*"):
        pid, born = folder.name.split("-")[3:5]
        if pid.isdecimal() and born.isdecimal() and has_ended(int(pid), int(born)):
            shutil.rmtree(folder, ignore_errors=True)


def _name_user() -> str:
    """Name the user as PyTorch does, who may be a number without a name."""
    try:
        return getuser()
    except (KeyError, OSError):
        return f"uid_{os.getuid()}"
