"""Measures judges on answers whose score is known, so that a judge is tested and not trusted.

A labelled file holds one JSON object a line: ``persona``, ``question``, ``answer`` and ``score``
(1 to 5); optional are ``profile``, ``task`` (one of PersonaGym's five), ``in_voice``: whether it is
the persona's own voice that is heard, and ``author``: the model that wrote the answer. The judge
sees what it always sees, and none of these labels.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import polars as pl

from infra.errors import ConfigError, Problem
from infra.input.row_input import BadRow, digest_rows, read_rows
from infra.store.fingerprints import content_key, hash_parts, row_key
from infra.store.row_store import parents_digest
from infra.store.schema import to_table
from infra.text.text_cleaning import clean_text
from tasks.evaluation.judging.judging import JudgementInput
from tasks.records import TASKS, EvalTask, Judgement
from tasks.scores import Calibration

CALIBRATION: Literal["calibration"] = "calibration"
"""Stands where a judgement names the model that answered."""

_FIELDS = frozenset(
    {"persona", "profile", "task", "question", "answer", "score", "in_voice", "author"}
)
_DEFAULT_TASK: EvalTask = "linguistic_habits"
_SHOWN_PROBLEMS = 20
_TODO = "fix the row, or take it out"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Answer whose score is known.

    ``key`` names what the judge sees and leaves the labels out, so that a corrected label needs
    no new verdict. ``in_voice`` is ``None`` where the file does not say, ``author`` is empty.
    """

    key: str
    persona: str
    profile: str
    task: EvalTask
    question: str
    answer: str
    score: float
    in_voice: bool | None
    author: str = ""


def read_labelled(path: str | Path) -> tuple[Labelled, ...]:
    """Read a labelled file, looked up as any other input; the order is the file's.

    Raises :class:`ConfigError` that lists the faulty rows with their lines.
    """
    rows: dict[str, Labelled] = {}
    origins: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        for row in read_rows(str(path)):
            if isinstance(row, BadRow):
                problems.append(Problem(row.origin, f"is no row: {row.detail}", _TODO))
                continue
            found = _read_row(row.values)
            if isinstance(found, list):
                problems += [Problem(row.origin, what, _TODO) for what in found]
            elif found.key in rows:
                what = f"repeats what {origins[found.key]} shows the judge"
                problems.append(Problem(row.origin, what, "keep one of them"))
            else:
                rows[found.key], origins[found.key] = found, row.origin
    except (OSError, ValueError) as error:
        raise _refuse(path, error) from error
    if problems:
        raise ConfigError(*_cut(problems, path))
    if not rows:
        raise ConfigError(Problem(str(path), "holds no labelled answer", "give rows with scores"))
    return tuple(rows.values())


def digest_labelled(path: str | Path) -> str:
    """Return a digest of a labelled file's content, for fingerprints."""
    try:
        return hash_parts(*sorted(digest for _, digest in digest_rows(str(path))))
    except (OSError, ValueError) as error:
        raise _refuse(path, error) from error


def plan_calibration(recipe: str, labelled: Iterable[Labelled]) -> pl.DataFrame:
    """Return the planned rows of one judge's verdicts on labelled answers.

    Columns and order are those of :func:`tasks.evaluation.planning.plan_judgements`; no row has
    example replies, which are written for a run's own questions.
    """
    rows = [_plan_row(recipe, item) for item in labelled]
    frame = pl.from_arrow(to_table(JudgementInput, rows))
    assert isinstance(frame, pl.DataFrame)
    digests = [
        parents_digest(row.persona, row.profile, row.task, row.question, row.answer) for row in rows
    ]
    groups = [f"{row.task}:{row.persona_key}:{row.question_key}" for row in rows]
    return frame.select(
        "key",
        pl.Series("parents_digest", digests, dtype=pl.String),
        pl.Series("group", groups, dtype=pl.String),
        pl.exclude("key"),
        pl.lit(None, pl.String).alias("examples_key"),
    )


