"""Says what the rows are like: how long, in which languages, about what, how full profiles are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from infra.text.languages import detect_languages
from tasks.records import PROFILE_FIELDS
from tasks.reporting.charts import LengthLine, ShareBar
from tasks.reporting.figures import write_count
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.browser import spread_rows
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


@dataclass(frozen=True, slots=True)
class TextSample:
    """Some texts of one kind, and how many there are in all."""

    name: str
    texts: tuple[str, ...]
    total: int

    @property
    def note(self) -> str:
        """Say how many of how many."""
        told = write_count(self.total)
        few = len(self.texts) < self.total
        return f"{write_count(len(self.texts))} of {told}" if few else f"all {told}"


def list_lengths(nodes: RunNodes) -> tuple[LengthLine, ...]:
    """Return how many tokens each node's model generated for a row, asked again or not."""
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
            "generated tokens a row", "rows", "5 %", "25 %", "median", "75 %", "95 %", "most"
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
    """Return how many profiles fill each field, and how different what they say is.

    Characters of whom no field but a name is known, as brought ones may be, are left out.
    """
    names = [name for _, name in PROFILE_FIELDS]
    cast = nodes.read_columns("characters", *names)
    if cast.height:
        told = [pl.col(name) != "" for name in names if name != "name"]
        cast = cast.filter(pl.any_horizontal(told))
    if not cast.height:
        return ()
    filled = cast.select((pl.col(name) != "").mean() for name in names).row(0)
    different = cast.select(
        pl.col(name).filter(pl.col(name) != "").n_unique() / pl.len() for name in names
    ).row(0)
    note = f"{write_count(cast.height)} profiles"
    labels = [label for label, _ in PROFILE_FIELDS]
    return tuple(
        ShareGroup(title, note, tuple(map(ShareBar, labels, shares)))
        for title, shares in (
            ("Fields that say something", filled),
            ("Different values", different),
        )
    )


def sample_texts(nodes: RunNodes) -> tuple[TextSample, ...]:
    """Return personas, instructions and what characters say: some of each, evenly over all."""
    said = pl.col("turns").list.last().struct.field("content")
    asked = pl.col("turns").list.first().struct.field("content")
    kinds = (
        ("personas", ("personas",), "persona", pl.col("persona")),
        ("instructions", ("instructions",), "turns", asked),
        ("answers of characters", ("dialogues_",), "turns", said),
    )
    found = []
    for name, prefixes, column, text in kinds:
        frames = [nodes.read_columns(stage, column) for stage in nodes.list_stages(*prefixes)]
        texts = [frame.select(text.alias("text")) for frame in frames if frame.height]
        if texts:
            rows = pl.concat(texts)
            some = spread_rows(rows, _SAMPLED).get_column("text").fill_null("").to_list()
            found.append(TextSample(name, tuple(some), rows.height))
    return tuple(found)


def list_languages(samples: Iterable[TextSample]) -> tuple[ShareGroup, ...]:
    """Return the languages of each kind of texts."""
    return tuple(
        ShareGroup(f"Languages: {item.name}", item.note, _share_languages(item.texts))
        for item in samples
    )


def list_topics(samples: Iterable[TextSample]) -> tuple[ShareGroup, ...]:
    """Return the words that most texts of each kind share; none where words are not parted."""
    found = [(item, count_topics(item.texts, _TOPICS)) for item in samples]
    return tuple(
        ShareGroup(
            f"Words that most {item.name} share",
            item.note,
            tuple(ShareBar(word, rows / len(item.texts)) for word, rows in words),
        )
        for item, words in found
        if words
    )


def _measure_lengths(stage: str, frame: pl.DataFrame) -> LengthLine | None:
    tokens = frame.get_column("completion_tokens") if frame.width else pl.Series([], dtype=pl.Int64)
    tokens = tokens.drop_nulls()
    if not tokens.len() or not tokens.max():
        return None
    quantiles = tuple(float(tokens.quantile(share) or 0) for share in _QUANTILES)
    return LengthLine(name_stage(stage), tokens.len(), quantiles, int(str(tokens.max())))


def _share_languages(texts: Sequence[str]) -> tuple[ShareBar, ...]:
    found = detect_languages(texts, expected="en")
    if 2 * found.count("en") < len(found):
        found = detect_languages(texts)
    counts = Counter(language or _UNSURE for language in found)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = ranked[:_LANGUAGES]
    rest = sum(rows for _, rows in ranked[_LANGUAGES:])
    bars = [ShareBar(name, rows / len(texts)) for name, rows in shown]
    return (*bars, ShareBar("others", rest / len(texts))) if rest else tuple(bars)
