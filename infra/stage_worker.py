"""Works on chunks of rows in a Ray actor: renders, asks the engine, parses, commits.

A worker keeps one sliding window of rows full across chunks: when a row ends, the next row of
the oldest open chunk begins, so there is no barrier between chunks. A chunk whose rows are all
finished is committed as a part of its own. When the engine dies or the run is stopped, the rows
that are finished are still committed and the others are reported back.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from infra.asking import AskOptions, RowSession
from infra.engine_border import refuse_unreadable
from infra.engines.core_binding import keep_to_cores
from infra.engines.protocol import Engine
from infra.errors import EngineError, Reject, RequestFailed
from infra.manifests import PartRef
from infra.rendering import EncoderSpec, load_encoder, open_encoder
from infra.row_store import Envelope, MadeRow, commit_chunk, encode_rows, reject_detail
from infra.schema import from_plain
from infra.storage import Storage
from infra.thought_counts import ThoughtCount

I = TypeVar("I", contravariant=True)  # noqa: E741 - the input record of a maker


class RowMaker(Protocol[I]):
    """Makes one row from its inputs by asking a model; picklable, pure but for the asking.

    ``inputs`` and ``record`` are the record types it takes and makes.
    """

    inputs: ClassVar[type[Any]]
    record: ClassVar[type[Any]]

    async def make(self, key: str, row: I, session: RowSession) -> object | Reject:
        """Return the finished record, or why there is none."""
        ...


@dataclass(frozen=True)
class Job:
    """Is what a worker needs to know of a stage; sent once, shared by all its chunks."""

    storage: Storage
    folder: str
    maker: RowMaker[Any]
    options: AskOptions
    encoder: EncoderSpec | None


@dataclass(frozen=True, slots=True)
class ChunkReport:
    """Is what became of a chunk: what was committed, and which rows are still to do.

    ``unfinished`` holds keys to lease again because the engine was lost;
    ``failed`` maps keys that stay pending to the reason.
    """

    part: PartRef | None
    keys: tuple[str, ...]
    accepted: int
    rejected: int
    reasons: dict[str, int]
    samples: tuple[str, ...]
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    requests: int
    unfinished: tuple[str, ...]
    failed: dict[str, str]
    fatal: str
    engine_lost: str


@dataclass(eq=False)
class _Chunk:
    job: Job
    waiting: deque[dict[str, Any]]
    done: asyncio.Event = field(default_factory=asyncio.Event)
    running: int = 0
    made: list[MadeRow] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    fatal: str = ""
    engine_lost: str = ""


E_ = TypeVar("E_", bound=Engine)


class StageWorker(Generic[E_]):
    """Runs chunks against one engine; made an actor by the pool."""

    def __init__(self, open_engine: Callable[[], E_], window: int) -> None:
        os.setpgid(0, 0)  # a terminal's Ctrl-C is for the driver; it stops its workers in order
        self._engine: E_ = open_engine()
        self._window = window
        self._running = 0
        self._chunks: list[_Chunk] = []
        self._tasks: set[asyncio.Task[None]] = set()

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

    async def run_chunk(self, job: Job, rows: pa.Table) -> ChunkReport:
        """Make the rows of a chunk, commit them as one part, and report."""
        chunk = _Chunk(job, deque(rows.to_pylist()))
        self._chunks.append(chunk)
        self._fill()
        await chunk.done.wait()
        self._chunks.remove(chunk)
        part = await asyncio.to_thread(_commit, chunk) if chunk.made else None
        return _report(chunk, part)

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

    async def close(self) -> None:
        """Close the engine's client."""
        await self._engine.close()

    def _fill(self) -> None:
        for chunk in self._chunks:
            while chunk.waiting and self._running < self._window and not chunk.engine_lost:
                row = chunk.waiting.popleft()
                chunk.running += 1
                self._running += 1
                task = asyncio.create_task(self._make(chunk, row))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            self._settle(chunk)

    async def _make(self, chunk: _Chunk, row: dict[str, Any]) -> None:
        key = row["key"]
        try:
            chunk.made.append(await _make_row(chunk.job, self._engine, row))
        except RequestFailed as error:
            chunk.failed[key] = error.message
            if error.fatal:
                chunk.fatal = error.message
                self._drop_waiting(chunk)
        except EngineError as error:
            chunk.unfinished.append(key)
            for other in self._chunks:
                other.engine_lost = str(error)
                self._drop_waiting(other)
        except Exception as error:  # a bug in a maker must end the stage, not hang it
            chunk.failed[key] = chunk.fatal = f"{type(error).__name__}: {error}"
            self._drop_waiting(chunk)
        finally:
            chunk.running -= 1
            self._running -= 1
            self._fill()

    def _drop_waiting(self, chunk: _Chunk) -> None:
        chunk.unfinished.extend(row["key"] for row in chunk.waiting)
        chunk.waiting.clear()

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
    )
    thoughts = ThoughtCount(int(session.thought_chars > 0), session.thought_tokens)
    return MadeRow(envelope, None if rejected else outcome, thoughts)


def _warm_up_tables() -> None:
    """Import what the first rows and the first part need: 0.2 s of a core (measured)."""
    pq.write_table(pa.table({"key": [""]}), BytesIO(), compression="zstd")
    pa.Table.from_pylist([{"key": ""}]).to_pylist()


def _commit(chunk: _Chunk) -> PartRef:
    table = encode_rows(chunk.job.maker.record, chunk.made)
    return commit_chunk(chunk.job.storage, chunk.job.folder, table)


def _report(chunk: _Chunk, part: PartRef | None) -> ChunkReport:
    envelopes: Sequence[Envelope] = [row.envelope for row in chunk.made]
    rejected = [envelope for envelope in envelopes if envelope.status == "rejected"]
    return ChunkReport(
        part=part,
        keys=tuple(envelope.key for envelope in envelopes),
        accepted=len(envelopes) - len(rejected),
        rejected=len(rejected),
        reasons=dict(Counter(envelope.reason for envelope in rejected)),
        samples=tuple(f"{item.reason}: {item.detail[:200]}" for item in rejected[:2]),
        prompt_tokens=sum(envelope.prompt_tokens for envelope in envelopes),
        cached_tokens=sum(envelope.cached_tokens for envelope in envelopes),
        completion_tokens=sum(envelope.completion_tokens for envelope in envelopes),
        requests=sum(envelope.requests for envelope in envelopes),
        unfinished=tuple(chunk.unfinished),
        failed=chunk.failed,
        fatal=chunk.fatal,
        engine_lost=chunk.engine_lost,
    )
