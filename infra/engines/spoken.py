"""Takes the speech out of what an engine answers; every completion passes here once."""

from __future__ import annotations

from dataclasses import replace

from infra.errors import Reject
from infra.protocol import Completion
from infra.thoughts.marks import NOTHING_KNOWN, ThinkingFacts
from infra.thoughts.parting import part_thought

NO_ANSWER = "truncated"
FILTERED = "filtered"


def take_speech(completion: Completion, facts: ThinkingFacts = NOTHING_KNOWN) -> Completion:
    """Return a completion whose text is speech alone; thoughts are counted, not kept."""
    speech = part_thought(completion.text, facts)
    apart = completion.thought_chars + len(completion.reasoning)
    thought = speech.thought_chars + apart
    if not thought and speech.closed and speech.text == completion.text:
        return completion
    share = completion.completion_tokens * thought // max(1, len(completion.text) + apart)
    return replace(
        completion,
        text=speech.text,
        reasoning="",
        thought_chars=thought,
        thought_tokens=completion.thought_tokens or min(share, completion.completion_tokens),
        unspoken=not speech.closed,
    )


def drop_reasoning(completion: Completion) -> Completion:
    """Return a completion with its text as it is, and without what came apart from it."""
    apart = completion.thought_chars + len(completion.reasoning)
    return replace(completion, reasoning="", thought_chars=apart) if apart else completion


def find_missing_answer(completion: Completion) -> Reject | None:
    """Tell of a model that was filtered, or thought and did not speak, so that it is asked again.

    What a model says to refuse is an answer; what a filter left of one is none.
    """
    finish = completion.finish_reason
    if finish == "content_filter" or (finish == "refusal" and not completion.text.strip()):
        return Reject(FILTERED, completion.text[-100:] or "a filter let no answer through")
    thought_only = completion.thought_chars > 0 and not completion.text.strip()
    if not completion.unspoken and not thought_only:
        return None
    return Reject(
        NO_ANSWER,
        f"the thought of {completion.thought_chars:,} characters ended without an answer: raise "
        "the model's max_thought_tokens, or set its thinking to off",
    )
