"""Checks what the dispatcher does with chunks that come back, or do not; Ray is faked."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import polars as pl
import pytest
from ray.exceptions import RayActorError

from infra.context import Quiet
from infra.errors import InterruptedRun, RequestFailed, YieldError
from infra.generation import dispatcher
from infra.generation.dispatcher import Dispatcher
from infra.generation.engine_pool import Replica
from infra.generation.row_stage import RowStage, RunnerContext
from infra.generation.runner_config import RunnerConfig
from infra.generation.stage_worker import ChunkReport, ChunkState
from infra.progress import StageProgress
from infra.store.manifests import PartRef
from infra.store.row_store import commit_chunk, encode_rows, read_committed
from infra.store.storage import Storage
from infra.tally import Tally
from tests.unit.infra.nodes import NODE, Note, make_row

FOLDER = NODE.folder
KEYS = [f"k{number}" for number in range(8)]

Act = Callable[["Worker", list[str], str], "ChunkReport | Exception | None"]
"""What becomes of a chunk, by its keys and label; nothing for one that is still open."""


@dataclass(eq=False)
class Answer:
    """What a call will have returned; not there yet while ``value`` is ``None``."""

    value: Any = None


class FakeRay:
    """Ray as far as the dispatcher knows it."""

    def put(self, value: Any) -> Any:
        return value

    def wait(
        self, answers: Sequence[Answer], num_returns: int, timeout: float
    ) -> tuple[list[Answer], list[Answer]]:
        there = [answer for answer in answers if answer.value is not None]
        return there, [answer for answer in answers if answer.value is None]

    def get(self, answer: Answer, timeout: float | None = None) -> Any:
        if isinstance(answer.value, Exception):
            raise answer.value
        return answer.value


def call(function: Callable[..., Any]) -> Any:
    return SimpleNamespace(remote=lambda *given: Answer(function(*given)))


@dataclass(eq=False)
class Worker:
    """A stage worker that does with its chunks what it is told, and else accepts all rows."""

    acts: deque[Act] = field(default_factory=deque)
    chunks: list[list[str]] = field(default_factory=list)
    asked_back: list[int] = field(default_factory=list)
    commits: int = 0
    spare: tuple[str, ...] = ()
    states: list[ChunkState] = field(default_factory=list)
    open: dict[str, Answer] = field(default_factory=dict)
    silent: Answer | None = None

    @property
    def run_chunk(self) -> Any:
        return SimpleNamespace(remote=self._run)

    @property
    def give_up(self) -> Any:
        return call(self._give_up)

    @property
    def commit(self) -> Any:
        return call(self._commit)

    @property
    def progress(self) -> Any:
        if self.silent is not None:
            return SimpleNamespace(remote=lambda *_: self.silent)
        return call(lambda folder: self.states)

    def _run(self, job: Any, rows: Any, label: str) -> Answer:
        assert job.folder == FOLDER
        keys = rows.column("key").to_pylist()
        self.chunks.append(keys)
        act = self.acts.popleft() if self.acts else accept
        self.open[label] = Answer(act(self, keys, label))
        return self.open[label]

    def die(self) -> None:
        """Be killed: whatever was asked of it comes to nothing."""
        for answer in (*self.open.values(), self.silent or Answer()):
            if answer.value is None:
                answer.value = RayActorError()
        self.silent = None

    def _give_up(self, folder: str, most: int) -> tuple[str, ...]:
        self.asked_back.append(most)
        given, self.spare = self.spare, ()
        return given

    def _commit(self, folder: str) -> bool:
        self.commits += 1
        return True


def report(accepted: Sequence[str], **more: Any) -> ChunkReport:
    told: dict[str, Any] = {
        "parts": (),
        "unfinished": (),
        "failed": {},
        "fatal": "",
        "engine_lost": "",
    }
    tally = more.pop("tally", Tally(accepted=len(accepted)))
    return ChunkReport(keys=tuple(accepted), tally=tally, **{**told, **more})


def accept(worker: Worker, keys: list[str], label: str) -> ChunkReport:
    return report(keys)


@dataclass
class Bench:
    """A dispatcher over eight rows in chunks of two, with workers that are told what to do."""

    storage: Storage
    workers: list[Worker]
    config: RunnerConfig = field(default_factory=lambda: RunnerConfig(chunk_rows=2))
    min_yield: float = 0.0
    patience_s: float = 600.0
    stop: threading.Event = field(default_factory=threading.Event)
    restarts: list[tuple[int, bool]] = field(default_factory=list)
    progress: StageProgress = field(default_factory=lambda: StageProgress("notes", 8, 0))

    def run(self) -> None:
        def restart(replica: Replica, generation: int, why: str, *, worker_lost: bool) -> None:
            self.restarts.append((replica.index, worker_lost))
            replica.generation += 1

        ray = FakeRay()
        pool = SimpleNamespace(
            cluster=SimpleNamespace(ensure=lambda: ray),
            tell=lambda *_: None,
            restart=restart,
            patience_s=lambda _: self.patience_s,
            end_silent=lambda replica, _: replica.worker.die(),
        )
        pending = pl.DataFrame(
            {"key": KEYS, "parents_digest": ["d"] * 8, "group": list("aabbccdd")}
        )
        stage = RowStage(
            NODE, "m", cast("Any", None), pending, cast("Any", None), self.min_yield, None
        )
        context = RunnerContext(
            self.storage, cast("Any", pool), Quiet(), self.config, self.stop, dict
        )
        replicas = [
            Replica("m", index, 2, worker, object()) for index, worker in enumerate(self.workers)
        ]
        Dispatcher(stage, context, pending, self.progress, replicas).run()

    @property
    def lent(self) -> Counter[str]:
        return Counter(key for worker in self.workers for keys in worker.chunks for key in keys)


@pytest.fixture
def bench(storage: Storage) -> Bench:
    return Bench(storage, [Worker()])


def test_every_row_is_lent_once_in_the_order_of_its_group(bench: Bench) -> None:
    bench.run()
    assert bench.workers[0].chunks == [KEYS[start : start + 2] for start in (0, 2, 4, 6)]
    assert bench.progress.accepted == 8 and bench.restarts == []


def test_two_workers_begin_at_stretches_of_their_own(bench: Bench) -> None:
    bench.workers.append(Worker())
    bench.run()
    first, second = bench.workers
    assert first.chunks[0] == ["k0", "k1"] and second.chunks[0] == ["k4", "k5"]
    assert bench.lent == Counter(KEYS)


def test_nobody_takes_rows_of_a_worker_that_has_none_yet(bench: Bench) -> None:
    bench.config = RunnerConfig(chunk_rows=4)
    bench.workers.append(Worker())
    bench.run()
    assert [worker.chunks for worker in bench.workers] == [[KEYS[:4]], [KEYS[4:]]]


@pytest.mark.parametrize(
    ("given", "lent"), [(None, [1, 1, 1, 2, 2, 1]), (1, [1] * 8)], ids=["chosen", "given"]
)
def test_leases_grow_with_the_pace_unless_their_rows_are_given(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, given: int | None, lent: list[int]
) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_ROWS", 1)
    monkeypatch.setattr(dispatcher, "time", SimpleNamespace(monotonic=lambda: 0.0))
    bench.config = RunnerConfig(chunk_rows=given)
    bench.run()
    assert [len(keys) for keys in bench.workers[0].chunks] == lent
    assert bench.lent == Counter(KEYS)


def test_who_hands_rows_back_or_fails_them_is_lent_no_more_for_being_quick(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "FIRST_ROWS", 1)
    monkeypatch.setattr(dispatcher, "time", SimpleNamespace(monotonic=lambda: 0.0))
    bench.config = RunnerConfig()
    bench.workers[0].acts += [
        lambda _, keys, __: report([], unfinished=tuple(keys), engine_lost="killed"),
        lambda _, keys, __: report([], failed=dict.fromkeys(keys, "HTTP 429")),
        lambda _, keys, __: report([], failed=dict.fromkeys(keys, "HTTP 429")),
    ]
    with pytest.raises(RequestFailed, match="2 rows stay pending"):
        bench.run()
    assert [len(keys) for keys in bench.workers[0].chunks[:6]] == [1] * 6


def test_rows_of_a_lost_engine_are_lent_again_and_it_is_restarted(bench: Bench) -> None:
    bench.workers[0].acts.append(
        lambda _, keys, __: report(keys[:1], unfinished=tuple(keys[1:]), engine_lost="killed")
    )
    bench.run()
    assert bench.restarts == [(0, False)]
    assert bench.lent == Counter(KEYS) + Counter(["k1"])
    assert bench.progress.accepted == 8


def test_of_a_lost_worker_only_what_is_not_committed_is_lent_again(bench: Bench) -> None:
    lost: Exception = RayActorError()

    def die(worker: Worker, keys: list[str], label: str) -> Exception:
        commit_chunk(bench.storage, FOLDER, encode_rows(Note, [make_row(keys[0])]))
        return lost

    bench.workers[0].acts.append(die)
    bench.run()
    assert bench.restarts == [(0, True)]
    assert bench.lent == Counter(KEYS) + Counter(["k1"])
    assert bench.progress.accepted == 8


def test_a_worker_that_answers_nothing_is_killed_and_its_rows_are_lent_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_ASK_EVERY_S", 0.0)
    bench.patience_s = 0.02
    bench.workers[0].silent = Answer()
    bench.workers[0].acts.append(lambda *_: None)
    bench.run()
    assert bench.restarts == [(0, True)]
    assert bench.lent == Counter(KEYS) + Counter(KEYS[:2])
    assert bench.progress.accepted == 8


def committing(bench: Bench) -> Callable[..., ChunkReport]:
    """Return what a worker does that commits each chunk as a part of its own."""

    def commit(worker: Worker, keys: list[str], label: str) -> ChunkReport:
        rows = encode_rows(Note, [make_row(key) for key in keys])
        return report(keys, parts=(commit_chunk(bench.storage, FOLDER, rows),))

    return commit


def test_parts_are_merged_once_some_have_gathered(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MERGE_CHUNKS", 2)

    bench.workers[0].acts += [committing(bench)] * 4
    bench.run()
    assert len(bench.storage.list(FOLDER, ".parquet")) == 2, "four chunks, merged two by two"
    assert sorted(read_committed(bench.storage, FOLDER)["key"]) == KEYS


def test_parts_are_also_merged_once_their_rows_are_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MERGE_ROWS", 3)

    bench.workers[0].acts += [committing(bench)] * 3
    bench.run()
    paths = [stat.path for stat in bench.storage.list(FOLDER, ".parquet")]
    assert sorted("/part-c-" in path for path in paths) == [False, True]
    assert sorted(read_committed(bench.storage, FOLDER)["key"]) == KEYS[:6]


def test_rows_are_lent_while_parts_are_merged_and_a_merge_that_fails_ends_the_stage(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MERGE_CHUNKS", 2)
    lent = threading.Event()

    def merge(storage: Storage, folder: str, paths: Sequence[str]) -> None:
        assert lent.wait(10), "the next chunk waits for the merge"
        raise OSError("the disk is full")

    def go_on(worker: Worker, keys: list[str], label: str) -> ChunkReport:
        lent.set()
        return report(keys)

    monkeypatch.setattr(dispatcher, "merge_chunks", merge)
    bench.workers[0].acts += [*[committing(bench)] * 2, accept, go_on]
    with pytest.raises(OSError, match="the disk is full"):
        bench.run()
    assert bench.lent == Counter(KEYS)


def test_a_part_alone_is_not_written_again_however_large(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MERGE_ROWS", 1)

    bench.workers[0].acts.append(committing(bench))
    bench.run()
    (part,) = bench.storage.list(FOLDER, ".parquet")
    assert "/part-c-" in part.path


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (None, "notes: parts are still being merged"),
        ("disk full", "could not be merged: disk full"),
    ],
)
def test_a_stop_does_not_wait_for_a_merge_that_hangs_and_tells_of_one_that_failed(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: str | None,
    told: str,
) -> None:
    monkeypatch.setattr(dispatcher, "MERGE_CHUNKS", 2)
    monkeypatch.setattr(dispatcher, "_MERGE_GRACE_S", 10 if error else 0)
    over, merges = threading.Event(), []

    def merge(storage: Storage, folder: str, paths: Sequence[str]) -> None:
        merges.append(paths)
        if error:
            raise OSError(error)
        over.wait(10)

    def commit_and_stop(worker: Worker, keys: list[str], label: str) -> ChunkReport:
        bench.stop.set()
        return committing(bench)(worker, keys, label)

    monkeypatch.setattr(dispatcher, "merge_chunks", merge)
    bench.workers[0].acts += [*[committing(bench)] * 3, commit_and_stop]
    with pytest.raises(InterruptedRun, match="stopped in notes at"):
        bench.run()
    assert told in caplog.text and len(merges) == 1, "none begins once the run is to stop"
    over.set()


def test_parts_that_somebody_else_has_merged_are_left_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "MERGE_CHUNKS", 2)
    told = [
        PartRef(path=f"{FOLDER}/chunk-gone{number}.parquet", size=1, token="", digest="", rows=2)
        for number in range(2)
    ]
    act: Act = lambda worker, keys, label: report(keys, parts=(told.pop(),))  # noqa: E731
    bench.workers[0].acts += [act] * 2
    bench.run()
    assert bench.progress.accepted == 8 and not bench.storage.list(FOLDER, ".parquet")


def test_what_is_fatal_ends_the_stage_and_takes_back_what_is_not_begun(bench: Bench) -> None:
    bench.workers[0].acts.append(lambda *_: report([], fatal="the key is wrong"))
    with pytest.raises(RequestFailed, match="notes: the key is wrong") as caught:
        bench.run()
    assert caught.value.fatal
    assert bench.workers[0].asked_back


def test_failed_rows_do_not_hold_up_the_others(bench: Bench) -> None:
    bench.workers[0].acts.append(
        lambda _, keys, __: report([], failed=dict.fromkeys(keys, "HTTP 429"))
    )
    with pytest.raises(
        RequestFailed, match=r"2 rows stay pending, commonest: 2 × HTTP 429"
    ) as told:
        bench.run()
    assert not told.value.fatal
    assert bench.lent == Counter(KEYS) and bench.progress.accepted == 6


def test_a_stage_that_rejects_too_much_stops_early(bench: Bench) -> None:
    bench.min_yield = 0.9
    bench.config = RunnerConfig(chunk_rows=2, yield_check_rows=2)
    refused = Tally(rejected=2, reasons=Counter(empty=2))
    bench.workers[0].acts.append(lambda *_: report([], tally=refused))
    with pytest.raises(YieldError, match="empty"):
        bench.run()
    assert sum(bench.lent.values()) < 8


def test_a_stop_keeps_what_is_finished_and_says_how_far_it_came(bench: Bench) -> None:
    def finish_and_stop(worker: Worker, keys: list[str], label: str) -> ChunkReport:
        bench.stop.set()
        return report(keys)

    def stay_open(worker: Worker, keys: list[str], label: str) -> None:
        worker.states = [ChunkState(label, Tally(accepted=1), running=1, failed=0)]

    bench.workers[0].acts.extend((finish_and_stop, stay_open))
    with pytest.raises(InterruptedRun, match=r"stopped in notes at 3 of 8 rows"):
        bench.run()
    assert bench.workers[0].commits == 2, "at once, and again after the wait"
    assert max(bench.workers[0].asked_back) >= 8, "nothing new is begun"


def test_rows_that_a_busy_worker_has_not_begun_move_to_an_idle_one(bench: Bench) -> None:
    slow, idle = Worker(spare=("k3",)), Worker()
    bench.config = RunnerConfig(chunk_rows=4)
    bench.workers = [slow, idle]

    def take_over(worker: Worker, keys: list[str], label: str) -> ChunkReport:
        next(iter(slow.open.values())).value = report(KEYS[:3])
        return report(keys)

    slow.acts.append(lambda *_: None)
    idle.acts.extend((accept, take_over))
    bench.run()
    assert idle.chunks == [KEYS[4:], ["k3"]]
    assert bench.progress.accepted == 8


def test_open_chunks_count_by_hearsay_and_then_by_their_report(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.generation.dispatcher._ASK_EVERY_S", 0.0)
    seen: list[int] = []

    def stay_open(worker: Worker, keys: list[str], label: str) -> None:
        worker.states = [ChunkState(label, Tally(accepted=1), running=1, failed=0)]

    class Watcher(Quiet):
        def stage_progress(self, progress: Any, *, finished: bool) -> None:
            seen.append(progress.accepted)
            for answer in bench.workers[0].open.values():
                if progress.accepted == 7 and answer.value is None:
                    answer.value = report(KEYS[:2])

    monkeypatch.setattr("tests.unit.infra.generation.test_dispatcher.Quiet", Watcher)
    bench.workers[0].acts.append(stay_open)
    bench.run()
    assert 7 in seen and seen[-1] == 8
