"""Chooses pairs of two models' answers to one question, for people to compare blind.

Which questions, in which order, and which model stands left is decided by hashes of a seed and the
question's key: a larger number of pairs keeps those of a smaller one, and a page that is made again
is the same page.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from infra.store.fingerprints import hash_parts
from infra.store.set_store import revive
from tasks.records import Answer, Attribution, Character, EvalQuestion, HeldOutAnswer
from tasks.reporting.measure_names import name_task
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.browser import (
    ShownAnswer,
    ShownVerdict,
    is_in,
    read_verdicts,
    show_answer,
)
from tasks.reporting.sections.scoring import order_models


@dataclass(frozen=True, slots=True)
class ShownPair:
    """Two models' answers to one question.

    Attributes:
        id: Key of the question.
        model: The model that is compared.
        against: The one it is compared with.
        left: The answer of either, as a hash decides.
        right: The other one's.
        margins: How much likelier the teacher's answer to this question is to the model of each
            side under the right profile than under others, in nats a token; ``None`` if not
            measured.
        ranks: Where the pair comes in each of :attr:`PairRows.orders`, the largest first; ``None``
            comes last.
    """

    id: str
    persona: str
    profile: str
    task: str
    setting: str
    question: str
    model: str
    against: str
    left: ShownAnswer
    right: ShownAnswer
    margins: tuple[float | None, float | None]
    ranks: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PairRows:
    """Everything that the page of pairs holds, shuffled.

    ``total`` is how many pairs the run has, shown or not; ``report`` names the page on the sheet.
    """

    pairs: tuple[ShownPair, ...]
    orders: tuple[str, ...]
    total: int
    seed: int
    report: str

    def __bool__(self) -> bool:
        """Tell whether there is any pair to look at."""
        return bool(self.pairs)


@dataclass(frozen=True, slots=True)
class _Context:
    """What is shown with a question, beside its answers."""

    asked: Mapping[str, EvalQuestion]
    by_question: Mapping[str, str]
    by_persona: Mapping[str, str]
    verdicts: Mapping[str, Sequence[ShownVerdict]]
    margins: Mapping[tuple[str, str], float]


def choose_pairs(nodes: RunNodes, limit: int | None, seed: int, report: str) -> PairRows:
    """Pair every model's answers with the first model's, and choose ``limit`` pairs; None for all.

    Questions are chosen by smallest hash, the same for all models.
    """
    answers = nodes.read_frame("answers_")
    models = _list_models(nodes, answers)
    if len(models) < 2:
        return PairRows((), (), 0, seed, report)
    against, others = models[0], models[1:]
    keys = {
        model: set(answers.filter(pl.col("model") == model).get_column("question_key"))
        for model in models
    }
    shared = {model: keys[model] & keys[against] for model in others}
    ranked = sorted(set().union(*shared.values()), key=lambda key: _draw("question", seed, key))
    most = limit and max(1, limit // len(others))  # none is no limit, 0 is none
    chosen = set(ranked[:most])
    given = {
        (item.question_key, item.model): item
        for item in revive(Answer, _pick(answers, "question_key", chosen))
    }
    context = _read_context(nodes, given.values())
    judges = sorted({said.judge for group in context.verdicts.values() for said in group})
    orders = _name_orders(judges, attributed=bool(context.margins))
    pairs = [
        _show_pair(given[key, model], given[key, against], context, judges, seed)
        for model in others
        for key in sorted(shared[model] & chosen)
    ]
    pairs.sort(key=lambda pair: _draw("order", seed, pair.id, pair.model))
    return PairRows(tuple(pairs), orders, sum(map(len, shared.values())), seed, report)


def _pick(frame: pl.DataFrame, column: str, wanted: set[str]) -> pl.DataFrame:
    return frame.filter(is_in(frame, column, wanted)) if frame.height else frame


def _list_models(nodes: RunNodes, answers: pl.DataFrame) -> list[str]:
    """Return the models that answered, the one that the others are compared with first."""
    if not answers.height:
        return []
    answered = order_models(answers.get_column("model").unique().sort())
    table = nodes.find("scores")
    named = table.facts.get("models", ()) if table else ()
    return [*dict.fromkeys(model for model in (*named, *answered) if model in answered)]


def _read_context(nodes: RunNodes, answers: Collection[Answer]) -> _Context:
    questions = {item.question_key for item in answers}
    references = [
        item
        for item in nodes.read_part("questions", "references", HeldOutAnswer)
        if item.question_key in questions
    ]
    personas = {item.persona_key for item in answers}
    cast = revive(Character, _pick(nodes.read_frame("characters"), "persona_key", personas))
    asked = revive(EvalQuestion, _pick(nodes.read_frame("questions"), "key", questions))
    return _Context(
        asked={item.key: item for item in asked},
        by_question={item.question_key: item.profile for item in references},
        by_persona={item.persona_key: item.profile for item in cast},
        verdicts=read_verdicts(nodes, {item.key for item in answers}),
        margins=_read_margins(nodes, references),
    )


def _read_margins(
    nodes: RunNodes, references: Sequence[HeldOutAnswer]
) -> dict[tuple[str, str], float]:
    """Return attribution margins by question and model, where the held-out example has them."""
    examples = nodes.read_columns("curation", "key", "dialogue_key")
    trials = nodes.read_rows(Attribution, "attribution_")
    if not (examples.height and trials):
        return {}
    dialogues = dict(_pick(examples, "key", {row.example_key for row in trials}).rows())
    margins = {(dialogues.get(row.example_key), row.model): row.margin for row in trials}
    return {
        (item.question_key, model): margins[item.dialogue_key, model]
        for item in references
        for model in {row.model for row in trials}
        if (item.dialogue_key, model) in margins
    }


def _show_pair(
    ours: Answer, theirs: Answer, context: _Context, judges: Sequence[str], seed: int
) -> ShownPair:
    key = ours.question_key
    first = int(_draw("side", seed, key, ours.model, theirs.model)[0], 16) < 8
    sides = (ours, theirs) if first else (theirs, ours)
    left, right = (show_answer(item, context.verdicts) for item in sides)
    margins = tuple(context.margins.get((key, item.model)) for item in sides)
    question = context.asked.get(key)
    return ShownPair(
        id=key,
        persona=ours.persona,
        profile=context.by_question.get(key) or context.by_persona.get(ours.persona_key, ""),
        task=name_task(ours.task),
        setting=question.setting if question else "",
        question=ours.question,
        model=ours.model,
        against=theirs.model,
        left=left,
        right=right,
        margins=(margins[0], margins[1]),
        ranks=tuple(_rank(left, right, margins, judges, attributed=bool(context.margins))),
    )


def _name_orders(judges: Sequence[str], *, attributed: bool) -> tuple[str, ...]:
    """Name the orders in which :func:`_rank` gives a pair's places."""
    several = len(judges) > 1
    return (
        *(["scores differ most, all judges' mean"] if several else []),
        *(f"scores of {judge} differ most" for judge in judges),
        *(["judges disagree most"] if several else []),
        *(["attribution differs most"] if attributed else []),
        "lengths differ most",
        "shortest first",
    )


