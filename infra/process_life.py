"""Tells whether a process that was named earlier is still there, which only its machine can see."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACES = Path("/proc/self/ns")


def name_machine(namespace: Literal["pid", "net"] = "pid") -> str:
    """Name the kernel's boot and a namespace of this process; empty where they cannot be told.

    Host names are equal in many containers, and each container counts its own processes (``pid``)
    and has its own 127.0.0.1 (``net``).
    """
    with suppress(OSError):
        return f"{_BOOT.read_text().strip()}/{(_NAMESPACES / namespace).stat().st_ino}"
    return ""


def read_birth(pid: int) -> int | None:
    """Return when a process began, in clock ticks since the boot.

    ``None`` of one that is not there, or that has ended and nobody has heard of it yet.
    """
    with suppress(OSError):
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(numbers[18])
    return None


def has_ended(pid: int, born: int | None) -> bool:
    """Tell whether a process of this machine that began then has ended for certain."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's, who may hide it
        return False
    return read_birth(pid) != born
