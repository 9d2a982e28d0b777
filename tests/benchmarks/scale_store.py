"""Writes stores of the paper's size, by columns: nodes as a run leaves them, texts of any length.

Answers are as long as a real teacher's (130 words), profiles as the paper's (150). Sentences are
drawn from a pool, so that two texts share one now and then, as real ones do; one answer in a
hundred repeats another, and one in a hundred nearly does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from infra.nodes.node import Node
from infra.store.fingerprints import hash_parts
from infra.store.manifests import write_table
from infra.store.row_store import compact_chunks, row_schema
from infra.store.schema import arrow_schema
from infra.store.set_store import Rejection, write_set_manifest
from tasks.records import TASKS, Answer, Character, Dialogue, Judgement
from tests.benchmarks.scale_work import EACH_QUESTION, end_stage, open_graph

_PART_ROWS = 4_096
_BLOCK_ROWS = 98_304
_CAST = 20_000
_PER_PERSONA = 4
_POOL = 30_000
_NOUNS = (
    "oven harbour ledger garden orchestra letter river engine bridge market kettle saddle lantern "
    "compass violin recipe harvest neighbour apprentice customer winter journey promise budget "
    "machine window teacher captain festival medicine castle library argument mountain forest "
    "painter shelter railway battery planet formula tradition journal theatre village measure "
    "thunder blanket ladder furnace anchor pattern signal voyage remedy"
)
_ADJECTIVES = (
    "patient honest stubborn gentle crooked bright weary careful hungry quiet strange ordinary "
    "generous hollow narrow golden heavy faithful rusty clever modest foreign ancient sudden"
)
_VERBS = (
    "mend carry follow trust measure borrow remember gather finish protect question practise "
    "prepare compare notice explain repeat deliver weigh shelter forgive choose balance polish"
)
_PLACES = "Lisbon Oslo Nairobi Kyoto Quito Perth Tunis Riga Lima Cork Hanoi Accra Bergen"
_GIVEN = "Ada Bo Chidi Dai Elsa Finn Gia Hugo Ines Jonas Kwame Lena Milo Nora Omar Pia"
_FAMILY = "Vance Lind Okoro Mori Ruiz Kerr Conti Berg Sato Novak Duarte Hale Mensah Pohl"
_SENTENCES = (
    "I have seen many a {adj} {noun} in {place}, and you would {verb} it before the {noun2}.",
    "When the {noun} is {adj}, the first thing to do is to {verb} the {noun2} and then to wait.",
    "My father used to {verb} every {noun} that came to the {noun2}, whatever the weather was.",
    "It isn\u2019t the {noun} that matters so much as the {adj} {noun2} you {verb} along the way.",
    "Now, if you ask me, a {adj} {noun} from {place} is worth more than any {noun2} I know of.",
    "Start with the {noun}; {verb} it slowly, and keep the {adj} {noun2} away from the water.",
    "There was a {noun} once who could {verb} a {adj} {noun2} without so much as a word to anyone.",
    "You might {verb} your {noun} with the help of a {adj} friend, or with a {noun2} from {place}.",
    "They said in {place} that no {noun} would {verb} again, but the {noun2} was too {adj} for it.",
    "What I would do is {verb} the {noun}, write down what the {adj} {noun2} costs, and sleep on "
    "it.",
    "A {adj} {noun} will {verb} what a {noun2} cannot, and that is something I learned late.",
    "And so I {verb} the {noun} each morning, as the {noun2} in {place} is never {adj} enough.",
    "Bring the {noun} to a {adj} place, and let nobody {verb} it until the {noun2} has come home.",
    "Honestly, my {noun} taught me more than all the {adj} books that they {verb} in {place}.",
    "Write one line every evening about your {noun}, even on days when the {noun2} feels {adj}.",
    "Could a {noun} {verb} alone? Perhaps, though a {adj} {noun2} makes lighter work of much.",
    "Years ago, outside {place}, we had to {verb} twelve {noun}s before anybody lit the {noun2}.",
    "People forget how {adj} their {noun} was; they {verb} whatever {noun2} happens to be nearest.",
    "Two cups of patience, one {adj} {noun}, and nobody to {verb} your {noun2}: that\u2019s it.",
    "Never {verb} on an empty stomach; eat first, then look at each {noun} with {adj} eyes.",
    "Children from {place} still ask me why I {verb} only after sunset, {noun} under my arm.",
    "If money is short, {verb} less often and choose a {adj} {noun} over some shiny {noun2}.",
    "Between us, every {noun} has its {adj} side, which no amount of polish will {verb} away.",
    "Her advice was short: {verb} early, rest often, leave your {noun} where {place} can see it.",
    "Some mornings a {noun2} breaks; then I laugh, make tea, and {verb} something {adj} instead.",
    "Ask around {place} for anyone whose {noun} survived last winter, and {verb} how they did.",
    "Numbers help: count each {noun}, note its weight, {verb} twice, keep whatever stays {adj}.",
    "Rain or shine, I\u2019ve learned to {verb} with one hand while holding a {adj} {noun} steady.",
    "Nothing beats fresh air, a {adj} {noun2}, plus somebody patient who can {verb} beside you.",
    "Take care around that {noun}: hot metal, {adj} hands and hurry rarely {verb} together.",
    "Tonight, before bed, put your {noun} by the door so tomorrow you simply {verb} and go.",
    "Long story short, our {noun} sank near {place}, yet nobody would {verb} or blame me.",
    "Think of it like a {noun}: {adj} outside, plenty going on within, hard to {verb} quickly.",
    "Good question! Most folks {verb} too soon, so their {noun} never turns {adj} at all.",
    "Should trouble come, {verb} your {noun2}, call three friends, share whatever bread remains.",
    "Under the old {noun} lies a {adj} box; inside, letters that still {verb} my heart.",
)  # fmt: skip
_PERSONAS = (
    "A {adj} {noun} keeper from {place} who likes to {verb} the {noun2} and is known for it",
    "a {adj} teacher in {place}, fond of the {noun} and of anyone who can {verb} a {noun2}",
    "I'm a {noun} maker near {place}, rather {adj}, and I {verb} every {noun2} I find",
    "A historian of the {noun} with a {adj} interest in how people {verb} their {noun2}",
    "{adj} young engineer working on a {noun} for {place}; passionate about {noun2}s",
)


class Texts:
    """Writer of texts that look like English, the same for one seed."""

    def __init__(self, seed: int = 0) -> None:
        self.dice = np.random.default_rng(seed)
        self._pool = self._fill(_SENTENCES, _POOL)

    def _fill(self, patterns: Sequence[str], count: int) -> list[str]:
        def draw(words: Sequence[str]) -> list[str]:
            return [words[place] for place in self.dice.integers(len(words), size=count).tolist()]

        columns = [draw(words.split()) for words in (_NOUNS, _NOUNS, _ADJECTIVES, _VERBS, _PLACES)]
        shapes = draw(patterns)
        return [
            shape.format(noun=noun, noun2=noun2, adj=adjective, verb=verb, place=place)
            for shape, noun, noun2, adjective, verb, place in zip(shapes, *columns, strict=True)
        ]

    def keys(self, count: int) -> list[str]:
        """Return row keys."""
        digits = self.dice.bytes(16 * count).hex()
        return [digits[32 * place : 32 * (place + 1)] for place in range(count)]

    def write(self, count: int, sentences: int) -> list[str]:
        """Return texts of so many sentences of 14 words, in paragraphs of three."""
        drawn = self.dice.integers(len(self._pool), size=(count, sentences)).tolist()
        return [
            "\n\n".join(
                " ".join(self._pool[place] for place in row[first : first + 3])
                for first in range(0, sentences, 3)
            )
            for row in drawn
        ]

    def personas(self, count: int) -> list[str]:
        """Return one-sentence personas, each with a number of its own."""
        found = self._fill(_PERSONAS, count)
        return [f"{text}, for {number % 60 + 2} years." for number, text in enumerate(found)]

    def answers(self, count: int) -> list[str]:
        """Return answers of 130 words, of which some repeat others, or nearly do."""
        found = self.write(count, 9)
        for place in range(1, count):
            if place % 100 == 0:
                found[place] = found[place - 1]
            elif place % 100 == 50:
                found[place] = found[place - 1].replace(" and ", " & ", 1)
        return found


def write_dialogues(folder: str, rows: int) -> None:
    """Write personas, instructions, characters, dialogues and examples of a run."""
    texts = Texts()
    with open_graph(folder) as graph:
        cast = _make_cast(texts, min(_CAST, max(rows // 15, EACH_QUESTION)))
        personas = cast.select(key="persona_key", persona="persona", source=pl.lit("p.jsonl:1"))
        _write_set(graph["personas"], personas)
        _write_rows(graph["characters"], cast, ["persona_key"])
        asked = _make_instructions(texts, -(-rows // EACH_QUESTION))
        _write_set(graph["instructions"], asked)
        played = _make_dialogues(texts, rows, cast, asked)
        _write_rows(graph["dialogues_generate"], played, ["character_key", "instruction_key"])
        _write_set(graph["curation"], _make_examples(texts, played, cast))


def write_stage(folder: str, rows: int) -> None:
    """Write the parts of a stage: ten rows are committed for nine that are planned."""
    texts = Texts()
    keys: list[str] = []
    with open_graph(folder) as graph:
        node = graph["dialogues_generate"]
        cast = _make_cast(texts, EACH_QUESTION)
        asked = _make_instructions(texts, _BLOCK_ROWS // EACH_QUESTION + 1)
        for first in range(0, rows, _BLOCK_ROWS):
            frame = _make_dialogues(texts, min(_BLOCK_ROWS, rows - first), cast, asked)
            _write_parts(node, frame, ["character_key", "instruction_key"])
            keys += frame["key"].to_list()
        compact_chunks(node.context.storage, node.spec.folder)
    planned = pl.DataFrame({"key": keys[: rows * 9 // 10]})
    planned.select("key", parents_digest="key", group="key").write_parquet(
        f"{folder}/planned.parquet"
    )


def write_verdicts(folder: str, rows: int) -> None:
    """Write answers of two models, 130 words each, and a judge's verdicts on them."""
    texts = Texts()
    with open_graph(folder) as graph:
        asked = texts.keys(rows // 2)
        owners = [key for key in texts.keys(-(-len(asked) // _PER_PERSONA)) for _ in range(4)]
        personas = [text for text in texts.personas(len(owners) // 4) for _ in range(4)]
        for model in ("base", "tuned"):
            answers = pl.DataFrame(
                {
                    "key": texts.keys(len(asked)),
                    "question_key": asked,
                    "persona_key": owners[: len(asked)],
                    "persona": personas[: len(asked)],
                    "task": [TASKS[place % len(TASKS)] for place in range(len(asked))],
                    "question": texts.write(len(asked), 1),
                    "answer": texts.answers(len(asked)),
                    "truncated": [place % 19 == 0 for place in range(len(asked))],
                }
            ).with_columns(model=pl.lit(model))
            _write_rows(graph[f"answers_{model}"], _order(answers, Answer), ["question_key"])
            lift = 2 if model == "tuned" else 0
            verdicts = answers.rename({"key": "answer_key"}).with_columns(
                key=pl.Series(texts.keys(len(asked))),
                judge=pl.lit("teacher"),
                score=pl.Series(
                    [
                        None if place % 13 == 0 else float(min(5, 1 + place % 3 + lift))
                        for place in range(len(asked))
                    ],
                    dtype=pl.Float64,
                ),
                justification=pl.Series(texts.write(len(asked), 3)),
            )
            judged = graph[f"judgements_teacher_{model}"]
            _write_rows(judged, _order(verdicts, Judgement), ["answer_key"])


def write_personas(folder: str, rows: int) -> None:
    """Write a file of one-sentence personas."""
    with Path(f"{folder}/personas.jsonl").open("w", encoding="utf-8") as file:
        for text in Texts().personas(rows):
            file.write(json.dumps({"persona": text}) + "\n")


def _make_cast(texts: Texts, count: int) -> pl.DataFrame:
    given, family, places = _GIVEN.split(), _FAMILY.split(), _PLACES.split()
    names = [
        f"{given[place % len(given)]} {family[place // len(given) % len(family)]}"
        for place in range(count)
    ]
    frame = pl.DataFrame(
        {
            "key": texts.keys(count),
            "persona_key": texts.keys(count),
            "persona": texts.personas(count),
            "name": names,
            "age": [str(20 + place % 60) for place in range(count)],
            "gender": ["Female" if place % 2 else "Male" for place in range(count)],
            "birth_place": [places[place % len(places)] for place in range(count)],
            "appearance": texts.write(count, 2),
            "general_experience": texts.write(count, 4),
            "personality": texts.write(count, 3),
        }
    )
    return _order(frame.with_columns(race=pl.lit("Portuguese")), Character)


def _make_instructions(texts: Texts, count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "key": texts.keys(count),
            "corpus": ["alpaca" if place % 2 else "ph-instruct" for place in range(count)],
            "question_id": [str(place) for place in range(count)],
            "context_turns": [0] * count,
            "question": [f"{text} How would you do it?" for text in texts.write(count, 1)],
            "source": texts.write(count, 5),
        }
    ).select(
        "key",
        "corpus",
        "question_id",
        "context_turns",
        turns=pl.concat_list(_turn("user", "question"), _turn("assistant", "source")),
    )


def _make_dialogues(
    texts: Texts, rows: int, cast: pl.DataFrame, asked: pl.DataFrame
) -> pl.DataFrame:
    """Return a dialogue for every question and each of three characters."""
    questions = asked[np.arange(rows) // EACH_QUESTION]
    actors = cast[texts.dice.integers(cast.height, size=rows)]
    frame = pl.DataFrame({"key": texts.keys(rows), "answer": texts.answers(rows)}).with_columns(
        character_key=actors["key"],
        persona_key=actors["persona_key"],
        instruction_key=questions["key"],
        corpus=questions["corpus"],
        question_id=questions["question_id"],
        context_turns=pl.lit(0, pl.Int64),
        strategy=pl.lit("generate"),
        user_turns_restored=pl.lit(False),
        truncated=pl.Series(np.arange(rows) % 97 == 0),
        teacher=pl.lit("teacher"),
        question=questions["turns"].list.first().struct.field("content"),
    )
    turns = pl.concat_list(_turn("user", "question"), _turn("assistant", "answer"))
    return _order(frame.with_columns(turns=turns), Dialogue)


def _make_examples(texts: Texts, played: pl.DataFrame, cast: pl.DataFrame) -> pl.DataFrame:
    """Return an example of each dialogue but a few; one in twenty is for validation."""
    system = pl.format(
        "You are {}\n\nName: {}\nAppearance: {}\nGeneral Experience: {}\nPersonality: {}",
        "persona", "name", "appearance", "general_experience", "personality",
    )  # fmt: skip
    known = cast.select(character_key="key", system=system)
    kept = played.filter(pl.int_range(pl.len()) % 30 != 0).join(
        known, on="character_key", maintain_order="left"
    )
    shown = pl.concat_list(_turn("system", "system"))
    return kept.select(
        key=pl.Series(texts.keys(kept.height)),
        dialogue_key="key",
        character_key="character_key",
        split=pl.when(pl.int_range(pl.len()) % 20 == 0)
        .then(pl.lit("validation"))
        .otherwise(pl.lit("train")),
        with_profile=pl.lit(True),
        context_turns="context_turns",
        messages=shown.list.concat(pl.col("turns")),
    )


def _turn(role: str, column: str) -> pl.Expr:
    return pl.struct(role=pl.lit(role), content=pl.col(column))


def _order(frame: pl.DataFrame, record: type[Any]) -> pl.DataFrame:
    return frame.select(arrow_schema(record).names)


def _write_set(node: Node, frame: pl.DataFrame) -> None:
    """Write a set node as if it had been made."""
    storage, spec = node.context.storage, node.spec
    table = frame.sort("key").to_arrow().cast(arrow_schema(node.record))
    base = f"{spec.folder}/part-{spec.fingerprint}"
    parts = [
        write_table(storage, f"{base}-accepted.parquet", table, holds="accepted"),
        write_table(
            storage,
            f"{base}-rejected.parquet",
            arrow_schema(Rejection).empty_table(),
            holds="rejected",
        ),
    ]
    write_set_manifest(
        storage, spec, parts, accepted=frame.height, reasons={}, provenance={}, seconds=0.0
    )


def _write_rows(node: Node, frame: pl.DataFrame, parents: Sequence[str]) -> None:
    """Write a row node as if it had been made, with rows in parts of 4,096."""
    _write_parts(node, frame, parents)
    planned = frame.select("key", parents_digest="key", group="key")
    end_stage(node.context.storage, node.spec, planned)


def _write_parts(node: Node, frame: pl.DataFrame, parents: Sequence[str]) -> None:
    schema = row_schema(node.record)
    whole = frame.with_columns(
        parents_digest="key",
        status=pl.lit("accepted"),
        reason=pl.lit(""),
        detail=pl.lit(""),
        attempts=pl.lit(1, pl.Int64),
        requests=pl.lit(1, pl.Int64),
        prompt_tokens=pl.lit(400, pl.Int64),
        cached_tokens=pl.lit(200, pl.Int64),
        completion_tokens=pl.lit(170, pl.Int64),
        parents=pl.concat_list(*parents),
    ).select(schema.names)
    for part in whole.iter_slices(_PART_ROWS):
        name = hash_parts(*part["key"].to_list())
        table = part.sort("key").to_arrow().cast(schema)
        write_table(node.context.storage, f"{node.spec.folder}/part-{name}.parquet", table)
