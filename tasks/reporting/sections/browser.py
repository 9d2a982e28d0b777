"""Chooses the rows that people can look through in the page, and writes them as its data.

What belongs together comes together: the characters of the personas that were asked, their
dialogues, and all models' answers to one question.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from infra.store.schema import to_plain
from infra.store.set_store import revive
from tasks.records import (
    Answer,
    Character,
    Dialogue,
    EvalQuestion,
    HeldOutAnswer,
    Judgement,
    Turn,
)
from tasks.reporting.measure_names import name_task
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.scoring import order_models

_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class ShownCharacter:
    """One card of the tab of characters; ``profile`` is labels and values."""

    id: str
    persona_id: str
    name: str
    persona: str
    profile: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ShownDialogue:
    """One card of the tab of dialogues; its first ``given`` turns were not played."""

    id: str
    character_id: str
    strategy: str
    corpus: str
    given: int
    truncated: bool
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class ShownVerdict:
    """What one judge said of an answer; ``score`` is ``None`` if nothing could be read."""

    judge: str
    score: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """What one model said, and what the judges said of that."""

    id: str
    model: str
    text: str
    truncated: bool
    verdicts: tuple[ShownVerdict, ...]


@dataclass(frozen=True, slots=True)
class ShownQuestion:
    """One card of the tab of answers: a question, all models' answers together.

    ``reference`` is what the teacher let the character say, in ``dialogue_id``; both are empty
    unless the question was held out.
    """

    id: str
    persona_id: str
    persona: str
    task: str
    suite: str
    setting: str
    text: str
    reference: str
    dialogue_id: str
    answers: tuple[ShownAnswer, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """How many rows the run has, shown or not."""

    characters: int
    dialogues: int
    answers: int


@dataclass(frozen=True, slots=True)
class BrowserRows:
    """Everything the browser of the page holds."""

    characters: tuple[ShownCharacter, ...]
    dialogues: tuple[ShownDialogue, ...]
    questions: tuple[ShownQuestion, ...]
    totals: Totals

    def __bool__(self) -> bool:
        """Tell whether there is any row to look at."""
        return bool(self.characters or self.dialogues or self.questions)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many rows of a kind may be shown; ``None`` for all."""

    characters: int | None
    dialogues: int | None
    answers: int | None


def choose_rows(nodes: RunNodes, limits: Limits) -> BrowserRows:
    """Choose rows evenly over each node, those that hang together first.

    A dialogue that is shown brings its character along, beyond the limit if need be.
    """
    answers = nodes.read_frame("answers_")
    questions = _choose_questions(nodes, answers, limits.answers)
    asked = {item.persona_id for item in questions}
    cast = nodes.read_frame("characters")
    people = _choose(cast, limits.characters, [is_in(cast, "persona_key", asked)])
    shown = set(people.get_column("key")) if people.height else set()
    referred = {item.dialogue_id for item in questions if item.dialogue_id}
    played = nodes.read_frame("dialogues_")
    dialogues = _choose(
        played,
        limits.dialogues,
        [
            is_in(played, "key", referred),
            is_in(played, "persona_key", asked),
            is_in(played, "character_key", shown),
        ],
    )
    actors = set(dialogues.get_column("character_key")) if dialogues.height else set()
    brought = cast.filter(is_in(cast, "key", actors - shown)) if cast.height else cast
    return BrowserRows(
        characters=tuple(
            _show_character(item)
            for frame in (people, brought)
            for item in revive(Character, frame)
        ),
        dialogues=tuple(_show_dialogue(item) for item in revive(Dialogue, dialogues)),
        questions=questions,
        totals=Totals(cast.height, played.height, answers.height),
    )


def encode_rows(rows: Any) -> Markup:
    """Return a record of rows as JSON that may stand inside a script element.

    ``<``, ``>``, ``&`` and the line separators are written as escapes, so that no persona can end
    the element or open another.
    """
    text = json.dumps(to_plain(rows), ensure_ascii=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))


