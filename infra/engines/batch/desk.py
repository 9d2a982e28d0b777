"""Gathers requests into batches, sends them, and hands each answer to the row that waits for it.

What is sent is on record before (:mod:`infra.engines.batch.journal`), so that the desk of a later
process finds the same batches and fetches them in place of sending anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

from infra.engines.batch.allowance import Claim, Purse
from infra.engines.batch.api import BatchApi
from infra.engines.batch.config import BatchConfig
from infra.engines.batch.items import (
    Answer,
    Item,
    Place,
    Postponed,
    ToAskLive,
    Unfit,
    answer_all,
    choose_manner,
    write_body,
)
from infra.engines.batch.journal import BatchJournal, BatchRecord
from infra.engines.batch.watch import BatchWatch
from infra.engines.batch.wire import Reply, cut_lines, write_line
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.wire import Trouble
from infra.errors import RequestFailed
from infra.protocol import Completion

_MEGABYTE = 1_000_000


class BatchDesk:
    """Place where requests wait for their batch, and batches for their end; for one event loop."""

    def __init__(
        self,
        live: EndpointEngine,
        config: BatchConfig,
        api: BatchApi,
        journal: BatchJournal,
        watch: BatchWatch,
        tell: Callable[[str], None],
    ) -> None:
        self._live, self._config, self._tell = live, config, tell
        self._api, self._journal, self._watch = api, journal, watch
        self.purse = Purse()
        self._places: dict[str, Place] = {}
        self._waiting: dict[str, Item] = {}
        self._last_came_s = 0.0
        self._clerk: asyncio.Task[None] | None = None
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._names: dict[str, str] = {}
        self._most = config.max_requests
        self._one_by_one = self._halted = False

    def find(self, name: str) -> Place | None:
        """Return where a request's answer will be, if a batch holds the request already."""
        place = self._places.get(name)
        if place is not None or (record := self._journal.find(name)) is None:
            return place
        self._tell(f"batch {record.batch_id or record.name} was sent before and is fetched")
        loop = asyncio.get_running_loop()
        places: dict[str, Place] = {
            other: loop.create_future()
            for other in record.requests
            if other not in self._places and self._journal.find(other) is record
        }
        self._places.update(places)
        self._follow(record, places, Claim())
        return self._places[name]

    def hand_in(self, item: Item) -> Place:
        """Have a request sent with the next batch; return where its answer will be."""
        loop = asyncio.get_running_loop()
        item.place = place = loop.create_future()
        self._places[item.name] = place
        self._waiting[item.name] = item
        self._last_came_s = loop.time()
        if self._clerk is None or self._clerk.done():
            self._clerk = asyncio.create_task(self._gather())
        return place

    def clear(self, name: str, place: Place, *, asked: bool) -> None:
        """Let a request be handed in anew; one that was ``asked`` in vain, in another batch."""
        if self._places.get(name) is place:
            del self._places[name]
            if asked:
                self._journal.forget((name,))

    def halt(self) -> list[str]:
        """Send nothing more; return the names of the batches that are under way."""
        self._halted = True
        return list(self._names.values())

    def close(self) -> None:
        """Look at nothing more; batches go on at the vendor."""
        for task in (self._clerk, *self._under_way.values()):
            if task is not None:
                task.cancel()

    async def _gather(self) -> None:
        """Send what has gathered once nothing more comes."""
        loop = asyncio.get_running_loop()
        while self._waiting and not self._halted:
            rest_s = self._last_came_s + self._config.gather_seconds - loop.time()
            if rest_s > 0:
                await asyncio.sleep(rest_s)
                continue
            items, self._waiting = self._waiting, {}
            try:
                await self._send(items)
            except Exception as error:  # a store that fails must not leave rows waiting
                said = f"no batch was sent: {type(error).__name__}: {error}"
                answer_all(items.values(), Unfit(RequestFailed(said)))

    async def _send(self, items: dict[str, Item]) -> None:
        lines = ((name, self._write(item)) for name, item in items.items())
        most_bytes = int(self._config.max_megabytes * _MEGABYTE)
        for taken in cut_lines(lines, self._most, most_bytes):
            part = [items[name] for name in taken]
            if self._one_by_one and self._under_way:
                await asyncio.wait(self._under_way.values())
            if len(part) < self._config.min_requests:
                answer_all(part, ToAskLive())
                continue
            part, claim = await self._keep_to_budget(part)
            if part and not self._halted:
                await self._submit(part, b"".join(taken[item.name] for item in part), claim)

    def _write(self, item: Item) -> bytes:
        item.manner = choose_manner(self._live, item.request)
        return write_line(item.name, self._config.url, write_body(self._live, item.request))

    async def _keep_to_budget(self, items: list[Item]) -> tuple[list[Item], Claim]:
        """Return what the budget holds beside what is under way; the others wait, or are told."""
        if not self.purse.bounded:
            return items, Claim()
        requests = [item.request for item in items]
        claims = await asyncio.to_thread(lambda: [self._live.estimate(one) for one in requests])
        count, claim = self.purse.take(claims)
        more_is_left_soon = bool(self._under_way) or not self.purse.settled
        if not count and not more_is_left_soon:
            error = RequestFailed(
                f"the budget leaves {self.purse.describe()}, too little for one more request"
                " → raise budget.max_tokens or budget.max_cost",
                fatal=True,
            )
            answer_all(items, Unfit(error))
            return [], Claim()
        if count < min(len(items), self._config.min_requests) and more_is_left_soon:
            count, claim = 0, Claim()
        if count < len(items):
            self._waiting.update({item.name: item for item in items[count:]})
            self._last_came_s = asyncio.get_running_loop().time()
        return items[:count], claim

    async def _submit(self, items: list[Item], content: bytes, claim: Claim) -> None:
        settings = self._live.settings
        record = BatchRecord(
            name=uuid4().hex,
            address=settings.address,
            model=settings.model,
            made_at=datetime.now(UTC),
            digest=sha256(content).hexdigest(),
            requests=tuple(item.name for item in items),
        )
        try:
            await asyncio.to_thread(self._journal.write, record)
            file_id = await self._api.upload(content, f"opencharacter-{record.name}.jsonl")
            record = record.model_copy(update={"file_id": file_id})
            await asyncio.to_thread(self._journal.write, record)
            state = await self._api.create(record)
            record = record.model_copy(update={"batch_id": state.batch_id})
            await asyncio.to_thread(self._journal.write, record)
        except RequestFailed as error:
            if error.fatal or not record.file_id:  # else there may be a batch: it is looked for
                await asyncio.to_thread(self._journal.remove, record)
            answer_all(items, Unfit(error))
            return
        self._tell(
            f"batch {record.batch_id} was sent: {len(items):,} requests, "
            f"{len(content) / _MEGABYTE:.1f} MB; looked at every {self._config.poll_seconds:g} s"
        )
        places = {item.name: item.place for item in items if item.place is not None}
        self._follow(record, places, claim)

    def _follow(self, record: BatchRecord, places: dict[str, Place], claim: Claim) -> None:
        self._names[record.name] = record.batch_id or record.name
        task = asyncio.create_task(self._fetch(record, places, claim))
        self._under_way[record.name] = task

    async def _fetch(self, record: BatchRecord, places: dict[str, Place], claim: Claim) -> None:
        """See a batch to its end; whoever waits for it is told, whatever happens."""
        left: Answer = Unfit(RequestFailed("the engine was closed"))

        def deliver(name: str, reply: Reply) -> None:
            place = places.get(name)
            if place is not None and not place.done():
                if isinstance(reply, Completion):
                    self.purse.note(reply)
                place.set_result(reply)

        try:
            with self.purse.hold(claim):
                ending = await self._watch.fetch(record, deliver)
            left = Trouble("retry", ending.why)
            if ending.queue_is_full:
                left = self._shrink(record, ending.why)
        except RequestFailed as error:
            left = Unfit(error)
        except Exception as error:  # told to the rows, which would wait for ever
            left = Unfit(RequestFailed(f"batch {record.batch_id}: {type(error).__name__}: {error}"))
        finally:
            self._under_way.pop(record.name, None)
            self._names.pop(record.name, None)
            for place in places.values():
                if not place.done():
                    place.set_result(left)

    def _shrink(self, record: BatchRecord, why: str) -> Answer:
        """Send smaller batches from now on, one after the other, as the vendor's queue is full."""
        self._one_by_one = True
        half = len(record.requests) // 2
        if half >= self._config.min_requests:
            self._most = min(self._most, half)
            return Postponed()
        return Unfit(RequestFailed(f"{why} → wait until other batches there have ended"))
