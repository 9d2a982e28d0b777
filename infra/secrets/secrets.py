"""Reads secrets from where they are kept and wraps them so that they cannot be shown by accident.

A configuration names a secret by reference, ``env:NAME`` or ``prefect:block-name``; only the
reference is ever written down. The driver resolves it once, before any engine starts, and hands
workers the :class:`Secret`: they need neither the driver's environment nor Prefect.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import cast

from infra.errors import ConfigError, Problem


class Secret:
    """Value hidden from ``repr``, ``str``, formatting, JSON, YAML and ``dataclasses.asdict``.

    Pickling keeps the value, which is how it travels to a worker: never pickle one to disk.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value; call this only where it is sent."""
        return self._value

    def hide_in(self, text: str) -> str:
        """Return the text with every appearance of the value replaced, for foreign messages."""
        return text.replace(self._value, "***") if self._value else text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self._value,)


def read_secret(reference: str) -> Secret:
    """Resolve ``env:NAME`` (an environment variable) or ``prefect:block-name`` (a Secret block).

    Raises :class:`ConfigError` saying what to set when the reference is malformed, or the secret
    is missing or empty.
    """
    kind, _, name = reference.partition(":")
    if kind == "env" and name:
        value: object = os.environ.get(name)
        todo = f"export {name}=… in the shell that starts the run"
    elif kind == "prefect" and name:
        value = _load_prefect_block(reference, name)
        todo = f"save a Prefect Secret block named {name!r} that holds the key as text"
    else:
        # The text is not repeated: someone who pastes the key itself here must not see it logged.
        raise ConfigError(
            Problem("secret reference", "is not a reference", "write env:NAME or prefect:BLOCK")
        )
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(Problem(reference, "the secret is missing or empty", todo))
    secret = value.strip()
    if not (secret.isascii() and secret.isprintable()):
        raise ConfigError(
            Problem(reference, "the secret holds a line break or a non-ASCII character", todo)
        )
    return Secret(secret)


def _load_prefect_block(reference: str, name: str) -> object:
    # Imported here: Prefect takes over a second to import, and Ray workers must never need it.
    from prefect.blocks.system import Secret as SecretBlock

    # `_sync` keeps it from returning a coroutine inside an asynchronous caller.
    load = cast("Callable[..., SecretBlock[str]]", SecretBlock.load)
    try:
        block = load(name, _sync=True)
    except Exception as error:
        raise ConfigError(
            Problem(
                reference,
                f"the Prefect block cannot be read ({type(error).__name__}: {error})",
                f"save a Secret block named {name!r} on the server at PREFECT_API_URL",
            )
        ) from error
    # Not `block.get()`: it reads the text as JSON and turns a key of digits into a number.
    return block.value.get_secret_value()
