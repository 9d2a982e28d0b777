"""Shows a judge what it has judged once more, in a way that must not matter: biases come out.

*Padded*: the same answer with words after it that say nothing. *Turned*: the rubric's anchors from
the fifth to the first, each with its own number. What a verdict is asked of stays what it was, so
a pair of verdicts differs by the bias alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from infra.protocol import Message
from tasks.evaluation.judging.calibration import Labelled
from tasks.evaluation.judging.rubrics import VERDICT_VALUES, JudgingPrompts, RubricPrompt

Probe = Literal["padded", "turned"]

EMPTY_WORDS = (
    "That is what there is to say about it, and there is not much more to say than that. When all"
    " is taken together, it is as it is, and it was no different before. So much for that, then,"
    " and as has been said already, that is how the matter stands, no more and no less."
)
"""What is put behind an answer: 57 words that add nothing to it."""

_TURNED = "anchors from the fifth to the first"


@dataclass(frozen=True)
class TurnedPrompt:
    """Prompt of a rubric whose anchors stand from the fifth to the first."""

    prompt: RubricPrompt

    @property
    def source(self) -> str:
        """Return the text that the request is rendered from, and that it is turned."""
        return f"{self.prompt.source}{_TURNED}"

    def render(self, values: Mapping[str, object]) -> tuple[Message, ...]:
        """Render the prompt and turn its list of anchors."""
        anchors = self.prompt.rubric.anchors
        return tuple(
            replace(message, content=turn_lines(message.content, anchors))
            for message in self.prompt.render(values)
        )


def pad_answers(labelled: Sequence[Labelled]) -> list[Labelled]:
    """Return the rows with empty words behind their answers; they keep their keys."""
    return [replace(item, answer=f"{item.answer} {EMPTY_WORDS}") for item in labelled]


def turn_lines(text: str, ends: Sequence[str]) -> str:
    """Turn the first lines that follow one another and end like ``ends``; none: the same text."""
    lines, size = text.split("\n"), len(ends)
    for start in range(len(lines) - size + 1):
        found = lines[start : start + size]
        if all(line.endswith(end) for line, end in zip(found, ends, strict=True)):
            lines[start : start + size] = reversed(found)
            break
    return "\n".join(lines)


def turn_rubrics(prompts: JudgingPrompts) -> JudgingPrompts | None:
    """Return the prompts with their anchors turned, or ``None`` if one lists none, a line each."""
    turned = {}
    shown = dict.fromkeys(VERDICT_VALUES, "")
    for task, prompt in prompts.verdicts.items():
        if not isinstance(prompt, RubricPrompt):
            return None
        turned[task] = TurnedPrompt(prompt)
        if turned[task].render(shown) == prompt.render(shown):
            return None
    return JudgingPrompts(verdicts=turned, examples=prompts.examples)
