"""Starts Prefect's embedded server first of all, beside the imports and checks that take as long.

It is the server that Prefect itself would start with the first flow: same program, same database.
Two things differ: a run with nothing to do is seconds sooner, and a terminal's Ctrl-C does not
reach it, so that a run which stops in order can still say so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from infra.errors import ClusterError
from infra.ports import find_port

_EMBEDDED: ContextVar[str] = ContextVar("embedded")
_TIMEOUT_S = 120.0
_GRACE_S = 5.0


@contextmanager
def embedded_server() -> Iterator[Callable[[], None]]:
    """Run a server beside the block, unless the settings name one; yield what waits for it.

    The waiting function raises :class:`ClusterError` if the server does not come up.
    """
    from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

    settings = get_current_settings()
    if settings.api.url:
        yield lambda: None
        return
    port = find_port()
    url = f"http://127.0.0.1:{port}/api"
    process = _start(port, settings.to_environment_variables(exclude_unset=True))
    token = _EMBEDDED.set(url)
    try:
        with temporary_settings({PREFECT_API_URL: url}):
            try:
                yield lambda: _await_health(process, url)
            finally:
                _send_what_waits()
    finally:
        _EMBEDDED.reset(token)
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_embedded(url: str) -> bool:
    """Tell whether a server ends with this process, so that nobody else looks at it."""
    return _EMBEDDED.get("") == url


def _start(port: int, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    import prefect

    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
        *("--app-dir", str(Path(prefect.__file__).parent.parent)),
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
    return subprocess.Popen(command, env={**os.environ, **own, **settings}, start_new_session=True)


def _send_what_waits() -> None:
    """Have Prefect send the log lines and events that it still holds, while somebody listens."""
    if "prefect.logging.handlers" in sys.modules:
        from prefect.logging.handlers import APILogHandler

        APILogHandler().flush()
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker

        EventsWorker.drain_all(timeout=_GRACE_S)


def _await_health(process: subprocess.Popen[bytes], url: str) -> None:
    import httpx

    deadline = time.monotonic() + _TIMEOUT_S
    with httpx.Client(trust_env=False) as client:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get(f"{url}/health").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
    raise ClusterError(
        "Prefect's embedded server does not answer. `prefect server start` shows why; a database of"
        " another version is the commonest cause (PREFECT_HOME, by default ~/.prefect)."
    )
