"""Runs all courses of a campaign within a time, and goes on with one that was begun."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tests.benchmarks.hardware import describe_hardware
from tests.chaos import rank_course, s3_courses, scripted_courses, vllm_courses
from tests.chaos.table import Line, read_lines, write_table

RESULTS = Path("tests/benchmarks/results")


class AnyFault(Protocol):
    """What a list says of a fault."""

    @property
    def kind(self) -> str:
        """What it is."""

    @property
    def moment(self) -> str:
        """When it comes."""


class AnyCourse(Protocol):
    """Faults that come one after the other over runs of one kind."""

    @property
    def name(self) -> str:
        """Name in the list."""

    @property
    def against(self) -> str:
        """What is struck."""

    @property
    def faults(self) -> Sequence[Any]:
        """All that can come, in order."""

    def run(
        self, chosen: Sequence[tuple[int, Any]], seed: int, tell: Callable[[Line], None]
    ) -> None:
        """Let numbered faults come; ``tell`` hears what each came to."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A fault in the list of all; ``number`` is its place, from 1."""

    number: int
    course: AnyCourse
    fault: AnyFault

    def describe(self) -> str:
        """Say it in a line."""
        course, fault = self.course, self.fault
        return f"{self.number:3} {course.name:10} {course.against:20} {fault.kind}, {fault.moment}"


class Campaign:
    """All faults there are, in courses; ``server`` is the address of a Prefect server."""

    def __init__(self, server: str) -> None:
        calm = scripted_courses.calm_run(server)
        self._courses: tuple[AnyCourse, ...] = (
            *scripted_courses.list_courses(server, calm),
            *vllm_courses.list_courses(),
            rank_course.RankCourse(),
            *s3_courses.list_courses(server, calm),
        )
        faults = [(course, fault) for course in self._courses for fault in course.faults]
        self.entries = [Entry(number, *found) for number, found in enumerate(faults, 1)]

    def choose(self, only: str) -> list[Entry]:
        """Return the faults whose line has these letters in it."""
        return [entry for entry in self.entries if only.lower() in entry.describe().lower()]

    def run(self, chosen: Sequence[Entry], seed: int, minutes: float) -> bool:
        """Let the chosen faults come, and write the table after each course.

        What the table of this seed and day has already does not come again, unless it has all of
        the campaign. No course begins after ``minutes``; false if some were left for the next time.
        """
        told = {"seed": seed, "command": "make chaos", "hardware": describe_hardware()}
        name = f"chaos-{datetime.now(UTC):%Y-%m-%d}"
        lines = read_lines(RESULTS, name, told)
        if len(lines) == len(self.entries):
            lines = []
        done, began, whole = {line.number for line in lines}, time.monotonic(), True
        for course in self._courses:
            todo = [
                (entry.number, entry.fault)
                for entry in chosen
                if entry.course is course and entry.number not in done
            ]
            if not todo:
                continue
            if time.monotonic() - began > 60 * minutes:
                print(f"{course.name}: left for the next time, {minutes:g} minutes are over")
                whole = False
                continue
            print(f"{course.name}: {len(todo)} faults", flush=True)
            course.run(todo, seed, lambda line: _keep(line, lines))
            lines.sort(key=lambda line: line.number)
            write_table(RESULTS, name, told, lines)
        return whole


def _keep(line: Line, lines: list[Line]) -> None:
    lines.append(line)
    print(line.describe(), flush=True)