def measure_calibration(
    judge: str, source: str, labelled: Sequence[Labelled], judgements: Iterable[Judgement]
) -> Calibration:
    """Compare one judge's verdicts with the known scores.

    A row without a verdict is counted as missing and enters no share; a judgement of another
    judge, or of an answer that is not in the file, is left aside. A share is ``None`` without rows.
    """
    given = {
        row.answer_key: row.score
        for row in judgements
        if row.judge == judge and row.score is not None and math.isfinite(row.score)
    }
    pairs = [(item, given[item.key]) for item in labelled if item.key in given]
    off = [abs(score - item.score) for item, score in pairs]
    return Calibration(
        key=content_key("calibration", judge, source),
        judge=judge,
        source=source,
        rows=len(pairs),
        missing=len(labelled) - len(pairs),
        exact=_share([gap == 0 for gap in off]),
        within_one=_share([gap <= 1 for gap in off]),
        auc=measure_area(
            [score for item, score in pairs if item.in_voice is True],
            [score for item, score in pairs if item.in_voice is False],
        ),
    )


def measure_area(above: Sequence[float], below: Sequence[float]) -> float | None:
    """Return the area under the ROC curve: how often one of ``above`` is over one of ``below``.

    Ties count half; ``None`` if either is empty.
    """
    if not above or not below:
        return None
    ranked = sorted(below)
    wins = sum(bisect_left(ranked, value) + bisect_right(ranked, value) for value in above)
    return wins / (2 * len(above) * len(below))


def _plan_row(recipe: str, item: Labelled) -> JudgementInput:
    return JudgementInput(
        key=row_key(recipe, [item.key]),
        answer_key=item.key,
        question_key=content_key("labelled question", item.persona, item.task, item.question),
        persona_key=content_key("persona", item.persona),
        persona=item.persona,
        profile=item.profile,
        task=item.task,
        model=CALIBRATION,
        question=item.question,
        answer=item.answer,
        examples=(),
    )


def _read_row(values: Mapping[str, object]) -> Labelled | list[str]:
    """Return the row, or all that is wrong with it."""
    faults = [f"has an unknown field {name!r}" for name in values if name not in _FIELDS]
    texts: dict[str, str] = {}
    for name in ("persona", "profile", "question", "answer"):
        value = values.get(name)
        if name == "profile" and value is None:
            value = ""
        if not isinstance(value, str) or not (clean_text(value) or name == "profile"):
            faults.append(f"{name} is {value!r}, not a text")
        else:
            texts[name] = clean_text(value)
    task = values.get("task")
    task = _DEFAULT_TASK if task is None else task
    if task not in TASKS:
        faults.append(f"task is {task!r}, not one of {', '.join(TASKS)}")
    score = values.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 1 <= score <= 5:
        faults.append(f"score is {score!r}, not a number from 1 to 5")
    in_voice = values.get("in_voice")
    if not isinstance(in_voice, bool | None):
        faults.append(f"in_voice is {in_voice!r}, not true or false")
    author = values.get("author")
    if not isinstance(author, str | None):
        faults.append(f"author is {author!r}, not the name of a model")
    if faults:
        return faults
    parts = (texts["persona"], texts["profile"], str(task), texts["question"], texts["answer"])
    return Labelled(
        key=content_key("labelled", *parts),
        persona=texts["persona"],
        profile=texts["profile"],
        task=cast(EvalTask, task),
        question=texts["question"],
        answer=texts["answer"],
        score=float(cast(float, score)),
        in_voice=cast("bool | None", in_voice),
        author=clean_text(cast("str | None", author) or ""),
    )


def _share(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def _cut(problems: list[Problem], path: str | Path) -> list[Problem]:
    left = len(problems) - _SHOWN_PROBLEMS
    if left <= 0:
        return problems
    return [*problems[:_SHOWN_PROBLEMS], Problem(str(path), f"has {left} more such faults", _TODO)]


def _refuse(path: str | Path, error: Exception) -> ConfigError:
    what = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
    return ConfigError(Problem(str(path), what, "give a JSONL file of labelled answers"))
