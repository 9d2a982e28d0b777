"""Works on chunks of rows in a Ray actor: renders, asks the engine, parses, commits.

A worker keeps one sliding window of rows full across chunks: when a row ends, the next row of
the oldest open chunk begins, so there is no barrier between chunks. A part is written when the
rows of a chunk are all finished, or when the oldest finished row has waited long enough, and holds
whatever is finished by then, of other chunks too: a fast engine writes no more parts than it has
chunks, a slow one loses no more than seconds to a kill. When the engine dies or the run is
stopped, the rows that are finished are still committed and the others are reported back.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from infra.engines.batch.allowance import Allowance
from infra.engines.border import refuse_unreadable
from infra.engines.core_binding import keep_to_cores
from infra.errors import EngineError, Reject, RequestFailed
from infra.generation.asking import AskOptions, RowSession
from infra.protocol import Engine
from infra.rendering.encoder import EncoderSpec, load_encoder, open_encoder
from infra.store.manifests import PartRef
from infra.store.row_store import Envelope, MadeRow, commit_chunk, encode_rows, reject_detail
from infra.store.schema import from_plain
from infra.store.storage import Storage
from infra.store.thought_counts import ThoughtCount
from infra.tally import Tally

_SECOND_TRY_S = 5.0
I = TypeVar("I", contravariant=True)  # noqa: E741 - the input record of a maker


class RowMaker(Protocol[I]):
    """Maker of one row from its inputs by asking a model; picklable, pure but for the asking.

    ``inputs`` and ``record`` are the record types it takes and makes. ``parents`` are the columns
    of a planned row that hold the keys of what it is made from; empty ones name nobody.
    """

    inputs: ClassVar[type[Any]]
    record: ClassVar[type[Any]]
    parents: ClassVar[tuple[str, ...]]

    async def make(self, key: str, row: I, session: RowSession) -> object | Reject:
        """Return the finished record, or why there is none."""
        ...


@dataclass(frozen=True)
class Job:
    """What a worker needs to know of a stage; sent once, shared by all its chunks.

    No finished row waits longer than ``commit_after_s`` to be committed.
    """

    storage: Storage
    folder: str
    maker: RowMaker[Any]
    options: AskOptions
    encoder: EncoderSpec | None
    commit_after_s: float


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """What became of a chunk: which rows are committed, and which are still to do.

    ``parts`` are what was written since the last report, rows of other chunks among them;
    ``unfinished`` holds keys to lease again because the engine was lost; ``failed`` maps keys
    that stay pending to the reason.
    """

    parts: tuple[PartRef, ...]
    keys: tuple[str, ...]
    tally: Tally
    unfinished: tuple[str, ...]
    failed: dict[str, str]
    fatal: str
    engine_lost: str


@dataclass(frozen=True, slots=True)
class ChunkState:
    """How far an open chunk is: what is finished, committed or not, and how many rows are open."""

    label: str
    tally: Tally
    running: int
    failed: int


@dataclass(eq=False)
class _Chunk:
    label: str
    job: Job
    waiting: deque[dict[str, Any]]
    done: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    fresh: list[tuple[float, MadeRow]] = field(default_factory=list)
    """Finished and not committed, with the moment."""
    keys: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    unfinished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    fatal: str = ""
    engine_lost: str = ""

    def take(self, row: MadeRow, now: float) -> None:
        """Keep a finished row until it is committed, and count it."""
        self.fresh.append((now, row))
        self.keys.append(row.envelope.key)
        self.tally.add(row.envelope)


_Batch = list[tuple[_Chunk, list[tuple[float, MadeRow]]]]
E_ = TypeVar("E_", bound=Engine)


class StageWorker(Generic[E_]):
    """Runner of chunks against one engine; made an actor by the pool."""

    def __init__(self, open_engine: Callable[[], E_], window: int) -> None:
        os.setpgid(0, 0)  # a terminal's Ctrl-C is for the driver; it stops its workers in order
        self._engine: E_ = open_engine()
        self._window = window
        self._running = 0
        self._chunks: list[_Chunk] = []
        self._queue: deque[_Chunk] = deque()
        """Chunks that rows may wait in, the oldest first."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._clerk: asyncio.Task[None] | None = None
        self._desk = asyncio.Lock()
        self._written: dict[str, list[PartRef]] = {}
        self._unsure: dict[str, _Batch] = {}
        """Rows of a stage whose part could not be written, or was and its answer got lost."""

    async def warm_up(self, model: str | None, revision: str | None) -> None:
        """Load the tokenizer and the Parquet writer while the engine is still starting."""
        if model is not None:
            await asyncio.to_thread(load_encoder, model, revision)
        await asyncio.to_thread(_warm_up_tables)

    async def keep_to(self, cores: Sequence[int]) -> None:
        """Stay off the cores that a CPU engine computes on."""
        keep_to_cores(cores)

    async def resize(self, window: int) -> None:
        """Keep so many rows open from now on, as suits the engine that is up."""
        self._window = window
        self._fill()

    async def run_chunk(self, job: Job, rows: pa.Table, label: str = "") -> ChunkReport:
        """Make the rows of a chunk, see them all committed, and report.

        ``label`` is what :meth:`progress` calls the chunk until then.
        """
        chunk = _Chunk(label, job, deque(rows.to_pylist()))
        if not self._is_open(job.folder):
            self._unsure.pop(job.folder, None)  # of an earlier try: what it left is known by now
        self._chunks.append(chunk)
        self._queue.append(chunk)
        try:
            self._fill()
            self._settle(chunk)
            await chunk.done.wait()
            await self.commit(job.folder)
        finally:
            self._chunks.remove(chunk)
        return _report(chunk, self._written.pop(job.folder, ()))

    async def progress(self, folder: str) -> list[ChunkState]:
        """Return how far the open chunks of a stage are."""
        return [
            ChunkState(chunk.label, chunk.tally.copy(), chunk.running, len(chunk.failed))
            for chunk in self._chunks
            if chunk.job.folder == folder
        ]

    async def commit(self, folder: str) -> None:
        """Commit every finished row of a stage as one part; what cannot be written is kept.

        It is tried again as the same part: if that was written after all, no row is there twice.
        Also waits for what is being committed already.
        """
        async with self._desk:
            if folder in self._unsure:
                await self._write(folder, self._unsure[folder])
            batch = [
                (chunk, chunk.fresh)
                for chunk in self._chunks
                if chunk.job.folder == folder and chunk.fresh
            ]
            if batch:
                for chunk, _ in batch:
                    chunk.fresh = []
                await self._write(folder, batch)

    async def _write(self, folder: str, batch: _Batch) -> None:
        self._unsure[folder] = batch
        rows = [row for _, fresh in batch for _, row in fresh]
        part = await asyncio.to_thread(_write_part, batch[0][0].job, rows)
        self._unsure.pop(folder, None)  # a new try may have let go of it
        self._written.setdefault(folder, []).append(part)

    async def give_up(self, folder: str, most: int) -> list[str]:
        """Hand back up to ``most`` rows of a stage not begun yet, youngest first; return keys.

        Called to steal the tail, and with a large number to stop.
        """
        given: list[str] = []
        for chunk in reversed(self._chunks):
            if chunk.job.folder != folder:
                continue
            while chunk.waiting and len(given) < most:
                given.append(chunk.waiting.pop()["key"])
            self._settle(chunk)
        return given

    async def reopen(self, open_engine: Callable[[], E_]) -> None:
        """Take a new engine after the old one died."""
        self._engine = open_engine()

    async def tell(self) -> tuple[list[str], dict[str, Any]]:
        """Return what an endpoint's engine has to say since it was asked, and what it learnt."""
        engine: Any = self._engine
        return (engine.take_notes(), engine.facts()) if hasattr(engine, "facts") else ([], {})

    async def allow(self, allowance: Allowance | None) -> None:
        """Tell an engine that spends ahead what the run's budget leaves."""
        engine: Any = self._engine
        if hasattr(engine, "allow"):
            engine.allow(allowance)

    async def halt(self) -> tuple[str, bool]:
        """Send nothing ahead any more; return what goes on elsewhere, and if anything does here."""
        engine: Any = self._engine
        return (await engine.halt()) if hasattr(engine, "halt") else ("", True)

    async def close(self) -> None:
        """Close the engine's client."""
        await self._engine.close()

    def _fill(self) -> None:
        while self._queue and self._running < self._window:
            chunk = self._queue[0]
            if not chunk.waiting:
                self._queue.popleft()
                continue
            row = chunk.waiting.popleft()
            chunk.running += 1
            self._running += 1
            task = asyncio.create_task(self._make(chunk, row))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _make(self, chunk: _Chunk, row: dict[str, Any]) -> None:
        key = row["key"]
        try:
            made = await _make_row(chunk.job, self._engine, row)
            chunk.take(made, asyncio.get_running_loop().time())
            self._commit_in_time()
        except RequestFailed as error:
            chunk.failed[key] = error.message
            if error.fatal:
                chunk.fatal = error.message
                self._drop_waiting(chunk)
        except EngineError as error:
            chunk.unfinished.append(key)
            for other in [chunk for chunk in self._chunks if not chunk.done.is_set()]:
                other.engine_lost = str(error)
                self._drop_waiting(other)
        except Exception as error:  # a bug in a maker must end the stage, not hang it
            chunk.failed[key] = chunk.fatal = f"{type(error).__name__}: {error}"
            self._drop_waiting(chunk)
        finally:
            chunk.running -= 1
            self._running -= 1
            self._settle(chunk)
            self._fill()

    def _is_open(self, folder: str) -> bool:
        """Tell whether a chunk of a stage is being worked on."""
        return any(chunk.job.folder == folder for chunk in self._chunks)

    def _commit_in_time(self) -> None:
        if self._clerk is None or self._clerk.done():
            self._clerk = asyncio.create_task(self._watch_fresh_rows())

    async def _watch_fresh_rows(self) -> None:
        """Commit each stage's finished rows once the oldest has waited long enough."""
        clock = asyncio.get_running_loop().time
        while due := [
            *((clock(), folder) for folder in self._unsure if self._is_open(folder)),
            *(
                (chunk.fresh[0][0] + chunk.job.commit_after_s, chunk.job.folder)
                for chunk in self._chunks
                if chunk.fresh
            ),
        ]:
            moment, folder = min(due)
            if moment > clock():
                await asyncio.sleep(moment - clock())
                continue
            try:
                await self.commit(folder)
            except Exception:  # the chunk's own end tries again, and tells
                await asyncio.sleep(_SECOND_TRY_S)

    def _drop_waiting(self, chunk: _Chunk) -> None:
        chunk.unfinished.extend(row["key"] for row in chunk.waiting)
        chunk.waiting.clear()
        self._settle(chunk)

    def _settle(self, chunk: _Chunk) -> None:
        if not chunk.waiting and chunk.running == 0:
            chunk.done.set()


