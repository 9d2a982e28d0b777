"""Reads conversations from the data sets that the configuration names, and checks them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from infra.errors import Problem, Reject
from infra.fingerprints import hash_parts
from infra.languages import known_languages
from infra.row_input import (
    SUFFIXES,
    BadRow,
    RawRow,
    check_columns,
    digest_rows,
    read_columns,
    read_rows,
)
from tasks.instructions.config import InstructionConfig, InstructionSource
from tasks.instructions.formats import CORPORA, find_format, read_conversation
from tasks.records import Turn

_COLUMNS = {
    "alpaca": ("instruction",),
    "lima": ("conversations",),
    "persona_hub": ("synthesized text", "synthesized_text"),
    "messages": ("messages",),
}


@dataclass(frozen=True, slots=True)
class RawConversation:
    """Is the conversation of one row, or why there is none.

    Attributes:
        origin: ``file name:line``.
        corpus: The paper's question source.
        turns: User first, roles alternating; or the typed reason why the row has none.
    """

    origin: str
    corpus: str
    turns: tuple[Turn, ...] | Reject

    @property
    def row_id(self) -> str:
        """Return ``file stem:line``, the first half of a question's id."""
        name, _, line = self.origin.rpartition(":")
        lower = name.lower()
        suffix = max((s for s in SUFFIXES if lower.endswith(s)), key=len, default="")
        return f"{name[: len(name) - len(suffix)]}:{line}"


def read_conversations(config: InstructionConfig) -> Iterator[RawConversation]:
    """Read every row of every source, unreadable ones included.

    Raises :class:`OSError` or :class:`ValueError` for a file that cannot be read as a whole.
    """
    for source in config.sources:
        for row in read_rows(source.path):
            yield _read_row(row, source)


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
        hash_parts(source.format, source.corpus or "", stat.path.rsplit("/", 1)[-1], digest)
        for source in config.sources
        for stat, digest in digest_rows(source.path)
    ]


def list_licences(config: InstructionConfig) -> dict[str, str]:
    """Return the licence of each corpus whose source names one."""
    licences: dict[str, str] = {}
    for source in config.sources:
        if source.licence is None:
            continue
        found = find_format(read_columns(source.path)) if source.format == "auto" else source.format
        corpus = source.corpus or (CORPORA[found] if found else None)
        if corpus is not None:
            licences[corpus] = source.licence
    return licences


def _check_source(source: InstructionSource, key: str) -> Iterator[Problem]:
    columns, problems = check_columns(source.path, key)
    yield from problems
    if not columns:
        return
    where, found = f"{key} ({source.path})", ", ".join(columns)
    if source.format == "auto":
        if find_format(columns) is None:
            known = "; ".join(f"{name}: {cols[0]}" for name, cols in _COLUMNS.items())
            yield Problem(where, f"is in no known format; its columns: {found}", f"known: {known}")
    elif not any(column in columns for column in _COLUMNS[source.format]):
        yield Problem(
            where,
            f"has no column {_COLUMNS[source.format][0]!r}; it has {found}",
            f"is the format {source.format}? leave it out to have it told by the columns",
        )


def _read_row(row: RawRow | BadRow, source: InstructionSource) -> RawConversation:
    format = source.format
    if isinstance(row, BadRow):
        corpus = source.corpus or CORPORA.get(format, "")
        return RawConversation(row.origin, corpus, Reject("malformed", row.detail))
    if format == "auto":
        found = find_format(row.values)
        if found is None:
            columns = ", ".join(map(str, row.values)) or "none"
            detail = f"no known format; columns: {columns}"
            return RawConversation(row.origin, source.corpus or "", Reject("malformed", detail))
        format = found
    return RawConversation(
        row.origin, source.corpus or CORPORA[format], read_conversation(row.values, format)
    )