def _rank(
    left: ShownAnswer,
    right: ShownAnswer,
    margins: Sequence[float | None],
    judges: Sequence[str],
    *,
    attributed: bool,
) -> Iterator[float | None]:
    """Yield how far two answers differ, without a sign: that would tell whose is which."""
    mine, other = _list_scores(left), _list_scores(right)
    found = [_subtract(mine.get(judge), other.get(judge)) for judge in judges]
    known = [value for value in found if value is not None]
    if len(judges) > 1:
        yield abs(math.fsum(known)) / len(known) if len(known) == len(found) else None
    yield from (None if value is None else abs(value) for value in found)
    if len(judges) > 1:
        yield max(known) - min(known) if len(known) > 1 else None
    if attributed:
        gap = _subtract(margins[0], margins[1])
        yield None if gap is None else abs(gap)
    words = len(left.text.split()), len(right.text.split())
    yield float(abs(words[0] - words[1]))
    yield -float(sum(words))


def _list_scores(answer: ShownAnswer) -> dict[str, float | None]:
    return {verdict.judge: verdict.score for verdict in answer.verdicts}


def _subtract(one: float | None, two: float | None) -> float | None:
    return None if one is None or two is None else one - two


def _draw(what: str, seed: int, *names: str) -> str:
    return hash_parts(f"side by side {what}", str(seed), *names)
