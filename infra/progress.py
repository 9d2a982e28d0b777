"""Counts what a stage does while it does it, for terminals, logs and the Prefect UI."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class StageProgress:
    """Is the state of one running stage; rates are over this run only.

    ``again`` says that its rows were all rejected before.
    """

    stage: str
    planned: int
    reused: int
    model: str = ""
    again: bool = False
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    requests: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    samples: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    def restart_clock(self) -> None:
        """Begin to count the time, once the engines are up."""
        self.began = time.monotonic()

    @property
    def made(self) -> int:
        """Return how many rows this run finished."""
        return self.accepted + self.rejected

    @property
    def seconds(self) -> float:
        """Return how long the stage has run."""
        return max(time.monotonic() - self.began, 1e-6)

    @property
    def rows_per_s(self) -> float:
        """Return finished rows a second."""
        return self.made / self.seconds

    @property
    def tokens_per_s(self) -> float:
        """Return generated tokens a second."""
        return self.completion_tokens / self.seconds

    @property
    def eta_s(self) -> float | None:
        """Return the seconds left at this rate, or ``None`` before the first row."""
        left = self.planned - self.reused - self.made
        return left / self.rows_per_s if self.made else None

    @property
    def cached_share(self) -> float:
        """Return the share of prompt tokens that came from the prefix cache."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0

    @property
    def share(self) -> float:
        """Return how much is done, between 0 and 1."""
        return (self.reused + self.made) / self.planned if self.planned else 1.0

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a live table: done, rate, tokens/s, cached, rejected, ETA."""
        eta = self.eta_s
        return (
            f"{self.reused + self.made:,}/{self.planned:,}",
            f"{self.rows_per_s:.1f}",
            f"{self.tokens_per_s:,.0f}",
            f"{self.cached_share:.0%}",
            str(self.rejected),
            f"{eta:.0f} s" if eta else "",
        )

    def describe(self) -> str:
        """Return one line for logs."""
        eta = self.eta_s
        parts = [
            f"{self.stage}: {self.reused + self.made:,}/{self.planned:,} rows",
            f"{self.rows_per_s:.1f} rows/s",
            f"{self.tokens_per_s:,.0f} tokens/s",
            f"{self.rejected} rejected",
        ]
        if self.reused:
            parts.insert(1, f"{self.reused:,} reused")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if eta is not None and self.reused + self.made < self.planned:
            parts.append(f"ETA {eta:.0f} s")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Is the state of one long job that counts steps; ``note`` is what a person wants to know."""

    stage: str
    done: int
    total: int
    tokens_per_s: float
    eta_s: float | None
    note: str

    @property
    def share(self) -> float:
        """Return how much is done, between 0 and 1."""
        return self.done / self.total if self.total else 1.0

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a live table: done, rate, tokens/s, cached, rejected, ETA."""
        eta = f"{self.eta_s:.0f} s" if self.eta_s else ""
        return (f"{self.done:,}/{self.total:,}", "", f"{self.tokens_per_s:,.0f}", "", "", eta)

    def describe(self) -> str:
        """Return one line for logs."""
        parts = [f"{self.stage}: {self.done:,}/{self.total:,} steps", self.note]
        if self.tokens_per_s:
            parts.append(f"{self.tokens_per_s:,.0f} tokens/s")
        if self.eta_s and self.done < self.total:
            parts.append(f"ETA {self.eta_s:.0f} s")
        return ", ".join(part for part in parts if part)


class Progress(Protocol):
    """Is the state of whatever takes long, as it is shown."""

    @property
    def stage(self) -> str: ...  # noqa: D102
    @property
    def share(self) -> float: ...  # noqa: D102
    def cells(self) -> tuple[str, ...]: ...  # noqa: D102
    def describe(self) -> str: ...  # noqa: D102


class ProgressListener(Protocol):
    """Shows progress; called from stage threads about once a second."""

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Show where a stage stands."""
        ...
