"""Counts why rows failed, so that one cause is one line however its messages differ."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_REQUEST = re.compile(r"^request \S+: ")
_OWN_TO_ONE = re.compile(
    r"\b(?:[0-9a-f]{8}-[0-9a-f-]{27}|(?=[A-Za-z0-9_-]*\d)[A-Za-z]{2,6}[_-][A-Za-z0-9_-]{6,}"
    r"|(?=[0-9a-f]*\d)[0-9a-f]{8,}|\d+(?:\.\d+)?)\b"
)
_MOST_CHARS = 500


def count_reasons(messages: Iterable[str], most: int = 3) -> list[tuple[str, int]]:
    """Return the commonest reasons with their counts, the commonest first.

    Messages that differ only in the names of requests, times and numbers are one reason; the
    first of them is shown.
    """
    counts: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for message in messages:
        text = _REQUEST.sub("", message)[:_MOST_CHARS]
        kind = _OWN_TO_ONE.sub("#", text)
        counts[kind] += 1
        shown.setdefault(kind, text)
    return [(shown[kind], count) for kind, count in counts.most_common(most)]
