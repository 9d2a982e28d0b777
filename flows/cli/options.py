"""Declares options that several commands of the command line take."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

Overrides = Annotated[
    list[str] | None,
    Parameter(
        name="--set",
        help="Override a key of the configuration, as a.b=c; the value is YAML. Repeatable.",
        negative=(),
        consume_multiple=False,
    ),
]

Names = Annotated[
    list[str] | None,
    Parameter(negative=(), consume_multiple=False),
]
