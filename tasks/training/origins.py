"""Says what a model was made from, for its card."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Upstream:
    """Something this model was made from; the licence is a hub id, ``None`` if unknown.

    ``role`` says how it was used: ``base model``, ``teacher``, ``personas``, ``instructions``.
    """

    name: str
    role: str
    licence: str | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Origins:
    """What the model was made from, besides its base, for the card; ``name`` is the run's."""

    name: str
    upstream: tuple[Upstream, ...]
