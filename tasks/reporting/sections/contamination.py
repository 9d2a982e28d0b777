"""Counts how much of what a run evaluates on was trained on, whatever curation kept out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from tasks.decontamination import MIN_WORDS, RUN_WORDS, SIMILARITY, QuestionIndex, find_hits
from tasks.reporting.figures import write_count
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.tables import Cell, Column, Row, Table, name_columns


@dataclass(frozen=True, slots=True)
class Contamination:
    """Count of the training rows that give away some of what a run evaluates on.

    Attributes:
        what: What is evaluated on, for people.
        texts: How many different ones there are.
        rows: Training rows.
        shared: Rows that share ``words`` words in a row with one.
        alike: Further rows that hold a shorter one whole, or nearly equal one.
        words: Length of a run that counts.
    """

    what: str
    texts: int
    rows: int
    shared: int
    alike: int
    words: int


def count_contamination(nodes: RunNodes) -> tuple[Contamination, ...]:
    """Count it for the questions of the run's suite, of held-out dialogues, and for personas.

    A run without training rows has none. Rows are looked for by curation's own thresholds.
    """
    examples = nodes.read_frame("curation")
    if not examples.height:
        return ()
    counter = _Counter(nodes, examples)
    questions = nodes.read_frame("questions")
    return tuple(counter.count(questions))


def describe_contamination(found: Iterable[Contamination]) -> tuple[str, ...]:
    """Say in a sentence each how many rows give something away."""
    return tuple(
        f"{write_count(item.shared)} of {write_count(item.rows)} training rows share {item.words} "
        f"words in a row with {item.what}; {write_count(item.alike)} more hold one whole or nearly "
        "equal one."
        for item in found
    )


def build_contamination_table(found: Iterable[Contamination]) -> Table:
    """Return the counts, a row for each kind of what is evaluated on."""
    return Table(
        columns=name_columns(
            "evaluated on",
            Column("texts", hover="different ones"),
            "training rows",
            Column("share a run", hover="of so many words in a row"),
            Column("hold or nearly equal", hover="one that is shorter, or by its words"),
        ),
        rows=tuple(
            Row(
                item.what,
                (
                    Cell(write_count(item.texts)),
                    Cell(write_count(item.rows)),
                    Cell(write_count(item.shared), tone="bad" if item.shared else ""),
                    Cell(write_count(item.alike), tone="bad" if item.alike else ""),
                ),
                note=f"runs of {item.words} words",
            )
            for item in found
        ),
    )


class _Counter:
    """Counter over the training rows of one run: what they ask, and whom they play."""

    def __init__(self, nodes: RunNodes, examples: pl.DataFrame) -> None:
        manifest = nodes.find("curation")
        knobs = manifest.selection if manifest else {}
        self._words = int(knobs.get("decontamination_words", RUN_WORDS))
        self._min_words = int(knobs.get("decontamination_min_words", MIN_WORDS))
        self._similarity = float(knobs.get("decontamination_similarity", SIMILARITY))
        trained = examples.filter(pl.col("split") == "train")
        self._rows = trained.height
        self._asked = _list_questions(trained)
        self._held_out = examples.filter(pl.col("split") != "train")
        cast = nodes.read_frame("characters")
        self._cast = cast.select("key", "persona") if cast.height else None
        self._played = self._list_personas(trained)

    def count(self, questions: pl.DataFrame) -> Iterator[Contamination]:
        """Yield a count for each kind of what the run evaluates on."""
        if questions.height:
            suite = str(questions["suite"][0]).replace("_", " ")
            yield self._count(
                f"a question of the {suite} suite", questions["question"], self._asked
            )
        if self._held_out.height:
            held_out = _list_questions(self._held_out)["text"]
            yield self._count("a question to a held-out character", held_out, self._asked)
        personas = pl.concat(
            [
                self._list_personas(self._held_out)["text"],
                questions["persona"] if questions.height else pl.Series("text", [], pl.String),
            ]
        )
        if personas.len():
            yield self._count("a persona that is evaluated on", personas, self._played)

    def _count(self, what: str, texts: pl.Series, told: pl.DataFrame) -> Contamination:
        index = QuestionIndex(
            texts.unique().to_list(),
            run=self._words,
            min_words=self._min_words,
            similarity=self._similarity,
        )
        hits = find_hits(told["text"].unique().to_list(), index)
        shared = [text for text, hit in hits.items() if hit.run]
        given = told.filter(pl.col("text").is_in(list(hits)))
        by_run = given.filter(pl.col("text").is_in(shared))["key"].n_unique()
        return Contamination(
            what=what,
            texts=len(index),
            rows=self._rows,
            shared=by_run,
            alike=given["key"].n_unique() - by_run,
            words=self._words,
        )

    def _list_personas(self, examples: pl.DataFrame) -> pl.DataFrame:
        """Return whom examples play: their keys and a persona's text, a row each."""
        if self._cast is None:
            return pl.DataFrame(schema={"key": pl.String, "text": pl.String})
        whose = examples.select("key", "character_key")
        cast = self._cast.rename({"key": "character_key", "persona": "text"})
        return whose.join(cast, on="character_key").select("key", "text")


def _list_questions(examples: pl.DataFrame) -> pl.DataFrame:
    """Return what examples are asked: their keys and a user turn, a row each."""
    turns = examples.select("key", "messages").explode("messages").unnest("messages")
    return turns.filter(pl.col("role") == "user").select("key", pl.col("content").alias("text"))
