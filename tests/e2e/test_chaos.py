"""Lets a cut of the campaign's faults come over one run; `make chaos` has them all."""

from __future__ import annotations

import pytest

from tests.chaos.course import Course
from tests.chaos.faults import freeze, kill
from tests.chaos.scripted_courses import MOST_AGAIN, list_moments, open_local, served
from tests.chaos.table import Line

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


def test_a_run_goes_on_after_each_fault_without_loss(prefect_server: str) -> None:
    """It is killed, dies in the middle of a compaction, and has its worker frozen."""
    compaction = next(fault for fault in list_moments() if "chunks not removed" in fault.moment)
    faults = (
        kill("driver", stages=("characters",), parts=(3, 3)),
        compaction,
        freeze("stage worker"),
    )
    course = Course("cut", "scripted", served(open_local, prefect_server), faults, None, MOST_AGAIN)
    lines: list[Line] = []
    course.run(list(enumerate(faults, 1)), 5, lines.append)
    killed, halved, frozen = lines
    assert killed.went_on == halved.went_on == "same command after exit -9"
    assert frozen.went_on.startswith("by itself")
    assert 0 < killed.before < killed.after <= halved.before < frozen.before < frozen.after
