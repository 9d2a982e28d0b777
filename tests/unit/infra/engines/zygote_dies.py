"""Is what a zygote imports that is killed meanwhile, as by a machine without memory."""

from __future__ import annotations

import os
import signal

if "OPENCHARACTER_TEST_DIES" in os.environ:
    os.kill(os.getpid(), signal.SIGKILL)
