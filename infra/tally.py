"""Adds up what became of rows: in a worker's open chunk, in its report, in a whole stage."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.store.row_store import Envelope

_SAMPLES = 5
_SAMPLE_CHARS = 200


@dataclass(slots=True)
class Tally:
    """Sums over finished rows, committed or not; ``samples`` are the latest rejects."""

    accepted: int = 0
    rejected: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    samples: tuple[str, ...] = ()

    @property
    def made(self) -> int:
        """Return how many rows are finished."""
        return self.accepted + self.rejected

    def add(self, envelope: Envelope) -> None:
        """Count one finished row."""
        if envelope.status == "rejected":
            self.rejected += 1
            self.reasons[envelope.reason] += 1
            sample = f"{envelope.reason}: {envelope.detail[:_SAMPLE_CHARS]}"
            self.samples = (*self.samples, sample)[-_SAMPLES:]
        else:
            self.accepted += 1
        self.prompt_tokens += envelope.prompt_tokens
        self.cached_tokens += envelope.cached_tokens
        self.completion_tokens += envelope.completion_tokens
        self.requests += envelope.requests

    def include(self, other: Tally) -> None:
        """Add the sums over other rows."""
        self.include_rows(other.accepted, other.rejected, other.reasons)
        self.samples = (*self.samples, *other.samples)[-_SAMPLES:]
        self.include_cost(other)

    def include_rows(self, accepted: int, rejected: int, reasons: Counter[str]) -> None:
        """Add rows of which only the outcome is known."""
        self.accepted += accepted
        self.rejected += rejected
        self.reasons.update(reasons)

    def include_cost(self, other: Tally) -> None:
        """Add what other rows cost, finished for good or lost since."""
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens += other.cached_tokens
        self.completion_tokens += other.completion_tokens
        self.requests += other.requests

    def copy(self) -> Tally:
        """Return the same sums, which later rows leave alone."""
        return replace(self, reasons=Counter(self.reasons))