async def _make_row(job: Job, engine: Engine, row: dict[str, Any]) -> MadeRow:
    key, digest = row["key"], row["parents_digest"]
    spec = job.encoder
    encoder = open_encoder(spec) if spec else None
    session = RowSession(key, engine, encoder, job.options)
    outcome = await job.maker.make(key, from_plain(job.maker.inputs, row), session)
    outcome = refuse_unreadable(outcome)
    rejected = isinstance(outcome, Reject)
    envelope = Envelope(
        key=key,
        parents_digest=digest,
        status="rejected" if rejected else "accepted",
        reason=outcome.reason if isinstance(outcome, Reject) else "",
        detail=reject_detail(outcome, session.last_text) if isinstance(outcome, Reject) else "",
        attempts=session.attempts,
        requests=session.requests,
        prompt_tokens=session.prompt_tokens,
        cached_tokens=session.cached_tokens,
        completion_tokens=session.completion_tokens,
        parents=tuple(row.get(column) or "" for column in job.maker.parents),
    )
    thoughts = ThoughtCount(int(session.thought_chars > 0), session.thought_tokens)
    return MadeRow(envelope, None if rejected else outcome, thoughts)


def _warm_up_tables() -> None:
    """Import what the first rows and the first part need: 0.2 s of a core (measured)."""
    pq.write_table(pa.table({"key": [""]}), BytesIO(), compression="zstd")
    pa.Table.from_pylist([{"key": ""}]).to_pylist()


def _write_part(job: Job, rows: Sequence[MadeRow]) -> PartRef:
    table = encode_rows(job.maker.record, rows)
    return commit_chunk(job.storage, job.folder, table)


def _report(chunk: _Chunk, parts: Sequence[PartRef]) -> ChunkReport:
    return ChunkReport(
        parts=tuple(parts),
        keys=tuple(chunk.keys),
        tally=chunk.tally,
        unfinished=tuple(chunk.unfinished),
        failed=chunk.failed,
        fatal=chunk.fatal,
        engine_lost=chunk.engine_lost,
    )
