"""Counts what a stage does while it does it, for terminals, logs and the Prefect UI."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from infra.pace import Pace, name_duration
from infra.tally import Tally

_FEWEST_STEPS = 3


@dataclass(slots=True)
class StageProgress:
    """State of one running stage: its finished rows, whether they are committed yet or not.

    Rates are over this run only, and over its recent past as soon as that says something.
    ``begun`` rows are asked for and not finished; ``again`` says that all rows were rejected
    before.
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
    ended: float | None = None
    begun: int = 0
    pace: Pace = field(default_factory=Pace)

    def restart_clock(self) -> None:
        """Begin to count the time, once the engines are up."""
        self.began, self.ended = time.monotonic(), None

    def stop_clock(self) -> None:
        """Count no more time: every row is committed."""
        self.ended = time.monotonic()

    def update(self, tally: Tally) -> None:
        """Take over the sums over all rows that this run finished so far."""
        self.accepted, self.rejected = tally.accepted, tally.rejected
        self.prompt_tokens, self.cached_tokens = tally.prompt_tokens, tally.cached_tokens
        self.completion_tokens, self.requests = tally.completion_tokens, tally.requests
        self.reasons, self.samples = Counter(tally.reasons), list(tally.samples)
        self.pace.note(self.made, self.completion_tokens)

    @property
    def made(self) -> int:
        """Return how many rows this run finished."""
        return self.accepted + self.rejected

    @property
    def seconds(self) -> float:
        """Return how long the stage has run."""
        ended = time.monotonic() if self.ended is None else self.ended
        return max(ended - self.began, 1e-6)

    @property
    def moving(self) -> bool:
        """Tell whether this run has finished a row."""
        return self.made > 0

    @property
    def left(self) -> int:
        """Return how many rows are still to be finished."""
        return self.planned - self.reused - self.made

    @property
    def rows_per_s(self) -> float:
        """Return finished rows per second: lately, and in all once everything is finished."""
        return self._rates()[0]

    @property
    def tokens_per_s(self) -> float:
        """Return the tokens of finished rows per second: lately, and in all at the end."""
        return self._rates()[1]

    @property
    def eta_s(self) -> float | None:
        """Return the seconds left, or ``None`` before an estimate means something."""
        return self.pace.estimate_s(self.left)

    def _rates(self) -> tuple[float, float]:
        recent = self.pace.rates(self.left) if self.left > 0 else None
        return recent or (self.made / self.seconds, self.completion_tokens / self.seconds)

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
        done = f"{self.reused + self.made:,}/{self.planned:,}"
        if not self.made:
            return (f"{done}, {self.begun:,} begun" if self.begun else done, "", "", "", "", "")
        rows_per_s, tokens_per_s = self._rates()
        return (
            done,
            _name_rate(rows_per_s),
            f"{tokens_per_s:,.0f}",
            f"{self.cached_share:.0%}",
            str(self.rejected),
            _name_eta(self.eta_s),
        )

    def describe(self) -> str:
        """Return one line for logs."""
        parts = [f"{self.stage}: {self.reused + self.made:,}/{self.planned:,} rows"]
        if self.reused:
            parts.append(f"{self.reused:,} reused")
        if self.made:
            rows_per_s, tokens_per_s = self._rates()
            parts += [
                f"{_name_rate(rows_per_s)} rows/s",
                f"{tokens_per_s:,.0f} tokens/s",
                f"{self.rejected} rejected",
            ]
        elif self.begun:
            parts.append(f"{self.begun:,} begun, none finished yet")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if eta := _name_eta(self.eta_s):
            parts.append(f"ETA {eta}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class JobProgress:
    """State of one long job that counts steps; ``note`` is what a person wants to know."""

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

    @property
    def moving(self) -> bool:
        """Tell whether a step is done."""
        return self.done > 0

    def cells(self) -> tuple[str, ...]:
        """Return the cells of a live table: done, rate, tokens/s, cached, rejected, ETA."""
        tokens = f"{self.tokens_per_s:,.0f}" if self.tokens_per_s else ""
        return (f"{self.done:,}/{self.total:,}", "", tokens, "", "", _name_eta(self.eta_s))

    def describe(self) -> str:
        """Return one line for logs."""
        parts = [f"{self.stage}: {self.done:,}/{self.total:,} steps", self.note]
        if self.tokens_per_s:
            parts.append(f"{self.tokens_per_s:,.0f} tokens/s")
        if self.done < self.total and (eta := _name_eta(self.eta_s)):
            parts.append(f"ETA {eta}")
        return ", ".join(part for part in parts if part)


def pace_job() -> Pace:
    """Return the pace of a job whose steps take about as long one as the other."""
    return Pace(least=_FEWEST_STEPS)


def _name_rate(rate: float) -> str:
    """Return a rate with as many places as tell it from zero."""
    return f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def _name_eta(seconds: float | None) -> str:
    return name_duration(seconds) if seconds else ""


class Progress(Protocol):
    """State of whatever takes long, as it is shown."""

    @property
    def stage(self) -> str: ...  # noqa: D102
    @property
    def share(self) -> float: ...  # noqa: D102
    @property
    def moving(self) -> bool: ...  # noqa: D102
    def cells(self) -> tuple[str, ...]: ...  # noqa: D102
    def describe(self) -> str: ...  # noqa: D102


class ProgressListener(Protocol):
    """Display of progress; called from stage threads about once a second."""

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Show where a stage stands."""
        ...


class EngineListener(Protocol):
    """Listener for news of engines; the run prints it."""

    def engine_event(self, model: str, text: str) -> None:
        """Tell what happened to an engine."""
        ...

    def engine_log(self, model: str, index: int, text: str) -> None:
        """Hand over the end of an engine's own log: once it is up, has died, and is to stop."""
        ...
