"""Generates through an endpoint's vendor batch API: half the price, and hours in place of seconds.

Requests are gathered until none comes for a while, written into a file, and sent as a batch; rows
wait for their answers as they would for those of any engine. Rows that are asked again make the
next, smaller batch; fewer than ``min_requests`` are asked live.

The first request of each kind (by the keywords of its JSON schema) is asked live: it finds out
the dialect, the key and the model before hours are waited for. What a batch's line was refused
for is settled live in the same way, one by one, and the others follow in the dialect that was
learnt. Only what a batch did not get to, or what failed at the vendor, is sent again, and no more
than ``max_submissions`` times; then the row stays pending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx

from infra.engines.batch.allowance import Allowance
from infra.engines.batch.api import BatchApi
from infra.engines.batch.config import BatchConfig
from infra.engines.batch.desk import BatchDesk
from infra.engines.batch.items import (
    Item,
    Postponed,
    ToAskLive,
    Unfit,
    begin_manner,
    choose_manner,
    write_body,
)
from infra.engines.batch.journal import BatchJournal
from infra.engines.batch.watch import BatchWatch
from infra.engines.batch.wire import name_request
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.schema_shapes import read_keywords
from infra.engines.endpoint.wire import EndpointSettings, Trouble
from infra.errors import RequestFailed
from infra.protocol import Completion, Request
from infra.secrets.secrets import Secret
from infra.store.storage import Storage


class BatchEngine:
    """An :class:`infra.protocol.Engine` that asks in batches.

    Args:
        settings: Address, model and bounds, as of :class:`EndpointEngine`.
        config: How batches are used.
        storage: Where what was sent is written down.
        key: The key, resolved by the driver.
        headers: The secret values of ``dialect.headers``.
        transport: Replaces the network, as in ``httpx.AsyncClient``.
        sleep: Replaces ``asyncio.sleep`` between looks and retries.
    """

    def __init__(
        self,
        settings: EndpointSettings,
        config: BatchConfig,
        storage: Storage,
        key: Secret | None = None,
        headers: Mapping[str, Secret] | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings, self._config = settings, config
        self._live = EndpointEngine(settings, key, headers, transport=transport, sleep=sleep)
        self._notes: list[str] = []
        tell, read_reply = self._notes.append, self._live.read_reply
        self._api = BatchApi(self._live, config, sleep)
        self._journal = BatchJournal(storage, settings)
        watch = BatchWatch(self._api, self._journal, config, read_reply, tell, sleep)
        self._desk = BatchDesk(self._live, config, self._api, self._journal, watch, tell)
        self._opening: asyncio.Task[None] | None = None
        self._gates: dict[frozenset[str] | None, asyncio.Lock] = {}
        self._known: set[frozenset[str] | None] = set()

    async def generate(self, request: Request) -> Completion:
        """Answer one request; raises what :class:`EndpointEngine` raises."""
        await self._open()
        item = Item(name_request(self.settings, request), request)
        while True:
            place = self._desk.find(item.name)
            if place is None:
                said = await self._settle_live(item)
                if said is not None:
                    return said
                place = self._desk.hand_in(item)
            elif item.place is not place:
                item.manner = begin_manner(self.settings, request)
            answer = await asyncio.shield(place)
            if isinstance(answer, Completion):
                return self._live.complete(request, answer)
            self._desk.clear(item.name, place, asked=not isinstance(answer, Unfit))
            if isinstance(answer, Unfit):
                raise RequestFailed(answer.error.message, fatal=answer.error.fatal)
            if isinstance(answer, ToAskLive):
                return await self._live.generate(request)
            if isinstance(answer, Postponed):
                item.manner = None
            else:
                self._take_in(item, answer)

    async def close(self) -> None:
        """Close all connections; batches go on at the vendor."""
        self._desk.close()
        await self._live.close()

    async def halt(self) -> tuple[str, bool]:
        """Send nothing more, as the run is to stop.

        Returns what becomes of the batches, for people, and whether anything is being asked live.
        """
        batches, live = self._desk.halt(), self._live.limit.in_flight > 0
        if not batches:
            return "", live
        names, where = ", ".join(batches), self.settings.address
        fetched = "will be fetched by the next run"
        if not self._config.cancel_on_stop:
            verb = "goes" if len(batches) == 1 else "go"
            return f"batch {names} {verb} on at {where} and {fetched} (batch.cancel_on_stop)", live
        try:
            for name in batches:
                await self._api.cancel(name)
        except RequestFailed as error:
            return f"batch {names} could not be cancelled: {error.message}", live
        return f"batch {names} is cancelled at {where}; what was answered {fetched}", live

    def allow(self, allowance: Allowance | None) -> None:
        """Take what the run's budget leaves; nothing is sent that could take more."""
        self._desk.purse.allow(allowance)

    def take_notes(self) -> list[str]:
        """Return what people should hear, once."""
        notes = [*self._notes, *self._live.take_notes()]
        self._notes.clear()
        return notes

    def facts(self) -> dict[str, Any]:
        """Return what was learnt of the endpoint, for the manifest of what it made."""
        return self._live.facts()

    async def _open(self) -> None:
        """See once that there are batches, and read what earlier runs have sent."""
        opening = self._opening = self._opening or asyncio.create_task(self._prepare())
        try:
            await asyncio.shield(opening)
        except RequestFailed as error:
            if not error.fatal and self._opening is opening:
                self._opening = None
            raise RequestFailed(error.message, fatal=error.fatal) from None

    async def _prepare(self) -> None:
        await self._api.check()
        await asyncio.to_thread(self._journal.read)

    async def _settle_live(self, item: Item) -> Completion | None:
        """Ask live what teaches how to ask, or what a batch's line was refused for."""
        schema = item.request.schema
        kind = read_keywords(schema) if schema is not None else None
        async with self._gates.setdefault(kind, asyncio.Lock()):
            if kind in self._known and item.manner != choose_manner(self._live, item.request):
                return None
            said = await self._live.generate(item.request)
            self._known.add(kind)
            return said

    def _take_in(self, item: Item, trouble: Trouble) -> None:
        """Say what follows where there is no answer; raises once that was often enough.

        A request that keeps its manner was refused for what it says: it is settled live.
        """
        now = choose_manner(self._live, item.request)
        sent, item.manner = item.manner, None
        complaint = trouble.complaint
        if complaint is not None:
            payload = write_body(self._live, item.request)
            if sent != now or self._live.learn(complaint, payload):
                return
        if trouble.remedy.startswith("give_up"):
            item.manner = now
            return
        item.in_vain += 1
        if item.in_vain >= self._config.max_submissions:
            raise RequestFailed(f"{trouble.message}, in {item.in_vain} batches")
