"""Finds ports for servers of this machine's own."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

_LOWEST, _HIGHEST = 20_000, 32_000
"""Below the ports that systems give to whoever asks for any, and above those of Ray's workers."""

_TRIES = 64


def find_port() -> int:
    """Return a port of the loopback device that is free now, and that nobody else is given by luck.

    Systems give the ports of their own range to every outgoing connection: one that was free there
    is taken a moment later, where many processes connect. It is used only where no other is free.
    """
    for _ in range(_TRIES):
        with suppress(OSError), socket.socket() as probe:
            port = _LOWEST + secrets.randbelow(_HIGHEST - _LOWEST)
            probe.bind(("127.0.0.1", port))
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found
