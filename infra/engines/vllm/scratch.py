"""Gives an engine a folder for what is temporary, and clears away what killed ones left.

vLLM makes a socket and a meeting file for every engine and removes neither.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from getpass import getuser
from pathlib import Path

from infra.temporary_folders import name_owned, take_folder

_KIND = "engine"
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
    Folders of processes that ended without :func:`drop_scratch` go first, by their names.
    """
    usual = Path(tempfile.gettempdir())
    if _CACHE not in os.environ:  # what is compiled once is wanted again by the next engine
        os.environ[_CACHE] = str(usual / f"torchinductor_{_name_user()}")
    fits = len(str(usual / name_owned(_KIND))) + _RANDOM + _SOCKET <= _LONGEST_SOCKET
    folder = take_folder(_KIND, usual if fits else Path("/tmp"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return folder


def drop_scratch(folder: Path) -> None:
    """Remove the folder; what this process makes from now on lies where it lay before."""
    shutil.rmtree(folder, ignore_errors=True)
    if tempfile.tempdir == str(folder):
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder.parent)


def _name_user() -> str:
    """Name the user as PyTorch does, who may be a number without a name."""
    try:
        return getuser()
    except (KeyError, OSError):
        return f"uid_{os.getuid()}"
