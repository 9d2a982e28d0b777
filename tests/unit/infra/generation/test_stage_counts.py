"""Proves that every finished row counts once, in whatever order reports and answers come."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.generation.stage_counts import StageCounts
from infra.generation.stage_worker import ChunkReport, ChunkState
from infra.store.row_store import Envelope
from infra.tally import Tally


def tally_rows(accepted: int, rejected: int = 0, reason: str = "empty") -> Tally:
    tally = Tally()
    for status, count in (("accepted", accepted), ("rejected", rejected)):
        for n in range(count):
            why = reason if status == "rejected" else ""
            tally.add(Envelope(f"{status}-{n}", "d", status, why, "raw", 1, 1, 10, 2, 5))
    return tally


def state(label: str, tally: Tally, running: int = 0, failed: int = 0) -> ChunkState:
    return ChunkState(label, tally, running, failed)


def report(tally: Tally, **failed: str) -> ChunkReport:
    return ChunkReport((), (), tally, (), failed, "", "")


@pytest.fixture
def counts() -> StageCounts:
    return StageCounts()


def test_finished_rows_of_an_open_chunk_count_and_its_report_takes_their_place(
    counts: StageCounts,
) -> None:
    counts.open("a")
    counts.hear(state("a", tally_rows(3, 1), running=4))
    assert (counts.total().accepted, counts.total().rejected, counts.running) == (3, 1, 4)
    assert counts.total().completion_tokens == 20
    counts.close("a", report(tally_rows(6, 2)))
    assert (counts.total().accepted, counts.total().rejected, counts.running) == (6, 2, 0)
    assert counts.total().completion_tokens == 40


def test_an_answer_that_comes_after_the_report_changes_nothing(counts: StageCounts) -> None:
    counts.open("a")
    counts.close("a", report(tally_rows(8)))
    counts.hear(state("a", tally_rows(5), running=3))
    counts.hear(state("of an earlier try", tally_rows(5)))
    assert (counts.total().made, counts.running) == (8, 0)


def test_of_a_lost_worker_what_is_committed_counts_and_what_was_spent_stays_spent(
    counts: StageCounts,
) -> None:
    counts.open("a")
    counts.hear(state("a", tally_rows(5, 2), running=1))
    counts.lose("a", 4, Counter(empty=1))
    total = counts.total()
    assert (total.accepted, total.rejected, total.reasons) == (4, 1, {"empty": 1})
    assert total.completion_tokens == 7 * 5
    counts.open("again")
    counts.hear(state("again", tally_rows(2, 1)))
    counts.close("again", report(tally_rows(2, 1)))
    assert (counts.total().accepted, counts.total().rejected) == (6, 2)
    assert counts.total().completion_tokens == 10 * 5


def test_failed_rows_count_before_and_after_the_report(counts: StageCounts) -> None:
    counts.open("a")
    counts.hear(state("a", tally_rows(1), failed=2))
    assert counts.failed == 2
    counts.close("a", report(tally_rows(2), x="HTTP 500", y="HTTP 500"))
    assert (counts.failed, counts.failures) == (2, {"x": "HTTP 500", "y": "HTTP 500"})


def test_rows_still_open_may_all_be_accepted(counts: StageCounts) -> None:
    """A third of the prompts is too long and rejected at once; nothing else is finished yet."""
    counts.open("a")
    counts.hear(state("a", tally_rows(0, 30, "prompt_too_long"), running=60))
    best = counts.best_case()
    assert (best.accepted, best.made) == (60, 90)
    assert counts.reported.made == 0
    counts.hear(state("a", tally_rows(0, 85, "empty"), running=5))
    assert counts.best_case().accepted / counts.best_case().made < 0.1


@settings(max_examples=80, deadline=None)
@given(
    chunks=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6),
    data=st.data(),
)
def test_counts_add_up_whatever_dies_in_between(
    chunks: list[tuple[int, int]], data: st.DataObject
) -> None:
    """A lost chunk's uncommitted rows are made again, in a chunk of their own."""
    counts = StageCounts()
    todo = [(f"chunk-{n}", rows) for n, rows in enumerate(chunks)]
    losses = 0
    while todo:
        label, (accepted, rejected) = todo.pop(data.draw(st.integers(0, len(todo) - 1)))
        counts.open(label)
        for _ in range(data.draw(st.integers(0, 2))):
            heard = tally_rows(
                data.draw(st.integers(0, accepted)), data.draw(st.integers(0, rejected))
            )
            counts.hear(state(label, heard))
        if losses < 8 and data.draw(st.booleans()):
            losses += 1
            kept = data.draw(st.integers(0, accepted)), data.draw(st.integers(0, rejected))
            counts.lose(label, kept[0], Counter(empty=kept[1]))
            left = accepted - kept[0], rejected - kept[1]
            todo.append((f"{label}-again", left))
        else:
            counts.close(label, report(tally_rows(accepted, rejected)))
        counts.hear(state(label, tally_rows(9, 9)))
    total = counts.total()
    assert total.accepted == sum(accepted for accepted, _ in chunks)
    assert total.rejected == sum(rejected for _, rejected in chunks) == total.reasons.total()
