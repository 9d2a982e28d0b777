"""Plans the rows of the evaluation's row stages: their keys, digests and order.

Every frame has the columns key, parents_digest and group, then those of the maker's input. Keys
follow lineage; digests cover what a prompt is rendered from. Rows are run in the order of their
group, which therefore names what prompts begin with: the persona where its system prompt leads,
the task where a rubric does, and the question before the models that answered it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import polars as pl

from infra.store.fingerprints import row_key
from infra.store.row_store import parents_digest
from infra.store.schema import to_table
from tasks.evaluation.answering import AnswerInput
from tasks.evaluation.judging.judging import ExamplesInput, JudgementInput
from tasks.evaluation.questions.writing import ChosenSettings, QuestionsInput
from tasks.records import TASKS, Answer, EvalQuestion, EvalTask, ScoreExamples

I = TypeVar("I")  # noqa: E741 - the input record of a maker


def plan_question_rows(
    recipe: str, chosen: Sequence[ChosenSettings], tasks: Sequence[EvalTask] = TASKS
) -> pl.DataFrame:
    """Return the planned rows of question writing: one a persona and task.

    The settings chosen for a persona are planned by :func:`tasks.persona_rows.plan_persona_rows`.
    """
    rows = [
        (
            QuestionsInput(
                key=row_key(recipe, [item.key, task]),
                persona_key=item.persona_key,
                persona=item.persona,
                task=task,
                settings=item.settings,
            ),
            parents_digest(item.persona, task, *item.settings),
            f"{task}:{item.persona_key}",
        )
        for item in chosen
        for task in tasks
    ]
    settings = [item.key for item in chosen for _ in tasks]
    return _frame(QuestionsInput, rows).with_columns(
        settings_key=pl.Series(settings, dtype=pl.String)
    )


def plan_answers(
    recipe: str, questions: Iterable[EvalQuestion], profiles: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Return the planned rows of one model's answers: one a question.

    ``profiles`` gives profiles by persona key; a persona that is not in it is shown alone.
    """
    rows = []
    for item in questions:
        profile = (profiles or {}).get(item.persona_key, "")
        row = AnswerInput(
            key=row_key(recipe, [item.key]),
            question_key=item.key,
            persona_key=item.persona_key,
            persona=item.persona,
            profile=profile,
            task=item.task,
            question=item.question,
        )
        rows.append((row, parents_digest(item.persona, profile, item.question), item.persona_key))
    return _frame(AnswerInput, rows)


def plan_examples(
    recipe: str, questions: Iterable[EvalQuestion], profiles: Mapping[str, str] | None = None
) -> pl.DataFrame:
    """Return the planned rows of one judge's score examples: one a question, for all models."""
    rows = []
    for item in questions:
        profile = (profiles or {}).get(item.persona_key, "")
        row = ExamplesInput(
            key=row_key(recipe, [item.key]),
            question_key=item.key,
            persona=item.persona,
            profile=profile,
            task=item.task,
            question=item.question,
        )
        digest = parents_digest(item.persona, profile, item.task, item.question)
        rows.append((row, digest, f"{item.task}:{item.persona_key}"))
    return _frame(ExamplesInput, rows)


def plan_judgements(
    recipe: str,
    answers: Iterable[Answer],
    examples: Iterable[ScoreExamples] = (),
    profiles: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """Return the planned rows of one judge's verdicts: one an answer, all models' together.

    Only answers that were accepted come here, so what failed is never judged. An answer whose
    question has no examples is judged without; since examples are shared, that is so for every
    model. Raises :class:`ValueError` for examples of several judges, whose verdicts must not mix.
    """
    shown: dict[str, ScoreExamples] = {}
    for item in examples:
        other = shown.setdefault(item.question_key, item)
        if other.key != item.key:
            raise ValueError(
                f"question {item.question_key} has examples by {other.judge} and by {item.judge}"
            )
    rows = []
    for answer in answers:
        profile = (profiles or {}).get(answer.persona_key, "")
        given = shown.get(answer.question_key)
        texts = given.examples if given else ()
        row = JudgementInput(
            key=row_key(recipe, [answer.key, given.key] if given else [answer.key]),
            answer_key=answer.key,
            question_key=answer.question_key,
            persona_key=answer.persona_key,
            persona=answer.persona,
            profile=profile,
            task=answer.task,
            model=answer.model,
            question=answer.question,
            answer=answer.answer,
            examples=texts,
        )
        digest = parents_digest(
            answer.persona, profile, answer.task, answer.question, answer.answer, *texts
        )
        rows.append((row, digest, f"{answer.task}:{answer.persona_key}:{answer.question_key}"))
    seen = [
        shown[row.question_key].key if row.question_key in shown else None for row, _, _ in rows
    ]
    return _frame(JudgementInput, rows).with_columns(examples_key=pl.Series(seen, dtype=pl.String))


def _frame(record: type[I], rows: Sequence[tuple[I, str, str]]) -> pl.DataFrame:
    frame = pl.from_arrow(to_table(record, [row for row, _, _ in rows]))
    assert isinstance(frame, pl.DataFrame)
    return frame.select(
        "key",
        pl.Series("parents_digest", [digest for _, digest, _ in rows], dtype=pl.String),
        pl.Series("group", [group for _, _, group in rows], dtype=pl.String),
        pl.exclude("key"),
    )
