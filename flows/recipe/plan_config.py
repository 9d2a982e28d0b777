"""Declares what a plan is told: prices, rates where none was measured, and where sources are got.

Nothing here changes a row; a run reads only where a missing source is to be got.
"""

from __future__ import annotations

from infra.knobs import Knobs, execution, group


class TokenPrice(Knobs):
    """Price that an endpoint charges, in USD a million tokens."""

    prompt: float = execution(ge=0, description="USD a million prompt tokens")
    output: float = execution(ge=0, description="USD a million tokens of the answer")


class SourceNote(Knobs):
    """Input that is got by hand: a plan goes without missing rows, but not without a model."""

    path: str = execution(min_length=1, description="Where the configuration expects it")
    get: str = execution(min_length=1, description="Where it is got, told when it is missing")
    rows: int = execution(1, ge=1, description="Rows it gives, for a plan without it")
    words: int = execution(25, ge=1, description="Words of a row's question or persona, about")
    answer_words: int = execution(60, ge=1, description="Words of a row's answer, about")


class PlanConfig(Knobs):
    """Knobs of a plan: what it estimates with where nothing was measured."""

    tokens_per_s: dict[str, float] = execution(
        {}, description="Output tokens that one engine makes a second, by role"
    )
    training_tokens_per_s: float | None = execution(
        None, gt=0, description="Tokens that one rank learns from a second"
    )
    answer_share: float = execution(
        0.5, gt=0, le=1, description="Share of max_new_tokens that an answer takes, about"
    )
    usd_per_engine_hour: float | None = execution(
        None,
        ge=0,
        description="Price in USD of an hour of what one engine, or one rank, runs on; None takes"
        " the report's",
    )
    usd_per_million_tokens: dict[str, TokenPrice] = group(
        {}, description="What endpoints charge, by role"
    )
    sources: dict[str, SourceNote] = group(
        {}, description="Inputs that are downloaded by hand, under any name"
    )