def _choose_questions(
    nodes: RunNodes, answers: pl.DataFrame, limit: int | None
) -> tuple[ShownQuestion, ...]:
    if not answers.height:
        return ()
    models = order_models(answers.get_column("model").unique().sort())
    keys = answers.select(pl.col("question_key").unique().sort())
    chosen = _choose(keys, None if limit is None else limit // len(models), [])
    wanted = set(chosen.get_column("question_key"))
    given: defaultdict[str, list[Answer]] = defaultdict(list)
    for answer in revive(Answer, answers.filter(is_in(answers, "question_key", wanted))):
        given[answer.question_key].append(answer)
    verdicts = read_verdicts(nodes, {item.key for group in given.values() for item in group})
    asked = {item.key: item for item in nodes.read_rows(EvalQuestion, "questions")}
    references = {
        item.question_key: item
        for item in nodes.read_part("questions", "references", HeldOutAnswer)
    }
    return tuple(
        _show_question(
            sorted(group, key=lambda item: models.index(item.model)),
            asked.get(key),
            references.get(key),
            verdicts,
        )
        for key, group in sorted(given.items())
    )


def read_verdicts(nodes: RunNodes, answers: set[str]) -> dict[str, list[ShownVerdict]]:
    """Return what the judges said of some answers, by the answer's key."""
    frame = nodes.read_frame("judgements_")
    found: defaultdict[str, list[ShownVerdict]] = defaultdict(list)
    if frame.height:
        for item in revive(Judgement, frame.filter(is_in(frame, "answer_key", answers))):
            found[item.answer_key].append(ShownVerdict(item.judge, item.score, item.justification))
    return {key: sorted(group, key=lambda item: item.judge) for key, group in found.items()}


def _show_question(
    answers: Sequence[Answer],
    question: EvalQuestion | None,
    reference: HeldOutAnswer | None,
    verdicts: dict[str, list[ShownVerdict]],
) -> ShownQuestion:
    first = answers[0]
    return ShownQuestion(
        id=first.question_key,
        persona_id=first.persona_key,
        persona=first.persona,
        task=name_task(first.task),
        suite=question.suite.replace("_", " ") if question else "",
        setting=question.setting if question else "",
        text=first.question,
        reference=reference.reference if reference else "",
        dialogue_id=reference.dialogue_key if reference else "",
        answers=tuple(show_answer(item, verdicts) for item in answers),
    )


def show_answer(item: Answer, verdicts: Mapping[str, Sequence[ShownVerdict]]) -> ShownAnswer:
    """Return an answer with what the judges said of it."""
    return ShownAnswer(
        id=item.key,
        model=item.model,
        text=item.answer,
        truncated=item.truncated,
        verdicts=tuple(verdicts.get(item.key, ())),
    )


def _show_character(item: Character) -> ShownCharacter:
    return ShownCharacter(item.key, item.persona_key, item.name, item.persona, item.fields)


def _show_dialogue(item: Dialogue) -> ShownDialogue:
    return ShownDialogue(
        id=item.key,
        character_id=item.character_key,
        strategy=item.strategy,
        corpus=item.corpus,
        given=item.context_turns,
        truncated=item.truncated,
        turns=item.turns,
    )


def is_in(frame: pl.DataFrame, column: str, wanted: set[str]) -> pl.Series:
    """Tell row by row whether a column holds one of the wanted values; there may be none."""
    if not wanted or not frame.height:
        return pl.Series([False] * frame.height, dtype=pl.Boolean)
    return frame.get_column(column).is_in(sorted(wanted))


def _choose(frame: pl.DataFrame, limit: int | None, groups: Sequence[pl.Series]) -> pl.DataFrame:
    """Return up to ``limit`` rows: of the first group as many as there are, then of the next."""
    if limit is None or frame.height <= limit:
        return frame
    left = pl.Series([True] * frame.height, dtype=pl.Boolean)
    taken: list[pl.DataFrame] = []
    room = limit
    for group in (*groups, left):
        found = frame.filter(group & left)
        taken.append(spread_rows(found, room))
        room -= taken[-1].height
        left = left & ~group
    return pl.concat(taken)


def spread_rows(frame: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return up to ``count`` rows, evenly spaced over the frame."""
    if count >= frame.height:
        return frame
    if count <= 0:
        return frame.clear()
    return frame[[index * frame.height // count for index in range(count)]]
