"""Is what a zygote imports for so long that a person presses Ctrl-C."""

from __future__ import annotations

import os
import time

SECONDS = 120

if os.environ.get("OPENCHARACTER_TEST_TAKES_LONG"):
    time.sleep(SECONDS)
