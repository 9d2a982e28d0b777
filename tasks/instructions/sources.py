"""Reads conversations from the data sets that the configuration names, and checks them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

from infra.errors import ConfigError, Problem, Reject
from infra.input.row_input import (
    SUFFIXES,
    BadRow,
    RawRow,
    check_rows,
    digest_rows,
    peek_rows,
    read_rows,
)
from infra.store.fingerprints import hash_json, hash_parts
from infra.text.languages import known_languages
from tasks.instructions.config import InstructionConfig, InstructionSource
from tasks.instructions.formats import CORPORA, QUESTIONS, find_format, fold_name, read_row
from tasks.records import Turn

_COLUMNS: dict[str, tuple[str, ...]] = {
    "alpaca": ("instruction",),
    "lima": ("conversations", "conversation", "dialogue", "dialog"),
    "persona_hub": ("synthesized_text",),
    "messages": ("messages", "message", "chat", "turns", "contents", "utterances"),
    "pairs": (*QUESTIONS, "chosen"),
}  # fmt: skip
_SHOWN_CHARS = 160


@dataclass(frozen=True, slots=True)
class RawConversation:
    """Conversation of one row, or why there is none.

    Attributes:
        origin: ``file name:line``.
        corpus: The paper's question source.
        turns: User first, roles alternating; or the typed reason why the row has none.
        place: Which of the configured sources the row is of, from 0.
        left_out: What of the row was not read: ``column NAME``, or a kind of turn.
    """

    origin: str
    corpus: str
    turns: tuple[Turn, ...] | Reject
    place: int = 0
    left_out: frozenset[str] = frozenset()

    @property
    def row_id(self) -> str:
        """Return ``file stem:line``, the first half of a question's id."""
        name, _, line = self.origin.rpartition(":")
        return f"{_cut_suffix(name)}:{line}"


@lru_cache(maxsize=1_024)
def _cut_suffix(name: str) -> str:
    lower = name.lower()
    suffix = max((s for s in SUFFIXES if lower.endswith(s)), key=len, default="")
    return name[: len(name) - len(suffix)]


def read_conversations(config: InstructionConfig) -> Iterator[RawConversation]:
    """Read every row of every source, unreadable ones included.

    Raises :class:`ConfigError` for a file that cannot be read as a whole.
    """
    for place, source in enumerate(config.sources):
        yield from read_source(source, place)


def read_source(source: InstructionSource, place: int = 0) -> Generator[RawConversation]:
    """Read every row of one source."""
    for row in read_rows(source.rows):
        yield _read_row(row, source, place)


def check_instruction_sources(config: InstructionConfig) -> list[Problem]:
    """Find what would keep instructions from being read, by a peek at the first rows."""
    problems: list[Problem] = []
    if not config.sources and not config.synthesis.count:
        problems.append(
            Problem(
                "instructions.sources",
                "there is nothing to ask: no sources, and synthesis is off",
                "name a data set, or set instructions.synthesis.count",
            )
        )
    for index, source in enumerate(config.sources):
        problems.extend(_check_source(source, f"instructions.sources[{index}]"))
    if config.min_chars > config.max_chars:
        what = f"{config.min_chars} is more than max_chars, {config.max_chars}"
        problems.append(Problem("instructions.min_chars", what, "lower it"))
    for key, language in (
        ("instructions.language", config.language),
        ("instructions.synthesis.language", config.synthesis.language),
    ):
        if language is not None and language not in known_languages():
            known = ", ".join(sorted(known_languages()))
            what = f"{language!r} cannot be told from other languages"
            problems.append(Problem(key, what, f"one of {known}, or null for no filter"))
    return problems


def digest_instruction_sources(config: InstructionConfig) -> list[str]:
    """Return a digest of each input file together with what its source's settings make of it.

    The file's name is part of it, because the ids of its questions begin with it.
    """
    return [
        hash_parts(
            source.format,
            source.corpus or "",
            stat.path.rsplit("/", 1)[-1],
            digest,
            *([hash_json(source.columns.model_dump())] if source.columns else ()),
        )
        for source in config.sources
        for stat, digest in digest_rows(source.rows)
    ]


