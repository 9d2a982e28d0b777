"""Writes what a model answered, and the judges' verdicts on it, as a log of inspect_ai.

The format is its JSON log, version 2 (``inspect_ai.log.EvalLog``): ``inspect view`` shows it and
``read_eval_log`` reads it. Each question is a sample and each judge a scorer; a verdict that could
not be read is no score, and is counted as unscored.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tasks.measures.statistics import estimate_mean, take_scores
from tasks.records import Answer, Judgement

VERSION = 2


def render_log(
    model: str,
    answers: Sequence[Answer],
    judgements: Iterable[Judgement],
    *,
    run: str,
    created: str,
    versions: Mapping[str, str],
) -> bytes:
    """Return a log of one model's answers; ``created`` is a time in ISO 8601 with its zone.

    ``stderr`` is clustered by persona, as everywhere in the report.
    """
    verdicts: defaultdict[str, list[Judgement]] = defaultdict(list)
    for row in judgements:
        if row.model == model:
            verdicts[row.answer_key].append(row)
    judged = [row for answer in answers for row in verdicts[answer.key]]
    log = {
        "version": VERSION,
        "status": "success",
        "eval": {
            "run_id": run,
            "created": created,
            "task": "opencharacter",
            "task_id": f"{run}/{model}",
            "dataset": {
                "name": run,
                "samples": len(answers),
                "sample_ids": [row.question_key for row in answers],
            },
            "model": model,
            "config": {},
            "packages": dict(versions),
        },
        "results": {
            "total_samples": len(answers),
            "completed_samples": len(answers),
            "scores": [_score(judged, model, judge) for judge in _list_judges(judged)],
        },
        "stats": {"started_at": created, "completed_at": created},
        "samples": [_describe(row, verdicts[row.key]) for row in answers],
    }
    return json.dumps(log, ensure_ascii=False, indent=1).encode()


def _list_judges(judged: Iterable[Judgement]) -> list[str]:
    return sorted({row.judge for row in judged})


def _score(judged: Sequence[Judgement], model: str, judge: str) -> dict[str, Any]:
    found = estimate_mean(take_scores(judged, model, judge))
    values = {"mean": found.mean, "stderr": found.standard_error}
    return {
        "name": judge,
        "scorer": judge,
        "scored_samples": found.rows,
        "unscored_samples": found.missing,
        "metrics": {
            name: {"name": name, "value": value}
            for name, value in values.items()
            if value is not None
        },
    }


def _describe(answer: Answer, verdicts: Iterable[Judgement]) -> dict[str, Any]:
    said = {"role": "assistant", "content": answer.answer, "source": "generate"}
    stop = "max_tokens" if answer.truncated else "stop"
    return {
        "id": answer.question_key,
        "epoch": 1,
        "input": answer.question,
        "target": "",
        "messages": [{"role": "user", "content": answer.question, "source": "input"}, said],
        "output": {
            "model": answer.model,
            "choices": [{"message": said, "stop_reason": stop}],
            "completion": answer.answer,
        },
        "scores": {
            row.judge: {
                "value": row.score,
                "answer": answer.answer,
                "explanation": row.justification,
            }
            for row in verdicts
            if row.score is not None
        },
        "metadata": {"persona": answer.persona, "task": answer.task, "answer_key": answer.key},
    }
