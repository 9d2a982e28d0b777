"""Holds characters out for validation, so that no validation character was ever trained on."""

from __future__ import annotations

from collections.abc import Iterable

from infra.store.fingerprints import hash_parts


def choose_validation(
    persona_keys: Iterable[str], *, share: float, least: int, seed: int
) -> frozenset[str]:
    """Return the held-out persona keys: the share with the smallest hash(seed, persona).

    The choice follows the persona, so a character written anew stays where it was, and added
    personas displace only as many as the share grows by or they themselves outrank. One persona
    at least is left for training.
    """
    personas = set(persona_keys)
    if share <= 0:
        return frozenset()
    count = min(max(round(share * len(personas)), least), len(personas) - 1)
    ranked = sorted(personas, key=lambda key: (hash_parts("split", str(seed), key), key))
    return frozenset(ranked[:count])
