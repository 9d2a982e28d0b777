"""Says what the rows are like: how long, in which languages, about what, how full profiles are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from infra.text.languages import detect_languages
from tasks.records import PROFILE_FIELDS
from tasks.reporting.charts import LengthLine, ShareBar
from tasks.reporting.figures import write_count
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.making import name_stage
from tasks.reporting.tables import Cell, Row, Table, name_columns
from tasks.reporting.topics import count_topics

_SAMPLED = 2_000
"""Texts of a kind that languages and words are counted on, evenly over all of them."""

_TOPICS = 12
_LANGUAGES = 6
_MADE = ("characters", "dialogues_", "answers_")
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_UNSURE = "not told"


@dataclass(frozen=True, slots=True)
class ShareGroup:
    """Shares of one kind of rows; ``note`` says of how many."""

    title: str
    note: str
    bars: tuple[ShareBar, ...]


def list_lengths(nodes: RunNodes) -> tuple[LengthLine, ...]:
    """Return how many tokens a row of each node took its model, own rows left out."""
    return tuple(
        line
        for stage in nodes.list_stages(*_MADE)
        if nodes.manifests[stage].members is not None
        and (line := _measure_lengths(stage, nodes.read_columns(stage, "completion_tokens")))
    )


def build_length_table(lines: Sequence[LengthLine]) -> Table:
    """Return the quantiles of :func:`list_lengths`."""
    return Table(
        columns=name_columns(
            "tokens a row", "rows", "5 %", "25 %", "median", "75 %", "95 %", "most"
        ),
        rows=tuple(
            Row(
                line.name,
                tuple(
                    Cell(write_count(round(value)))
                    for value in (line.rows, *line.quantiles, line.most)
                ),
            )
            for line in lines
        ),
    )


def list_profile_shares(nodes: RunNodes) -> tuple[ShareGroup, ...]:
    """Return how many profiles fill each field, and how many different values it has.

    Characters that were brought with a profile of their own have no fields and are left out.
    """
    names = [name for _, name in PROFILE_FIELDS]
    cast = nodes.read_columns("characters", *names)
    if cast.height:
        cast = cast.filter(pl.any_horizontal(pl.col(name) != "" for name in names))
    if not cast.height:
        return ()
    found = cast.select(
        *((pl.col(name) != "").mean().alias(f"{name} filled") for name in names),
        *((pl.col(name).n_unique() / pl.len()).alias(f"{name} different") for name in names),
    ).row(0, named=True)
    note = f"{write_count(cast.height)} profiles"
    return tuple(
        ShareGroup(
            title,
            note,
            tuple(
                ShareBar(label, float(found[f"{name} {kind}"])) for label, name in PROFILE_FIELDS
            ),
        )
        for title, kind in (
            ("Fields that say something", "filled"),
            ("Different values", "different"),
        )
    )


def list_languages(nodes: RunNodes) -> tuple[ShareGroup, ...]:
    """Return the languages of personas, instructions and what characters say."""
    return tuple(
        ShareGroup(f"Languages: {name}", _tell_sample(texts, total), _share_languages(texts))
        for name, texts, total in _sample_texts(nodes)
    )


def list_topics(nodes: RunNodes) -> tuple[ShareGroup, ...]:
    """Return the words that most personas, instructions and answers share."""
    return tuple(
        ShareGroup(
            f"Words that most {name} share",
            _tell_sample(texts, total),
            tuple(ShareBar(word, rows / len(texts)) for word, rows in count_topics(texts, _TOPICS)),
        )
        for name, texts, total in _sample_texts(nodes)
    )


def _measure_lengths(stage: str, frame: pl.DataFrame) -> LengthLine | None:
    tokens = frame.get_column("completion_tokens") if frame.width else pl.Series([], dtype=pl.Int64)
    tokens = tokens.drop_nulls()
    if not tokens.len() or not tokens.max():
        return None
    quantiles = tuple(float(tokens.quantile(share) or 0) for share in _QUANTILES)
    return LengthLine(name_stage(stage), tokens.len(), quantiles, int(str(tokens.max())))


def _sample_texts(nodes: RunNodes) -> Iterator[tuple[str, list[str], int]]:
    """Yield the kinds of texts by name, a sample of each, and how many there are."""
    said = pl.col("turns").list.last().struct.field("content")
    asked = pl.col("turns").list.first().struct.field("content")
    kinds = (
        ("personas", ("personas",), "persona", pl.col("persona")),
        ("instructions", ("instructions",), "turns", asked),
        ("answers of characters", ("dialogues_",), "turns", said),
    )
    for name, prefixes, column, text in kinds:
        frames = [nodes.read_columns(stage, column) for stage in nodes.list_stages(*prefixes)]
        filled = [frame for frame in frames if frame.height]
        if filled:
            rows = pl.concat(filled)
            taken = rows if rows.height <= _SAMPLED else rows.gather_every(rows.height // _SAMPLED)
            texts = taken.head(_SAMPLED).select(text.alias("text")).get_column("text")
            yield name, texts.fill_null("").to_list(), rows.height


def _tell_sample(texts: Sequence[str], total: int) -> str:
    told = write_count(total)
    return f"{write_count(len(texts))} of {told}" if len(texts) < total else f"all {told}"


def _share_languages(texts: Sequence[str]) -> tuple[ShareBar, ...]:
    counts = Counter(language or _UNSURE for language in detect_languages(texts))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ranked[:_LANGUAGES]
    rest = sum(rows for _, rows in ranked[_LANGUAGES:])
    bars = [ShareBar(name, rows / len(texts)) for name, rows in shown]
    return (*bars, ShareBar("others", rest / len(texts))) if rest else tuple(bars)
