"""Sets what Prefect must know before it is imported; the user's own settings always win.

The embedded server gets two minutes to start (its first start migrates a database, and 20 s were
not enough on a busy laptop), and nothing is sent to anybody.
"""

from __future__ import annotations

import os

CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
"""From which level on Prefect's log comes to the terminal as well; its UI shows all of it."""

_DEFAULTS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def apply_defaults(**more: str) -> None:
    """Set environment variables that the user has not set."""
    for name, value in {**_DEFAULTS, **more}.items():
        os.environ.setdefault(name, value)
