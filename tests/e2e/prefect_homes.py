"""Hands out Prefect homes whose database has its tables already.

Prefect makes its tables in a hundred migrations, which take a core 12 s. The demo's test and the
one with PostgreSQL go that way, as a new user does; the others start from copies of one database.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

DATABASE = "prefect.db"


def make_home(folder: Path) -> Path:
    """Make a folder a Prefect home with an empty database and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_migrate(), folder / DATABASE)
    return folder


@contextmanager
def serve_prefect(home: Path) -> Iterator[str]:
    """Have a Prefect server with a database of its own beside the block; yield its address."""
    from infra.orchestration.defaults import apply_defaults

    apply_defaults(PREFECT_LOGGING_LEVEL="ERROR")
    from prefect.settings import (
        PREFECT_API_DATABASE_CONNECTION_URL,
        PREFECT_API_URL,
        temporary_settings,
    )

    from infra.orchestration.embedded_server import embedded_server

    database = make_home(home) / DATABASE
    own = {PREFECT_API_DATABASE_CONNECTION_URL: f"sqlite+aiosqlite:///{database}"}
    with temporary_settings(own), embedded_server() as await_server:
        await_server()
        yield PREFECT_API_URL.value()


@cache
def _migrate() -> Path:
    """Make the database that is copied, once a process."""
    home = Path(tempfile.mkdtemp(prefix="prefect-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"],
        env={**os.environ, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "1"},
        check=True,
        capture_output=True,
        timeout=180,
    )
    return home / DATABASE
