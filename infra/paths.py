"""Finds the files a configuration names: in the working folder first, then in the package.

And the folder where what is fetched or counted once a machine is kept.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from infra.errors import ConfigError, Problem

CACHE_GIB = "OPENCHARACTER_CACHE_GIB"
"""How much this machine's cache may hold, in GiB."""


def packaged_configs() -> Path:
    """Return the folder of the packaged configurations, prompts and demo data."""
    return Path(str(files("configs")))


def user_cache(kind: str) -> Path:
    """Return the folder of the user's cache on this machine where things of a kind are kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return home / "opencharacter" / kind


def find_path(name: str) -> Path | None:
    """Return the absolute path of a file or folder, or ``None`` if it is in neither place."""
    given = Path(name).expanduser()
    packaged = packaged_configs()
    for candidate in (given, packaged / given, packaged.parent / given):
        if candidate.exists():
            return candidate.resolve()
    return None


def require_path(name: str, where: str) -> Path:
    """Return the absolute path of a file, or raise :class:`ConfigError` naming the key."""
    found = find_path(name)
    if found is None:
        raise ConfigError(
            Problem(
                where,
                f"no such file: {name}",
                f"looked in {Path.cwd()} and {packaged_configs()}; give an existing path",
            )
        )
    return found
