"""Tells which texts may go round in circles, all texts of a batch at once.

Words become numbers, the words of all texts one long array, and what comes again in it is found by
sorting. A text in which too little comes again has no loop, and :func:`find_loop` need not look.
"""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt
import polars as pl

from infra.text.loops import MARKER, SIGNS, SQUEEZED, SQUEEZED_BYTES

_PIECE = "\\w+(?:['\u2019]\\w+)?|[.!?\n]"
_SENTENCE_ENDS = (".", "!", "?", "\n")
_MOST_DISTANCE = 240
_LEAST_SHARED = 4
"""Words that at least are those two before, where one or two words are a loop."""

_SENTENCE_WORDS = 4
_ODD = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)
"""What numbers of words are multiplied with, by place: sums of different words differ."""

_Codes = npt.NDArray[np.uint64]
_Places = npt.NDArray[np.int64]
_Flags = npt.NDArray[np.bool_]


def may_loop(texts: pl.Series) -> _Flags:
    """Tell of plain texts without code whether a loop is possible, shape ``(texts,)``.

    False is certain: :func:`~infra.text.loops.find_loop` would find nothing.
    """
    column = pl.col("text")
    normal = column.str.replace_all("\u2026", "...", literal=True)
    folded = normal.str.replace_all(f"(?m){MARKER}", "").str.to_lowercase()
    frame = pl.select(text=texts).select(signs=column.str.contains(SIGNS), folded=folded)
    frame = frame.with_columns(pieces=pl.col("folded").str.extract_all(_PIECE))
    pieces = frame["pieces"]
    flat = pieces.explode(empty_as_null=False)
    ends = flat.is_in(_SENTENCE_ENDS).to_numpy()
    owners = np.repeat(np.arange(len(texts)), pieces.list.len().to_numpy())
    sentences = (np.cumsum(ends) + owners)[~ends]
    codes, owners = flat.hash().to_numpy()[~ends], owners[~ends]
    found = frame["signs"].to_numpy().copy()
    found |= _come_at_once(codes, owners, len(texts))
    found |= _come_back(codes, owners, sentences, len(texts))
    long = (frame["folded"].str.len_bytes() >= SQUEEZED_BYTES).to_numpy()
    places = np.flatnonzero(~found & long)
    for place, text in zip(places.tolist(), frame["folded"].gather(places), strict=True):
        data = text.encode()
        found[place] = len(data) > SQUEEZED * len(zlib.compress(data, 6))
    return found


def _come_at_once(codes: _Codes, owners: _Places, count: int) -> _Flags:
    """Tell of each text whether it may have a unit of words that comes again at once.

    All of such a unit comes again as far on as it is long, and of three words or more all its runs
    of three.
    """
    places = np.flatnonzero(codes[2:] == codes[:-2])
    inside = places[owners[places] == owners[places + 2]]
    found = np.bincount(owners[inside], minlength=count) >= _LEAST_SHARED
    runs = codes[:-2] * _ODD[0] + codes[1:-1] * _ODD[1] + codes[2:]
    runs += owners[:-2].astype(np.uint64) * _ODD[2]
    places = np.flatnonzero(pl.Series(runs).is_duplicated().to_numpy())
    places = places[np.argsort(runs[places], kind="stable")]
    runs, owners = runs[places], owners[places]
    pairs = []
    for step in range(1, _MOST_DISTANCE + 1):
        same = runs[step:] == runs[:-step]
        if not same.any():
            break
        apart = (places[step:] - places[:-step])[same]
        near = apart <= _MOST_DISTANCE
        pairs.append(owners[step:][same][near] * (_MOST_DISTANCE + 1) + apart[near])
    if pairs:
        named, shared = np.unique(np.concatenate(pairs), return_counts=True)
        distances = named % (_MOST_DISTANCE + 1)
        found[named[(distances > 2) & (shared >= distances - 2)] // (_MOST_DISTANCE + 1)] = True
    return found


def _come_back(codes: _Codes, owners: _Places, sentences: _Places, count: int) -> _Flags:
    """Tell of each text whether its sentences may come back often enough."""
    if not len(codes):
        return np.zeros(count, dtype=bool)
    starts = np.flatnonzero(np.diff(sentences, prepend=-1))
    lengths = np.diff(starts, append=len(codes))
    ordinals = (np.arange(len(codes)) - np.repeat(starts, lengths)).astype(np.uint64)
    names = np.add.reduceat(codes * (2 * ordinals + 1), starts)
    long = lengths >= _SENTENCE_WORDS
    owners = owners[starts][long]
    names = names[long] + owners.astype(np.uint64) * _ODD[2]
    _, first, copies = np.unique(names, return_index=True, return_counts=True)
    total = np.bincount(owners, minlength=count)
    distinct = np.bincount(owners[first], minlength=count)
    often = np.zeros(count, dtype=bool)
    often[owners[first[copies >= 5]]] = True
    return often | ((total >= 6) & (2 * distinct <= total))
