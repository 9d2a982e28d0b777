"""Finds ports for servers of this machine's own."""

from __future__ import annotations

import socket


def find_port() -> int:
    """Return a port of the loopback device that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
