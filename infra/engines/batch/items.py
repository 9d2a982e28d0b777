"""Describes a request on its way through a batch, how it is said, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from infra.engines.endpoint.dialect import Dialect, Structure, begin_dialect
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.wire import EndpointSettings, Trouble, write_payload
from infra.errors import RequestFailed
from infra.protocol import Completion, Request

Manner = tuple[Dialect, Structure]
"""How a request is said; what was said in equal manners was written alike."""


@dataclass(frozen=True, slots=True)
class ToAskLive:
    """Verdict on a request that comes with too few others for a batch."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """Verdict on a request for which the vendor's queue had no place."""


@dataclass(frozen=True, slots=True)
class Unfit:
    """Verdict on a request that was not sent or not fetched, with what its row is told."""

    error: RequestFailed


Answer = Completion | Trouble | ToAskLive | Postponed | Unfit
Place = asyncio.Future[Answer]
"""Where an answer will be."""


@dataclass(eq=False, slots=True)
class Item:
    """A request on its way, with how it was said last and how often in vain."""

    name: str
    request: Request
    manner: Manner | None = None
    in_vain: int = 0
    place: Place | None = None


def choose_manner(live: EndpointEngine, request: Request) -> Manner:
    """Return how a request is said by all that was learnt of the endpoint."""
    return live.dialect, live.choose_structure(request)


def begin_manner(settings: EndpointSettings, request: Request) -> Manner:
    """Return how a request is said before anything was learnt."""
    wanted = settings.dialect.structured_output
    structure: Structure = "json_schema" if wanted == "auto" else wanted
    return begin_dialect(settings.dialect), structure if request.schema is not None else "none"


def write_body(live: EndpointEngine, request: Request) -> dict[str, Any]:
    """Write a request as it is said by all that was learnt."""
    dialect, structure = choose_manner(live, request)
    return write_payload(live.settings, request, structure=structure, dialect=dialect)


def answer_all(items: Iterable[Item], answer: Answer) -> None:
    """Tell the rows of some requests what became of them, unless they know."""
    for item in items:
        if item.place is not None and not item.place.done():
            item.place.set_result(answer)
