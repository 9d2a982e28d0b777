"""Collects the rows that a set stage leaves out, and stops one that takes too few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from infra.errors import YieldError
from infra.store.fingerprints import content_key
from tasks.records import Rejection

_DETAIL_CHARS = 600
_SHOWN_CHARS = 160


class RejectionList:
    """List of rejections; which key a row gets depends on no order of equal rows."""

    def __init__(self, kind: str) -> None:
        self._kind = f"rejected {kind}"
        self._rows: list[Rejection] = []
        self._seen: Counter[tuple[str, str]] = Counter()

    def add_row(self, reason: str, detail: str, source: str, *, content: str) -> None:
        """Add a row that has no key, or whose key another row has; equal ones are counted."""
        self._seen[reason, content] += 1
        key = content_key(self._kind, reason, content, str(self._seen[reason, content]))
        self.add_keyed(key, reason, detail, source)

    def add_keyed(self, key: str, reason: str, detail: str, source: str) -> None:
        """Add a row under the key it would have had as a record."""
        self._rows.append(Rejection(key, reason, _shorten(detail), source))

    def collect(self) -> tuple[Rejection, ...]:
        """Return the rejections sorted by key."""
        return tuple(sorted(self._rows, key=lambda row: row.key))


def _shorten(text: str) -> str:
    """Return the start of a text, fit to be stored: broken characters become ``?``."""
    shown = text if len(text) <= _DETAIL_CHARS else f"{text[:_DETAIL_CHARS]}…"
    return shown.encode("utf-8", "replace").decode()


def check_brought_yield(
    source: str,
    min_yield: float,
    *,
    accepted: int,
    rejected: Sequence[Rejection],
    apart: Collection[str] = (),
) -> None:
    """Raise :class:`YieldError` if too few of the rows that a person brings could be taken.

    Rows of the reasons ``apart`` were not asked for, so they do not count.
    """
    reasons = Counter(row.reason for row in rejected)
    counted = [row for row in rejected if row.reason not in apart]
    rows = accepted + len(counted)
    if accepted and (not rows or accepted / rows >= min_yield):
        return
    told = ", ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common(4))
    shown = "".join(
        f"\n  {row.source}: {row.reason}: {row.detail[:_SHOWN_CHARS]}"
        for row in (counted or rejected)[:3]
    )
    raise YieldError(
        f"{source}: {accepted:,} of {rows:,} rows could be taken, below its min_yield of"
        f" {min_yield:.0%}: {told or 'it holds no rows'}.{shown}\nMend the rows, or lower"
        " min_yield."
    )
