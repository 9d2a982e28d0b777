"""Answers as judges with one known fault each, for scripted engines of tests."""

from __future__ import annotations

import json

from infra.protocol import Request


def judge_by_length(request: Request) -> str:
    """Score an answer by its words and nothing else."""
    asked = request.messages[-1].content
    answer = asked.partition("# Response\n")[2].partition("\n\n# Verdict")[0]
    score = min(5, 1 + len(answer.split()) // 20)
    return json.dumps({"justification": "Long.", "score": score})


def judge_by_place(request: Request) -> str:
    """Give the score of the anchor that stands first, and look at nothing else."""
    asked = request.messages[-1].content
    first = asked.partition("# Scores\n")[2].partition(":")[0].strip()
    return json.dumps({"justification": "First.", "score": int(first)})
