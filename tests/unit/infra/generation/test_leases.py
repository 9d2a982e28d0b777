"""Proves that every row is lent exactly once at a time, whatever happens to workers."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.generation.leases import Lease, LeaseBook


def lend(book: LeaseBook, worker: int) -> Lease:
    lease = book.lend(worker)
    assert lease is not None
    return lease


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 24),
    workers=st.integers(1, 4),
    chunk_rows=st.integers(1, 7),
    data=st.data(),
)
def test_every_row_is_done_exactly_once_whatever_the_interleaving(
    rows: int, workers: int, chunk_rows: int, data: st.DataObject
) -> None:
    """Workers take, finish, half-finish, die with and give away leases in any order."""
    book = LeaseBook.divide(range(rows), workers, chunk_rows)
    done: list[int] = []
    faults = 12
    while len(done) < rows:
        worker = data.draw(st.integers(0, workers - 1))
        mine = [lease for lease in book.open if lease.worker == worker]
        event = data.draw(st.sampled_from(["take", "finish", "lose", "steal"]))
        if event == "take" or not book.open:
            book.lend(worker)
        elif event == "finish" and mine:
            lease = data.draw(st.sampled_from(mine))
            book.close(lease)
            done += lease.rows
        elif event == "lose" and mine and faults:
            faults -= 1
            lease = data.draw(st.sampled_from(mine))
            book.close(lease)
            kept = data.draw(st.integers(0, len(lease.rows)))
            done += lease.rows[:kept]
            book.take_back(worker, lease.rows[kept:])
        elif event == "steal" and mine and faults:
            faults -= 1
            lease = data.draw(st.sampled_from(mine))
            book.move(worker, lease.rows[1:], to=data.draw(st.integers(0, workers - 1)))
        held = [row for lease in book.open for row in lease.rows]
        queued = [row for queue in book.queues for row in queue]
        assert sorted([*done, *held, *queued]) == list(range(rows))
        assert book.waiting == len(queued)
    assert all(book.lend(worker) is None for worker in range(workers))


@given(rows=st.integers(1, 60), workers=st.integers(1, 5), chunk_rows=st.integers(1, 9))
def test_a_worker_goes_through_its_own_stretch_in_order(
    rows: int, workers: int, chunk_rows: int
) -> None:
    """So rows of one group, which are neighbours, meet in one engine but for the borders."""
    book = LeaseBook.divide(range(rows), workers, chunk_rows)
    share = -(-rows // workers)
    for worker in range(workers):
        own: list[int] = []
        while book.queues[worker]:
            lease = lend(book, worker)
            assert len(lease.rows) <= chunk_rows
            own += lease.rows
        assert own == list(range(rows))[worker * share : (worker + 1) * share]


def test_a_worker_without_rows_takes_from_the_end_of_the_longest_stretch() -> None:
    book = LeaseBook.divide(range(30), 3, chunk_rows=4)
    for _ in range(3):
        lend(book, 0)
    lend(book, 1)
    assert lend(book, 0).rows == [26, 27, 28, 29]
    assert lend(book, 2).rows == [20, 21, 22, 23]


def test_rows_taken_back_are_lent_next_and_in_order() -> None:
    book = LeaseBook.divide(range(10), 1, chunk_rows=4)
    first = lend(book, 0)
    book.close(first)
    book.take_back(0, [3, 1])
    assert lend(book, 0).rows == [1, 3, 4, 5]


def test_moved_rows_leave_their_leases_and_are_lent_next_by_the_other() -> None:
    book = LeaseBook.divide(range(8), 2, chunk_rows=2)
    one, two = lend(book, 0), lend(book, 0)
    book.move(0, [3, 1], to=1)
    assert (one.rows, two.rows) == ([0], [2])
    assert lend(book, 1).rows == [1, 3]


def test_the_busiest_worker_is_the_one_that_holds_the_most_rows() -> None:
    book = LeaseBook.divide(range(20), 2, chunk_rows=3)
    assert book.busiest() is None
    lend(book, 0)
    lend(book, 1)
    lend(book, 1)
    assert book.busiest() == 1
    assert (book.open_rows(0), book.open_rows(1)) == (3, 6)
    for lease, finished in zip(book.open, (2, 3, 3), strict=True):
        lease.finished = finished
    assert (book.open_rows(0), book.open_rows(1)) == (1, 0)


@pytest.mark.parametrize(
    ("rows", "seconds", "then"),
    [
        (64, 0.2, 128),
        (64, 2.0, 64),
        (64, 9.0, 64),
        (256, 9.0, 128),
        (1024, 0.2, 1024),
        (2048, 0.2, 2048),
        (8, 9.0, 8),
    ],
)
def test_who_is_quick_is_lent_more_and_who_is_slow_less(
    rows: int, seconds: float, then: int
) -> None:
    book = LeaseBook.divide(range(8 * rows), 2, chunk_rows=rows)
    book.fit(lend(book, 0), seconds)
    assert [len(lend(book, worker).rows) for worker in (0, 1)] == [then, rows]


def test_the_rest_of_a_stretch_and_a_lease_of_before_tell_nothing_of_the_pace() -> None:
    book = LeaseBook.divide(range(300), 1, chunk_rows=64)
    first, second = lend(book, 0), lend(book, 0)
    book.fit(first, 0.1)
    book.fit(second, 0.1)
    assert book.sizes == [128]
    rest = [lend(book, 0), lend(book, 0)][-1]
    book.fit(rest, 0.1)
    assert (len(rest.rows), book.sizes) == (44, [128])


def test_a_lease_is_closed_once() -> None:
    book = LeaseBook.divide(range(3), 1, chunk_rows=3)
    lease = lend(book, 0)
    book.close(lease)
    with pytest.raises(ValueError, match="not in list"):
        book.close(lease)


def test_no_rows_and_more_workers_than_rows_are_fine() -> None:
    assert LeaseBook.divide([], 3, chunk_rows=4).lend(0) is None
    book = LeaseBook.divide(range(2), 5, chunk_rows=4)
    assert [len(queue) for queue in book.queues] == [1, 1, 0, 0, 0]
