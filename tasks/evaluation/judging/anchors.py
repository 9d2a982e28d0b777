"""Has a judge score its own example replies, to see whether it orders them as it meant them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations

from infra.store.fingerprints import content_key, hash_parts, row_key
from tasks.records import Answer, EvalQuestion, Judgement, ScoreExamples
from tasks.scores import AnchorOrder

ANCHORS = "anchors"
"""Stands where a judgement names the model that answered."""


def choose_anchors(examples: Iterable[ScoreExamples], count: int) -> list[ScoreExamples]:
    """Return the replies to so many questions, those of the smallest hash."""
    ranked = sorted(examples, key=lambda item: (hash_parts(ANCHORS, item.key), item.key))
    return ranked[:count]


def list_replies(
    examples: Iterable[ScoreExamples], questions: Iterable[EvalQuestion]
) -> Iterator[Answer]:
    """Yield each reply as an answer to its question, without a word of the score it was made for.

    Replies to a question that is not given are left out.
    """
    asked = {item.key: item for item in questions}
    for item in examples:
        question = asked.get(item.question_key)
        if question is None:
            continue
        for key, reply in zip(name_replies(item), item.examples, strict=True):
            yield Answer(
                key=key,
                question_key=question.key,
                persona_key=question.persona_key,
                persona=question.persona,
                task=question.task,
                model=ANCHORS,
                question=question.question,
                answer=reply,
                truncated=False,
            )


def name_replies(examples: ScoreExamples) -> list[str]:
    """Return the keys of the replies as answers, from the lowest score on."""
    return [row_key(ANCHORS, [examples.key, str(n)]) for n in range(len(examples.examples))]


def measure_order(
    judge: str, examples: Sequence[ScoreExamples], judgements: Iterable[Judgement]
) -> AnchorOrder:
    """Count the pairs of replies to a question that a judge puts in the order they were made in.

    A pair with equal scores counts half, one without both verdicts is missing. Judgements of what
    is no reply of these examples are left aside.
    """
    given: Mapping[str, float | None] = {row.answer_key: row.score for row in judgements}
    ordered, pairs, missing = 0.0, 0, 0
    named = map(name_replies, examples)
    judged = [keys for keys in named if any(key in given for key in keys)]
    for keys in judged:
        for lower, higher in combinations(keys, 2):
            low, high = given.get(lower), given.get(higher)
            if low is None or high is None:
                missing += 1
                continue
            pairs += 1
            ordered += 1.0 if high > low else 0.5 if high == low else 0.0
    return AnchorOrder(
        key=content_key("anchor order", judge),
        judge=judge,
        questions=len(judged),
        pairs=pairs,
        missing=missing,
        ordered=ordered / pairs if pairs else None,
    )
