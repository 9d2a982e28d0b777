"""Says who holds a storage root, and whether that process is gone for certain."""

from __future__ import annotations

import os
import platform
import uuid
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.process_life import has_ended, name_machine, read_birth


class Holder(BaseModel):
    """Process that holds a root, as its lock file names it.

    Attributes:
        id: Tells this hold from every other, of the same process too.
        machine: Boot and process namespace in which ``pid`` means something; empty: unknown.
        born: When the process began, in clock ticks since the boot.
        beat: How often the hold was renewed.
        ended: When it was given back; empty while it is held.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    name: str
    host: str = ""
    machine: str = ""
    pid: int = 0
    born: int | None = None
    since: str = ""
    beat: int = 0
    ended: str = ""

    @classmethod
    def introduce(cls, name: str) -> Holder:
        """Return this process as a holder; ``name`` says what it is at, such as ``run demo``."""
        return cls(
            id=uuid.uuid4().hex,
            name=name,
            host=platform.node(),
            machine=name_machine(),
            pid=os.getpid(),
            born=read_birth(os.getpid()),
            since=tell_time(),
        )

    def describe(self) -> str:
        """Return who it is in a line for people."""
        return f"{self.name} (process {self.pid} on {self.host}, since {self.since})"

    def is_gone(self) -> bool:
        """Tell whether its process has ended for certain, which only its own machine can see."""
        if not self.machine or self.machine != name_machine():
            return False
        return has_ended(self.pid, self.born)


def read_holder(data: bytes) -> Holder:
    """Read a lock file; what cannot be read may be held by a later version of this program."""
    try:
        return Holder.model_validate_json(data)
    except ValidationError:
        return Holder(id="", name="an unknown run")


def tell_time() -> str:
    """Return the time as lock files and messages have it."""
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
