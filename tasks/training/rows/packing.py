"""Packs documents into rows of ``max_length`` tokens, best fit decreasing.

The longest document goes first, each into the fullest row that still holds it. Ties are broken
by a seeded hash of the keys, and so is the order of the finished rows, so the packing follows
from the set of documents and the seed, from no order of input, and is not sorted by length.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.store.fingerprints import hash_parts


@dataclass(frozen=True, slots=True)
class Document:
    """What packing needs to know of an example: its key, its length in tokens, its place.

    ``place`` is whatever finds it again, such as its index in a file.
    """

    key: str
    tokens: int
    place: int


@dataclass(frozen=True, slots=True)
class Packing:
    """Which documents lie in which row.

    ``padding_share`` is the share of ``rows × max_length`` tokens that no document fills.
    """

    rows: tuple[tuple[Document, ...], ...]
    padding_share: float


def pack_documents(
    documents: Iterable[Document], *, max_length: int, seed: int, packing: bool = True
) -> Packing:
    """Fill rows of at most ``max_length`` tokens; without ``packing``, one document a row.

    Takes O(n log n) comparisons. Raises :class:`ValueError` for a document longer than a row.
    """
    ranked = sorted(
        ((-item.tokens, hash_parts("document", str(seed), item.key), item) for item in documents),
        key=lambda ranked: ranked[:2],
    )
    ordered = [item for _, _, item in ranked]
    if ordered and ordered[0].tokens > max_length:
        raise ValueError(f"document {ordered[0].key} is longer than {max_length} tokens")
    rows = _fit(ordered, max_length) if packing else [[item] for item in ordered]
    rows.sort(key=lambda row: hash_parts("row", str(seed), *(item.key for item in row)))
    filled = sum(item.tokens for item in ordered)
    room = len(rows) * max_length
    return Packing(tuple(map(tuple, rows)), 1 - filled / room if room else 0.0)


def _fit(ordered: Sequence[Document], max_length: int) -> list[list[Document]]:
    rows: list[list[Document]] = []
    open_rows: dict[int, list[int]] = {}  # room left -> the rows with that much
    rooms: list[int] = []  # the rooms that any row has, ascending
    for item in ordered:
        found = bisect_left(rooms, item.tokens)
        if found == len(rooms):
            row, room = len(rows), max_length
            rows.append([])
        else:
            room = rooms[found]
            row = open_rows[room].pop()
            if not open_rows[room]:
                del open_rows[room], rooms[found]
        rows[row].append(item)
        left = room - item.tokens
        if left and left not in open_rows:
            open_rows[left] = []
            insort(rooms, left)
        if left:
            open_rows[left].append(row)
    return rows