def list_licences(config: InstructionConfig) -> dict[str, str]:
    """Return the licence of each corpus whose source names one."""
    licences: dict[str, str] = {}
    for source in config.sources:
        if source.licence is None:
            continue
        corpus = source.corpus or _find_corpus(source)
        if corpus is not None:
            licences[corpus] = source.licence
    return licences


def _find_corpus(source: InstructionSource) -> str | None:
    if source.format != "auto":
        return CORPORA[source.format]
    formats = (find_format(row.values) for row in peek_rows(source.rows).rows)
    found = next((format for format in formats if format is not None), None)
    return CORPORA[found] if found else "pairs" if source.columns else None


def _check_source(source: InstructionSource, key: str) -> Iterator[Problem]:
    peek, problems = check_rows(source.rows, key)
    yield from problems
    if not peek.rows:
        return
    where, found = f"{key} ({source.path})", ", ".join(map(str, peek.columns))
    if source.columns is not None:
        missing = [name for name in source.columns.names if name not in peek.columns]
        if missing:
            what = f"has no column {missing[0]!r}; it has {found}"
            yield Problem(where, what, f"name one of them in {key}.columns")
            return
    elif source.format == "auto":
        if not any(find_format(row.values) for row in peek.rows):
            known = "; ".join(f"{name}: {cols[0]}" for name, cols in _COLUMNS.items())
            todo = f"known: {known}; or name its columns: {key}.columns={{question: …, answer: …}}"
            yield Problem(where, f"is in no known format; its columns: {found}", todo)
            return
    elif not {fold_name(column) for column in peek.columns} & set(_COLUMNS[source.format]):
        yield Problem(
            where,
            f"has no column {_COLUMNS[source.format][0]!r}; it has {found}",
            f"is the format {source.format}? leave it out to have it told by the values",
        )
        return
    yield from _check_yield(source, where)


def _check_yield(source: InstructionSource, where: str) -> Iterator[Problem]:
    """Look for a row that can be read: of a source without one every row would fall."""
    fallen: Counter[str] = Counter()
    shown: dict[str, str] = {}
    try:
        with closing(read_source(source)) as rows:
            for row in rows:
                if not isinstance(row.turns, Reject):
                    return
                fallen[row.turns.reason] += 1
                shown.setdefault(row.turns.reason, f"{row.origin}: {row.turns.detail}")
    except ConfigError as error:
        yield from (
            Problem(where, f"{item.where}: {item.what}", item.todo) for item in error.problems
        )
        return
    reasons = "; ".join(
        f"{count:,} × {reason} ({shown[reason][:_SHOWN_CHARS]})"
        for reason, count in fallen.most_common(3)
    )
    what = f"none of its {fallen.total():,} rows can be read: {reasons}"
    yield Problem(where, what, "fix it, or name its columns: columns={question: …, answer: …}")


def _read_row(row: RawRow | BadRow, source: InstructionSource, place: int) -> RawConversation:
    format = source.format
    if isinstance(row, BadRow):
        corpus = source.corpus or CORPORA.get(format, "")
        return RawConversation(row.origin, corpus, Reject("malformed", row.detail), place)
    found = format if format != "auto" else find_format(row.values)
    if source.columns is not None:
        found = found or "pairs"
    if found is None:
        columns = ", ".join(map(str, row.values)) or "none"
        detail = f"no known format; columns: {columns}"
        return RawConversation(row.origin, source.corpus or "", Reject("malformed", detail), place)
    reading = read_row(row.values, found, source.columns)
    corpus = source.corpus or CORPORA[found]
    if isinstance(reading.talk, Reject):
        return RawConversation(row.origin, corpus, reading.talk, place)
    filled = {str(name) for name, value in row.values.items() if value not in (None, "", [], {})}
    unread = frozenset(f"column {name}" for name in filled - reading.used)
    left_out = reading.talk.left_out | unread
    return RawConversation(row.origin, corpus, reading.talk.turns, place, left_out)
