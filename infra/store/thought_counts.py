"""Counts in the parts of a row stage how many rows were thought about, and in how many tokens.

The sums stand in each part's own metadata, for the rows have no place for them: a run that was
killed and goes on still knows. Of thoughts nothing else is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from infra.store.manifests import PartRef
from infra.store.parquet_reads import read_metadata
from infra.store.storage import FileStat, Storage

_KEY = b"opencharacter.thoughts"


@dataclass(frozen=True, slots=True)
class ThoughtCount:
    """Sum over rows: those with a thought, and the tokens of all their thoughts."""

    rows: int = 0
    tokens: int = 0

    def __add__(self, other: ThoughtCount) -> ThoughtCount:
        return ThoughtCount(self.rows + other.rows, self.tokens + other.tokens)

    def write(self) -> dict[bytes, bytes]:
        """Return the metadata of a part; none where nobody thought."""
        if not self.rows:
            return {}
        return {_KEY: json.dumps({"rows": self.rows, "tokens": self.tokens}).encode()}


def read_count(metadata: Mapping[bytes, bytes] | None) -> ThoughtCount:
    """Return what a part's metadata says."""
    found = (metadata or {}).get(_KEY)
    return ThoughtCount(**json.loads(found)) if found else ThoughtCount()


def describe_thoughts(storage: Storage, parts: Iterable[PartRef]) -> dict[str, dict[str, int]]:
    """Return the fact of a manifest: the sums over its parts, nothing where nobody thought."""
    stats = (FileStat(part.path, part.size, part.token) for part in parts)
    whole = sum((read_count(read_metadata(storage, stat)) for stat in stats), ThoughtCount())
    return {"thoughts": {"rows": whole.rows, "tokens": whole.tokens}} if whole.rows else {}
