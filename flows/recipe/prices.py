"""Says what tokens and engine hours cost, for plans beforehand and budgets while a run goes on."""

from __future__ import annotations

from flows.recipe.settings import Settings

_MILLION = 1_000_000


def price_engine_hour(settings: Settings) -> float | None:
    """Return the price in USD of an hour of one engine or rank; ``None`` if nothing says it."""
    own = settings.plan.usd_per_engine_hour
    return own if own is not None else settings.report.usd_per_engine_hour


def price_tokens(settings: Settings, role: str, prompts: int, outputs: int) -> float | None:
    """Return what an endpoint charges in USD for tokens; ``None`` if nothing says it."""
    price = settings.plan.usd_per_million_tokens.get(role)
    if price is None:
        return None
    return (prompts * price.prompt + outputs * price.output) / _MILLION
