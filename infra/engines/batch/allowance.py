"""Says what a run's budget leaves to a model, and what a batch may take of it at most.

A batch is spent the moment it is sent, so it is held against the budget before: with every answer
as long as it may become.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from infra.protocol import Completion


@dataclass(frozen=True, slots=True)
class Claim:
    """Tokens that requests may take."""

    prompt_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: Claim) -> Claim:
        return Claim(
            self.prompt_tokens + other.prompt_tokens, self.output_tokens + other.output_tokens
        )

    def __sub__(self, other: Claim) -> Claim:
        return Claim(
            self.prompt_tokens - other.prompt_tokens, self.output_tokens - other.output_tokens
        )


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a budget; ``None`` is no bound. Prices are in USD per token."""

    tokens: int | None = None
    usd: float | None = None
    usd_per_prompt_token: float = 0.0
    usd_per_output_token: float = 0.0

    def holds(self, claim: Claim) -> bool:
        """Tell whether so much may be spent."""
        tokens = claim.prompt_tokens + claim.output_tokens
        usd = (
            claim.prompt_tokens * self.usd_per_prompt_token
            + claim.output_tokens * self.usd_per_output_token
        )
        within_tokens = self.tokens is None or tokens <= self.tokens
        return within_tokens and (self.usd is None or usd <= self.usd)

    def describe(self) -> str:
        """Return what is left, for a message."""
        tokens = f"{max(0, self.tokens):,} tokens" if self.tokens is not None else ""
        usd = f"{max(0.0, self.usd):.2f} USD" if self.usd is not None else ""
        return " and ".join(part for part in (tokens, usd) if part)


class Purse:
    """What an engine may still send, less what its batches under way may take.

    Answers are counted against the budget a little after they came: until two further allowances
    were heard of, they are held here as well.
    """

    def __init__(self) -> None:
        self._allowance: Allowance | None = None
        self._held = self._lately = self._before = Claim()

    @property
    def bounded(self) -> bool:
        """Tell whether there is any bound."""
        return self._allowance is not None

    @property
    def settled(self) -> bool:
        """Tell whether all that was answered is counted in what the budget leaves."""
        return self._lately == self._before == Claim()

    def allow(self, allowance: Allowance | None) -> None:
        """Take what the budget leaves now."""
        self._allowance = allowance
        self._before, self._lately = self._lately, Claim()

    def note(self, completion: Completion) -> None:
        """Remember what an answer took until the budget knows of it."""
        self._lately += Claim(completion.prompt_tokens, completion.completion_tokens)

    def take(self, claims: Sequence[Claim]) -> tuple[int, Claim]:
        """Return how many of some requests may be sent, in their order, and what they claim."""
        taken = Claim()
        besides = self._held + self._lately + self._before
        for count, claim in enumerate(claims):
            if self._allowance is not None and not self._allowance.holds(besides + taken + claim):
                return count, taken
            taken += claim
        return len(claims), taken

    @contextmanager
    def hold(self, claim: Claim) -> Iterator[None]:
        """Hold what a batch may take while it is under way."""
        self._held += claim
        try:
            yield
        finally:
            self._held -= claim

    def describe(self) -> str:
        """Return what the budget leaves."""
        return self._allowance.describe() if self._allowance is not None else "enough"
