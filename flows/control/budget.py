"""Keeps a run within a budget: counts what it spends, and stops it in order when that is enough."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from flows.recipe.prices import price_engine_hour, price_tokens
from flows.recipe.settings import BudgetConfig, Settings
from infra.context import Listener, RunContext
from infra.engines.batch.allowance import Allowance
from infra.errors import InterruptedRun
from infra.progress import JobProgress, Progress, StageProgress

_HOUR_S = 3600
_RANKS = "training"


@dataclass(frozen=True)
class Spent:
    """What a run has spent since it was started, or started again."""

    tokens: int
    hours: float
    usd: float

    def find_excess(self, budget: BudgetConfig) -> str | None:
        """Say which bound is reached, as key, figure and bound; ``None`` while none is."""
        if budget.max_tokens is not None and self.tokens >= budget.max_tokens:
            return f"budget.max_tokens: {self.tokens:,} of {budget.max_tokens:,} tokens"
        if budget.max_hours is not None and self.hours >= budget.max_hours:
            return f"budget.max_hours: {self.hours:.2f} of {budget.max_hours:g} hours"
        if budget.max_cost is not None and self.usd >= budget.max_cost:
            return f"budget.max_cost: {self.usd:.2f} of {budget.max_cost:g} USD"
        return None


@dataclass
class BudgetGuard(Listener):
    """Listener that tells a run to stop once a bound of its budget is reached.

    ``reached`` says which, and is ``None`` until then.
    """

    settings: Settings
    reached: str | None = None
    _context: RunContext | None = None
    _began: float = field(default_factory=time.monotonic)
    _stages: dict[int, StageProgress] = field(default_factory=dict)
    _ranks: tuple[float, float] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run_started(self, name: str, context: RunContext) -> None:
        """Keep the context, whose engines cost and whom to tell."""
        self._context = context

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Add up what was spent, and stop the run if that is enough."""
        with self._lock:
            now = time.monotonic()
            if isinstance(progress, StageProgress):
                self._stages[id(progress)] = progress
            elif isinstance(progress, JobProgress) and progress.stage == _RANKS:
                self._ranks = (self._ranks or (now, now))[0], now
            excess = self.count(now).find_excess(self.settings.budget)
            if excess is not None and self.reached is None and self._context is not None:
                self.reached = excess
                self._context.stop.set()

    def engine_event(self, model: str, text: str) -> None:
        """Ignore it: engines are asked how long they have been up."""

    def find_allowance(self, model: str) -> Allowance | None:
        """Return what the bounds on tokens and cost leave to a model that spends ahead."""
        budget = self.settings.budget
        if budget.max_tokens is None and budget.max_cost is None:
            return None
        with self._lock:
            spent = self.count(time.monotonic())
        return Allowance(
            tokens=None if budget.max_tokens is None else budget.max_tokens - spent.tokens,
            usd=None if budget.max_cost is None else budget.max_cost - spent.usd,
            usd_per_prompt_token=price_tokens(self.settings, model, 1, 0) or 0.0,
            usd_per_output_token=price_tokens(self.settings, model, 0, 1) or 0.0,
        )

    @contextmanager
    def explain_stop(self) -> Iterator[None]:
        """Name the budget where a run was stopped by it, and nobody else."""
        try:
            yield
        except InterruptedRun as error:
            if self.reached is None:
                raise
            raise InterruptedRun(f"budget reached, {self.reached}; {error}") from error

    def count(self, now: float) -> Spent:
        """Return what was spent until now, a moment of the monotonic clock."""
        engines_s = self._context.engine_seconds() if self._context is not None else 0.0
        if self._ranks is not None and self._context is not None:
            began, last = self._ranks
            engines_s += self._context.ranks * (last - began)
        usd = engines_s / _HOUR_S * (price_engine_hour(self.settings) or 0.0)
        tokens = 0
        for stage in self._stages.values():
            tokens += stage.prompt_tokens + stage.completion_tokens
            if self._is_endpoint(stage.model):
                spent = (stage.prompt_tokens, stage.completion_tokens)
                usd += price_tokens(self.settings, stage.model, *spent) or 0.0
        waited_s = self._context.waited_s if self._context is not None else 0.0
        return Spent(tokens, (now - self._began - waited_s) / _HOUR_S, usd)

    def _is_endpoint(self, role: str) -> bool:
        model = self.settings.models.get(role)
        return model is not None and model.engine == "endpoint"
