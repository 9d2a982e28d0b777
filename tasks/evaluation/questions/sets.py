"""Makes the set of questions that every model answers, of whatever suite."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tasks.evaluation.config import QuestionConfig
from tasks.evaluation.questions.held_out import take_held_out
from tasks.evaluation.questions.personagym import read_benchmark
from tasks.evaluation.questions.writing import WrittenQuestions, list_questions
from tasks.records import Character, EvalQuestion, Example, HeldOutAnswer, Rejection
from tasks.rejections import RejectionList


@dataclass(frozen=True, slots=True)
class Sources:
    """What questions are taken from; a suite reads what it needs."""

    written: tuple[WrittenQuestions, ...] = ()
    examples: tuple[Example, ...] = ()
    characters: tuple[Character, ...] = ()


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """What came of a suite: questions, references of held-out ones, and what was left out."""

    questions: tuple[EvalQuestion, ...]
    references: tuple[HeldOutAnswer, ...]
    rejected: tuple[Rejection, ...]


def collect_questions(config: QuestionConfig, sources: Sources) -> QuestionSet:
    """Return the questions of the configured suite, sorted by key."""
    if config.suite == "personagym":
        gym = read_benchmark(
            Path(str(config.path)), light=config.light, personas=config.personas, seed=config.seed
        )
        return QuestionSet(gym.accepted, (), gym.rejected)
    if config.suite == "held_out":
        taken = take_held_out(
            sources.examples,
            sources.characters,
            personas=config.personas,
            per_persona=config.per_persona,
            seed=config.seed,
        )
        return QuestionSet(taken.questions, taken.references, taken.rejected)
    return drop_repeated(list_questions(sources.written))


def drop_repeated(questions: Iterable[EvalQuestion]) -> QuestionSet:
    """Keep the first of equal questions of one persona and task: its answers would count twice.

    Another task may ask the same: it is answered anew and rated by another rubric.
    """
    rejections = RejectionList("evaluation question")
    kept: list[EvalQuestion] = []
    met: dict[tuple[str, str, str], str] = {}
    for item in sorted(questions, key=lambda item: item.key):
        earlier = met.setdefault((item.persona_key, item.task, item.question.casefold()), item.key)
        if earlier == item.key:
            kept.append(item)
        else:
            source = item.parents[0] if item.parents else earlier
            rejections.add_keyed(item.key, "duplicate", f"{item.question} (as {earlier})", source)
    return QuestionSet(tuple(kept), (), rejections.collect())
