"""Gives every recipe, row and node a name that moves exactly when its content would.

* Recipe key = hash of a stage's name, version and identity knobs.
* Row key = hash(recipe key, the parents' row keys, sample index): keys follow lineage, never
  generated text. Root rows are keyed by their canonical content.
* Node fingerprint = hash(recipe key, selection knobs, upstream fingerprints, source digests).
* Seeds = hash(run seed, row key, call, attempt), so a row depends on no order and no worker.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

KEY_BYTES = 16


def hash_parts(*parts: str) -> str:
    """Hash strings to 32 hex digits; lengths are hashed too, so that no two lists collide."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """Hash plain JSON data; the order of keys in mappings does not matter."""
    return hash_parts(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def recipe_key(stage: str, version: int, identity: Mapping[str, Any]) -> str:
    """Name a stage's recipe: what it is called, how it works, and the knobs that change rows."""
    return hash_parts(stage, str(version), hash_json(identity))


def row_key(recipe: str, parents: Sequence[str], sample: int = 0) -> str:
    """Name a row by its lineage."""
    return hash_parts(recipe, *parents, str(sample))


def content_key(kind: str, *content: str) -> str:
    """Name a root row (persona, instruction) by its canonical content."""
    return hash_parts(kind, *content)


def node_fingerprint(
    recipe: str,
    selection: Mapping[str, Any],
    upstream: Sequence[str],
    sources: Sequence[str] = (),
) -> str:
    """Name a node before it runs, from all that decides its output.

    ``sources`` are digests of input files; their order does not matter.
    """
    return hash_parts(recipe, hash_json(selection), *upstream, *sorted(sources))


def request_seed(run_seed: int, key: str, call: int, attempt: int) -> int:
    """Return the sampling seed of one request: 31 bits, because engines take signed ints."""
    return int(hash_parts(str(run_seed), key, str(call), str(attempt))[:8], 16) & 0x7FFFFFFF
