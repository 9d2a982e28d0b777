"""Proves that a Ray that comes up too late is cleared away and started once more."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_node_that_does_not_show_itself_is_started_once_more() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.e2e.failing_ray"], capture_output=True, text=True, check=True
    )
    assert "starting it once more" in told.stderr
    found = json.loads(told.stdout.splitlines()[-1])
    assert found == {"missed": [1], "raylets": 1, "answer": 42}
