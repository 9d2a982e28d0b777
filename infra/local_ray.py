"""Starts a Ray of this process's own; a start that comes to nothing is cleared away and repeated.

Ray gives a node 30 seconds to show itself, with no setting for it, and raises a bare ``Exception``
when a machine that has much to do took longer. What it had started by then stays, and lives until
this process ends.
"""

from __future__ import annotations

import logging
from typing import Any

import psutil  # type: ignore[import-untyped]

from infra.errors import ClusterError

_ATTEMPTS = 3
_LAST_WORDS_S = 5.0

_log = logging.getLogger(__name__)


def start_local_ray(ray: Any, **settings: Any) -> None:
    """Start Ray on this machine, with ``ray.init``'s settings.

    Raises :class:`ClusterError` where it never comes up; a setting that Ray refuses is raised as
    Ray raises it.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        before = _children()
        try:
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
            return


def _children() -> set[Any]:
    """Return what runs of Ray below this process; engines may start beside it."""
    return {process for process in psutil.Process().children(recursive=True) if _is_of_ray(process)}


def _is_of_ray(process: Any) -> bool:
    try:
        return any("/ray/" in word for word in process.cmdline()[:3])
    except psutil.Error:
        return False


def _end(processes: set[Any]) -> None:
    """End what a failed start left behind, as its ports and files are in the way of the next."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(list(processes), timeout=_LAST_WORDS_S)
