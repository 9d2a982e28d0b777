"""Keeps account of what a run holds of its cluster, so that what does not fit takes turns.

Ray would queue an actor that has no place, without a word, behind engines that nobody uses any
more. The account is kept against what the cluster has, so it needs no polling and has no lag;
what others hold is left to Ray's own placement and its timeout.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from infra.errors import ClusterError

_TICK_S = 0.5
_ROUNDING = 1e-6


def free_memory_share(limits: Path = Path("/sys/fs/cgroup")) -> float:
    """Return the share of this machine's memory, or this container's, that is free."""
    memory = psutil.virtual_memory()
    share = float(memory.available / memory.total)
    with suppress(OSError, ValueError):  # no limit reads as "max"
        most = int((limits / "memory.max").read_text())
        used = int((limits / "memory.current").read_text())
        share = min(share, max(0.0, 1 - used / most))
    return share


@dataclass(frozen=True, slots=True)
class Need:
    """What something holds of the cluster while it runs: logical CPUs and GPUs."""

    cpus: float
    gpus: float

    def times(self, count: int) -> Need:
        """Return what so many of them hold."""
        return Need(self.cpus * count, self.gpus * count)


@dataclass(eq=False, slots=True)
class Reservation:
    """What one holder was given."""

    holder: str
    need: Need


@dataclass(eq=False)
class ResourceLedger:
    """Account of the reservations of one run; thread-safe."""

    reservations: list[Reservation] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def take(
        self,
        holder: str,
        need: Need,
        capacity: Callable[[], Need],
        evict: Callable[[], bool],
        timeout_s: float,
    ) -> Reservation:
        """Wait until there is room, having idle holders leave, and take it.

        ``evict`` ends one idle holder and tells whether there was one. With nothing else held,
        it is given whatever the capacity: a cluster may grow. Raises
        :class:`ClusterError` when nobody left in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            total = capacity()
            with self.changed:
                if not self.reservations or self._fits(need, total):
                    reservation = Reservation(holder, need)
                    self.reservations.append(reservation)
                    return reservation
            if evict():
                continue
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"no room for {holder} ({need.cpus:g} CPUs, {need.gpus:g} GPUs) after "
                    f"{timeout_s:.0f} s: the cluster has {total.cpus:g} CPUs and {total.gpus:g} "
                    f"GPUs, in use by {', '.join(self._holders()) or 'nobody'}. Ask for fewer "
                    "replicas or GPUs, or raise ray.placement_timeout_s."
                )
            with self.changed:
                self.changed.wait(_TICK_S)

    def release(self, reservation: Reservation) -> None:
        """Give back what was taken; nothing happens the second time."""
        with self.changed:
            if reservation in self.reservations:
                self.reservations.remove(reservation)
            self.changed.notify_all()

    def _fits(self, need: Need, total: Need) -> bool:
        cpus = sum(reservation.need.cpus for reservation in self.reservations) + need.cpus
        gpus = sum(reservation.need.gpus for reservation in self.reservations) + need.gpus
        return cpus <= total.cpus + _ROUNDING and gpus <= total.gpus + _ROUNDING

    def _holders(self) -> list[str]:
        with self.changed:
            return sorted(reservation.holder for reservation in self.reservations)
