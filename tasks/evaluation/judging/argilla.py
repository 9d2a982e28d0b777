"""Writes answers to be rated as Argilla's records, one a JSON line, and reads responses back.

A record is what ``Record.to_dict`` of Argilla 2 gives and ``Record.from_dict`` takes. Its questions
are read by name: ``score`` and ``comment``, or ``preferred`` where fields or metadata have ``left``
and ``right``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_FIELDS = ("persona", "profile", "task", "rubric", "question", "answer")


def render_records(rows: Sequence[Mapping[str, str]]) -> bytes:
    """Return rows of a sheet as records: what people read as fields, the rest as metadata."""
    lines = [json.dumps(_describe(row), ensure_ascii=False) + "\n" for row in rows]
    return "".join(lines).encode()


def read_record(record: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yield a row of a sheet for each user who answered any of the record's questions."""
    answers: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for question, responses in (record.get("responses") or {}).items():
        for response in responses:
            answers[str(response.get("user_id") or "")][question] = str(response["value"])
    shown = {**(record.get("metadata") or {}), **record["fields"]}
    cells = {str(name): str(value) for name, value in shown.items()}
    for user, told in answers.items():
        yield {**cells, **told, "row": str(record.get("id")), "rater": user}


def _describe(row: Mapping[str, str]) -> dict[str, Any]:
    rest = {name.replace(" ", "_"): row[name] for name in row if name not in (*_FIELDS, "row")}
    return {
        "id": row["row"],
        "fields": {name: row[name] for name in _FIELDS},
        "metadata": rest,
        "suggestions": {},
        "responses": {},
        "vectors": {},
    }
