"""Starts Prefect's embedded server first of all, beside the imports and checks that take as long.

It is the server that Prefect itself would start with the first flow: same program, same database.
Two things differ: a run with nothing to do is seconds sooner, and a terminal's Ctrl-C does not
reach it, so that a run which stops in order can still say so.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import IO

from infra.cluster.ports import find_port
from infra.cluster.scheduling import wait_behind_engines
from infra.errors import ClusterError, ConfigError, Problem
from infra.orchestration.kept_process import KeptProcess

_EMBEDDED: ContextVar[str] = ContextVar("embedded")
_LEADS_ELSEWHERE = frozenset({"PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"})
_TIMEOUT_S = 120.0
_GRACE_S = 5.0
_GREETING_S = 10.0
_SAID_BYTES = 20_000
_BLAME = re.compile(r"^[\w.]*(?:Error|Exception|Refused|Denied)\b.*:|^\(?sqlite3\.|ERROR")


@contextmanager
def embedded_server() -> Iterator[Callable[[], None]]:
    """Run a server beside the block, unless the settings name one; yield what waits for it.

    The waiting function raises :class:`ClusterError` if the server does not come up. One that dies
    after that is started again, on the same port and database: Prefect asks again meanwhile.
    """
    port = find_port()
    url = f"http://127.0.0.1:{port}/api"
    with tempfile.TemporaryFile() as said, ExitStack() as ends:

        def start(settings: dict[str, str]) -> KeptProcess:
            kept = KeptProcess("Prefect's server", partial(_start, port, settings, said))
            ends.callback(kept.end, _GRACE_S)
            return kept

        # Prefect's settings take 2 s to import; a server that they cannot change need not wait.
        known = "prefect.settings" in sys.modules or may_have_settings()
        server = None if known else start({})
        from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

        if server is None:
            settings = get_current_settings()
            if settings.api.url:
                address = str(settings.api.url)
                yield lambda: _greet(address)
                return
            server = start(settings.to_environment_variables(exclude_unset=True))
        token = _EMBEDDED.set(url)
        ends.callback(_EMBEDDED.reset, token)
        with temporary_settings({PREFECT_API_URL: url}):
            try:
                yield partial(_await_health, server, url, said)
            finally:
                _send_what_waits()


def may_have_settings() -> bool:
    """Tell whether Prefect may know of a server, or of settings that a server does not inherit.

    Reads files and imports nothing. Prefect's sources are ``.env``, ``prefect.toml`` and
    ``pyproject.toml`` of the working folder, profiles, and the environment, most of which a server
    has from its parent.
    """
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect").expanduser()
    files = (Path(".env"), Path("prefect.toml"), home / "profiles.toml")
    if any(os.environ.get(name) for name in _LEADS_ELSEWHERE):
        return True
    if any(path.is_file() for path in files):
        return True
    project = Path("pyproject.toml")
    return project.is_file() and b"tool.prefect" in project.read_bytes()


def is_embedded(url: str) -> bool:
    """Tell whether a server ends with this process, so that nobody else looks at it."""
    return _EMBEDDED.get("") == url


def _start(port: int, settings: dict[str, str], said: IO[bytes]) -> subprocess.Popen[bytes]:
    found = importlib.util.find_spec("prefect")
    if found is None or found.origin is None:
        raise ConfigError(Problem("Prefect", "is not installed", "run `make install`"))
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
        *("--app-dir", str(Path(found.origin).parent.parent)),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "error", "--lifespan", "on"),
    ]
    # What Prefect sets for a server of its own: no web interface, no services in the background.
    # A block's type is registered with the first block that is saved; all of them take 3 s.
    own = {
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "0",
        "PREFECT_UI_ENABLED": "0",
        "PREFECT__SERVER_EPHEMERAL": "1",
        "PREFECT__SERVER_FINAL": "1",
    }
    env = {**os.environ, **own, **settings}
    with wait_behind_engines():
        return subprocess.Popen(command, env=env, stdout=said, stderr=said, start_new_session=True)


def _send_what_waits() -> None:
    """Have Prefect send the log lines and events that it still holds, while somebody listens."""
    if "prefect.logging.handlers" in sys.modules:
        from prefect.logging.handlers import APILogHandler

        APILogHandler().flush()
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker

        EventsWorker.drain_all(timeout=_GRACE_S)


def _greet(url: str) -> None:
    """Raise :class:`ConfigError` unless the server that the settings name answers, in seconds."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, temporary_settings

    patience = temporary_settings({PREFECT_API_REQUEST_TIMEOUT: _GREETING_S})
    with patience, get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error is not None:
        what = f"Prefect's server does not answer: {type(error).__name__} {error}".strip()
        todo = "start it (`make ui`), fix the address, or unset it: a run then brings its own"
        raise ConfigError(Problem(f"PREFECT_API_URL {url}", what, todo))


def _read_end(said: IO[bytes]) -> str:
    """Return the last line of what the server printed."""
    said.seek(0, os.SEEK_END)
    said.seek(max(0, said.tell() - _SAID_BYTES))
    lines = said.read().decode(errors="replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    blame = [line for line in told if _BLAME.match(line)]
    return (blame or told or ["nothing"])[-1][:300]


def _await_health(server: KeptProcess, url: str, said: IO[bytes]) -> None:
    import httpx
    from prefect.settings import get_current_settings

    deadline = time.monotonic() + _TIMEOUT_S
    with httpx.Client(trust_env=False) as client:
        while server.process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get(f"{url}/health").is_success:
                    server.keep()
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    home = get_current_settings().home
    raise ClusterError(
        f"Prefect's embedded server does not come up; its last words: {_read_end(said)}\n"
        f"Its database lies in {home}: one of another version, or a folder that cannot be written, "
        "are the commonest causes. PREFECT_HOME names another folder; `prefect server start` "
        "shows more."
    )
