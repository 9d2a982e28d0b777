"""Proves that only what is started to wait its turn does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from infra.cluster.scheduling import wait_behind_engines

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such policy")
_TELL = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0) == os.SCHED_BATCH)"]


def _starts_behind() -> bool:
    return subprocess.run(_TELL, capture_output=True, text=True, check=True).stdout == "True\n"


def test_what_starts_inside_waits_and_what_starts_after_does_not() -> None:
    before = os.sched_getscheduler(0)
    with wait_behind_engines():
        assert _starts_behind()
    assert os.sched_getscheduler(0) == before
    assert not _starts_behind()


def test_an_error_inside_leaves_this_process_as_it_was() -> None:
    before = os.sched_getscheduler(0)
    with pytest.raises(OSError, match="no such program"), wait_behind_engines():
        raise OSError("no such program")
    assert os.sched_getscheduler(0) == before
