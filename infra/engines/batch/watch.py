"""Follows a vendor's batch to its end and reads out what it brought back, whatever the order."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from infra.engines.batch.api import BatchApi
from infra.engines.batch.config import BatchConfig
from infra.engines.batch.journal import BatchJournal, BatchRecord
from infra.engines.batch.wire import UNASKED, BatchState, ReadReply, Reply, read_line
from infra.errors import RequestFailed

_MADE_WITHIN_S = 60.0
"""A batch whose making was not heard of may show in the vendor's list so much later."""
_LOOK_FOR_IT_S = 5.0
_MOST_MISSED = 10
_AT_ONCE = 200
_STEP = 0.1
_SILENT_S = 600.0


@dataclass(frozen=True, slots=True)
class Ending:
    """How a batch ended; ``why`` is for what it left unasked."""

    why: str
    queue_is_full: bool = False


class BatchWatch:
    """Watch over batches that are under way."""

    def __init__(
        self,
        api: BatchApi,
        journal: BatchJournal,
        config: BatchConfig,
        read_reply: ReadReply,
        tell: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._api, self._journal, self._config = api, journal, config
        self._read_reply, self._tell, self._sleep = read_reply, tell, sleep

    async def fetch(self, record: BatchRecord, deliver: Callable[[str, Reply], None]) -> Ending:
        """Wait for a batch and deliver what became of its requests, as far as that is known.

        Raises :class:`RequestFailed` where the batch may go on all the same.
        """
        if not record.batch_id:
            found = await self._look_for(record)
            if found is None:
                await asyncio.to_thread(self._journal.remove, record)
                return Ending("its batch was never made")
            record = record.model_copy(update={"batch_id": found.batch_id})
            await asyncio.to_thread(self._journal.write, record)
        state = await self._await_end(record)
        if state is None:
            await asyncio.to_thread(self._journal.remove, record)
            self._tell(f"batch {record.batch_id} is gone at the vendor; what it held is asked anew")
            return Ending(f"batch {record.batch_id} is gone")
        if state.status == "failed" and not state.files:
            return await self._end_failed(record, state)
        answered = await self._read_out(state, deliver)
        left = len(record.requests) - answered
        self._tell(
            f"batch {record.batch_id} {state.status}: {answered:,} of {len(record.requests):,}"
            f" requests came back{f', {left:,} were not asked' if left else ''}"
        )
        return Ending(f"batch {record.batch_id} {state.status} before it was asked")

    async def _end_failed(self, record: BatchRecord, state: BatchState) -> Ending:
        await asyncio.to_thread(self._journal.remove, record)
        said = f"batch {record.batch_id} failed: {state.errors or 'the vendor does not say why'}"
        if state.queue_is_full or not state.errors:
            self._tell(said)
            return Ending(said, queue_is_full=state.queue_is_full)
        raise RequestFailed(
            f"{said} → nothing of it was asked or paid; see what the vendor says of its"
            " file, and the knobs of models.<role>.batch and .dialect",
            fatal=True,
        )

    async def _look_for(self, record: BatchRecord) -> BatchState | None:
        while True:
            found = await self._api.find(record)
            if found is not None or record.age_s > _MADE_WITHIN_S:
                return found
            await self._sleep(_LOOK_FOR_IT_S)

    async def _await_end(self, record: BatchRecord) -> BatchState | None:
        missed, shown, shown_s = 0, "", -_SILENT_S
        share = 0.0
        while True:
            try:
                state = await self._api.look(record.batch_id)
                missed = 0
            except RequestFailed as error:
                missed += 1
                if error.fatal or missed >= _MOST_MISSED:
                    raise RequestFailed(
                        f"{error.message} → batch {record.batch_id} goes on at the vendor, and is"
                        " fetched when the run is started again",
                        fatal=error.fatal,
                    ) from None
                await self._sleep(self._config.poll_seconds)
                continue
            if state is None or state.ended:
                return state
            done = (state.completed + state.failed) / max(1, state.total)
            if state.status != shown or done >= share + _STEP or _passed(shown_s):
                shown, share, shown_s = state.status, done, time.monotonic()
                self._tell(_describe(record, state))
            await self._sleep(self._config.poll_seconds)

    async def _read_out(self, state: BatchState, deliver: Callable[[str, Reply], None]) -> int:
        """Deliver the lines of both files, and let others work in between."""
        answered: set[str] = set()
        for source in state.files:
            file = await self._api.download(source)
            if file is None:
                self._tell(f"batch {state.batch_id}: the vendor keeps its file {source} no longer")
                continue
            with file:
                for number, line in enumerate(file):
                    name, reply = read_line(line, self._read_reply) or ("", UNASKED)
                    if reply != UNASKED:
                        deliver(name, reply)
                        answered.add(name)
                    if number % _AT_ONCE == 0:
                        await asyncio.sleep(0)
        return len(answered)


def _passed(since_s: float) -> bool:
    return time.monotonic() - since_s >= _SILENT_S


def _describe(record: BatchRecord, state: BatchState) -> str:
    total = state.total or len(record.requests)
    failed = f", {state.failed:,} failed" if state.failed else ""
    status = state.status.replace("_", " ") or "no status"
    return f"batch {record.batch_id} is {status}: {state.completed:,} of {total:,} answered{failed}"
