"""Finds the JSON value in a model's answer, in the forms that models wrap it in."""

from __future__ import annotations

import json
import re

from infra.errors import Reject

_FENCE = re.compile(r"```[a-zA-Z]*\s*\n(.*?)\n?\s*```", re.DOTALL)
_SHOWN_CHARS = 80


def find_json(text: str) -> object | Reject:
    """Return the first JSON object or list of an answer, alone, fenced, or between talk."""
    text = text.strip()
    if fenced := _FENCE.search(text):
        text = fenced.group(1).strip()
    start = min((index for index in (text.find("["), text.find("{")) if index >= 0), default=-1)
    if start < 0:
        return Reject("not_json", text[:_SHOWN_CHARS])
    try:
        # Bounded strings let raw control characters through the grammar (measured): not strict.
        value: object
        value, _ = json.JSONDecoder(strict=False).raw_decode(text[start:])
    except (ValueError, RecursionError) as error:
        return Reject("not_json", str(error))
    return value
