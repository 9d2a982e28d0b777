"""Starts a Ray of this process's own; a start that comes to nothing is cleared away and repeated.

Ray gives a node 30 seconds to show itself, with no setting for it, and raises a bare ``Exception``
when a machine that has much to do took longer. What it had started by then stays, and lives until
this process ends.

What is started here listens on loopback only, and the token that opens it is its owner's alone to
read: a Ray of one machine is nobody else's business.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from infra.cluster.scheduling import wait_behind_engines
from infra.errors import ClusterError

_ATTEMPTS = 3
_LAST_WORDS_S = 5.0
_OF_CLUSTERS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray reads it when it is imported: 0 has a node know itself by 127.0.0.1 on every system, and
each of its servers listens there alone. Given another address it listens on all interfaces."""
_OF_DRIVERS = {"RAY_DISABLE_FAILURE_SIGNAL_HANDLER": "1", "RAY_ENABLE_AUTO_CONNECT": "0"}
_SELDOM = {
    "REPORTER_UPDATE_INTERVAL_MS": "60000",
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
    "RAY_memory_monitor_refresh_ms": "1000",
    "RAY_raylet_check_gc_period_milliseconds": "1000",
    "RAY_object_manager_timer_freq_ms": "1000",
}
"""What Ray does many times a second for a dashboard that a run does not start, or for nothing."""
_IDLE = ("/log_monitor.py", "/autoscaler/_private/monitor.py")
"""Processes of Ray that copy log lines to a driver that wants none, and that grow a cluster."""

_log = logging.getLogger(__name__)


@contextmanager
def keep_to_loopback() -> Iterator[None]:
    """Have a Ray that is imported and started inside the block listen on loopback only.

    A process that imported Ray before, to join a cluster, keeps the address it knows itself by.
    """
    before = os.environ.get(_OF_CLUSTERS)
    os.environ[_OF_CLUSTERS] = before if before is not None else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_OF_CLUSTERS]


@contextmanager
def tame_driver() -> Iterator[None]:
    """Have a Ray that is imported inside the block leave SIGTERM alone, and start when told only.

    A driver of Ray's is aborted three seconds after that signal, in the middle of whatever its own
    handler does in order; and a call that comes after Ray was shut down starts another Ray. Ray
    asks when it is imported; its workers keep its ways.
    """
    added = {name: value for name, value in _OF_DRIVERS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def guard_token() -> Iterator[None]:
    """Keep others from reading the token that Ray writes inside the block, or wrote before."""
    folder = Path.home() / ".ray"
    with suppress(OSError):
        folder.mkdir(mode=0o700, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            (folder / "auth_token").chmod(0o600)


def start_local_ray(ray: Any, **settings: Any) -> None:
    """Start Ray on this machine, with ``ray.init``'s settings.

    Raises :class:`ClusterError` where it never comes up; a setting that Ray refuses is raised as
    Ray raises it.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        before = _children()
        try:
            for name, value in _SELDOM.items():
                os.environ.setdefault(name, value)
            with keep_to_loopback(), guard_token(), wait_behind_engines():
                ray.init(address="local", **settings)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError):
            _end(_children() - before)
            raise
        except Exception as error:
            _end(_children() - before)
            ray.shutdown()
            if attempt == _ATTEMPTS:
                raise ClusterError(
                    f"Ray did not start on this machine in {_ATTEMPTS} attempts: {error} "
                    "Look whether the machine has memory, room in /tmp and processes to spare."
                ) from error
            _log.warning("Ray did not come up (%s); starting it once more", error)
        else:
            _end({process for process in _children() - before if _says(process, *_IDLE)})
            return


def _children() -> set[Any]:
    """Return what runs of Ray below this process; engines may start beside it."""
    return {process for process in psutil.Process().children(recursive=True) if _is_of_ray(process)}


def _is_of_ray(process: Any) -> bool:
    return _says(process, "/ray/")


def _says(process: Any, *words: str) -> bool:
    """Tell whether one of these stands where a command line names its program."""
    try:
        head = process.cmdline()[:4]
    except psutil.Error:
        return False
    return any(word in part for word in words for part in head)


def _end(processes: set[Any]) -> None:
    """End processes of a Ray that is ours: idle ones, and what is in the way of the next start."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(list(processes), timeout=_LAST_WORDS_S)
