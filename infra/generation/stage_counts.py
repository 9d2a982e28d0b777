"""Counts every finished row of a stage once: by its chunk's report, and until then by hearsay."""

from __future__ import annotations

from collections import Counter

from infra.generation.stage_worker import ChunkReport, ChunkState
from infra.tally import Tally


class StageCounts:
    """Finished rows of a running stage.

    A chunk counts by what its worker said last while it is open, and by its report from then on:
    an answer that was under way when the report came changes nothing. Of a chunk whose worker was
    lost, what is committed counts, and what was spent on it stays spent.
    """

    def __init__(self) -> None:
        self.reported = Tally()
        """Of chunks that are done: all of a chunk's rows, the quick and the slow."""
        self.failures: dict[str, str] = {}
        """Why rows stay pending, by key."""
        self._states: dict[str, ChunkState | None] = {}

    def open(self, label: str) -> None:
        """Begin to count a chunk."""
        self._states[label] = None

    def hear(self, state: ChunkState) -> None:
        """Take in how far a chunk is, unless it was reported already."""
        if state.label in self._states:
            self._states[state.label] = state

    def close(self, label: str, report: ChunkReport) -> None:
        """Count a chunk by its report."""
        self._states.pop(label)
        self.reported.include(report.tally)
        self.failures.update(report.failed)

    def lose(self, label: str, accepted: int, reasons: Counter[str]) -> None:
        """Count what a lost worker had committed of a chunk: accepted rows, rejects by reason."""
        state = self._states.pop(label)
        self.reported.include_rows(accepted, reasons.total(), reasons)
        if state is not None:
            self.reported.include_cost(state.tally)

    def total(self) -> Tally:
        """Return the sums over all finished rows."""
        total = self.reported.copy()
        for state in self._heard():
            total.include(state.tally)
        return total

    def best_case(self) -> Tally:
        """Return the sums over all rows begun, as if those that are not finished were accepted.

        What ends first may well be what is rejected first: a prompt that is too long asks no
        model. So of open chunks only this says how bad a stage is for certain.
        """
        best = self.total()
        best.accepted += self.running
        return best

    @property
    def running(self) -> int:
        """Return how many rows are begun and not finished."""
        return sum(state.running for state in self._heard())

    @property
    def failed(self) -> int:
        """Return how many rows failed and stay pending."""
        return len(self.failures) + sum(state.failed for state in self._heard())

    def _heard(self) -> list[ChunkState]:
        return [state for state in self._states.values() if state is not None]
