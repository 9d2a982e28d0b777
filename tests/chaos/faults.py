"""Describes faults: what is struck, when, and by what."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]

from tests.chaos.fatal_moments import FatalMoment
from tests.chaos.scene import Scene, TooLate
from tests.chaos.victims import is_gone, squeeze, strike
from tests.e2e.scripted import ROW_STAGES

Strike = Callable[[Scene], None]
"""Waits for a moment of the run that is under way, and strikes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: What it is, in a table of all.
        moment: When it comes, in words.
        strike: What does it; ``None`` where the run dies by itself, as ``fatal`` says.
        ends: The run ends for it, now or later, well or not.
        anew: It comes to a run that is being started, so that one under way is ended first.
        most_again: Requests that may be made again for it; those of a killed run's open window,
            unless it says otherwise.
    """

    kind: str
    moment: str
    strike: Strike | None = None
    fatal: FatalMoment | None = None
    ends: bool = False
    anew: bool = False
    most_again: int | None = None


def kill(
    *victims: str,
    kind: str = "",
    parts: tuple[int, int] = (1, 3),
    stages: Sequence[str] = ROW_STAGES,
    number: signal.Signals = signal.SIGKILL,
    ends: bool = False,
) -> Fault:
    """Send one of each kind of victim a signal, at once, after some more parts."""

    def send(scene: Scene) -> None:
        scene.await_parts(scene.dice.randint(*parts), stages)
        found = choose(scene, victims)
        for process in found:
            strike(process, number)
        if number == signal.SIGSTOP:
            with suppress(TooLate):
                scene.await_that(lambda: all(is_gone(one) for one in found), "its end")

    where = " or ".join(stages) if stages is not ROW_STAGES else "any stage"
    name = kind or f"{' + '.join(victims)}: {number.name}"
    return Fault(name, f"{parts[0]} to {parts[1]} parts on, {where}", send, ends=ends)


def choose(scene: Scene, victims: Sequence[str]) -> list[psutil.Process]:
    """Pick as many processes of each kind as are named, once they are there."""
    found = []
    for name, count in Counter(victims).items():
        found += scene.dice.sample(scene.await_victims(name, count), count)
    return found


def freeze(victim: str) -> Fault:
    """Stop a process, which goes on only by being killed: that is for the watchdog to do."""
    return kill(victim, kind=f"{victim}: frozen", number=signal.SIGSTOP)


def starve(victim: str) -> Fault:
    """Refuse a process any more memory."""

    def send(scene: Scene) -> None:
        scene.await_parts(scene.dice.randint(1, 3))
        squeeze(scene.dice.choice(scene.await_victims(victim)))

    return Fault(f"{victim}: no more memory", "1 to 3 parts on, by RLIMIT_AS", send)


def kill_early(first_s: float, last_s: float) -> Fault:
    """Kill the driver while it finds out what is there, before anything is made."""

    def send(scene: Scene) -> None:
        time.sleep(scene.dice.uniform(first_s, last_s))
        strike(scene.await_victims("driver")[0], signal.SIGKILL)

    moment = f"{first_s:g} to {last_s:g} s after the start"
    return Fault("driver: SIGKILL while it resumes", moment, send, anew=True)


def die_at(kind: str, moment: str, event: str, path: str, number: int = 1) -> Fault:
    """Have the driver die at a file operation of its own."""
    return Fault(kind, moment, fatal=FatalMoment(event, path, number), anew=True)
