"""Cleans what engines say where it enters the project, the same for every engine."""

from __future__ import annotations

import dataclasses
from typing import TypeVar

from infra.errors import Reject
from infra.protocol import Completion
from infra.text.text_cleaning import is_encodable, remove_unreadable

R = TypeVar("R")


def clean_completion(completion: Completion) -> Completion:
    """Return the completion without half surrogates, NULs and other unreadable characters."""
    text = remove_unreadable(completion.text)
    reasoning = remove_unreadable(completion.reasoning)
    if text == completion.text and reasoning == completion.reasoning:
        return completion
    return dataclasses.replace(completion, text=text, reasoning=reasoning)


def describe_blank(completion: Completion) -> str:
    """Say what came in place of a text, for who looks at a rejected row; empty if text came."""
    if completion.text.strip():
        return ""
    thought = f", {len(completion.reasoning):,} characters of reasoning"
    return (
        f"(no text came: finish_reason {completion.finish_reason}"
        f"{thought if completion.reasoning else ''}, {completion.completion_tokens} tokens)"
    )


def refuse_unreadable(outcome: R | Reject) -> R | Reject:
    """Reject a record that no file can hold, before it takes its chunk's other rows with it.

    A clean answer may still spell half a character as an escape in JSON, which its reader undoes.
    """
    if isinstance(outcome, Reject) or is_encodable(outcome):
        return outcome
    return Reject("unreadable_text", "a text holds half of a surrogate pair")
