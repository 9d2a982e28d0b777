"""Turns examples into token ids and loss masks, through the function that also makes prompts.

What is learnt: the answers the character played and the token that ends each. System prompts,
user turns, headers and given answers (``context_turns``) are read, never learnt. The ids before
every answer are those of the prompt that would ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from infra.errors import ConfigError, Problem, TemplateRefused
from infra.protocol import Message
from infra.rendering.encoder import MarkedIds, PromptEncoder
from tasks.records import Example, Rejection
from tasks.training.rows.templates import ChatFormat

Reason = Literal["empty", "no_trained_tokens", "too_long", "template_refused", "uncut"]

Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

_PROBES = (
    (Message("user", "Who are you?"), Message("assistant", "The baker.")),
    (
        Message("system", "Be the baker.\n\nName: Ann"),
        Message("user", "1 + 1?"),
        Message("assistant", "“Two,” she said.\n"),
        Message("user", "(And then)\n"),
        Message("assistant", "*3*"),
    ),
)


@dataclass(frozen=True, slots=True, eq=False)
class EncodedExample:
    """One example as the model sees it.

    Attributes:
        key: The example's key.
        input_ids: Token ids, shape ``[tokens]``, int32.
        trained: Which of them carry loss, shape ``[tokens]``: played answers with their
            end-of-turn tokens. At least one does.
    """

    key: str
    input_ids: Ids
    trained: Mask


@dataclass(frozen=True, slots=True)
class Unfit:
    """Example that cannot be trained on.

    Reasons: ``empty`` (no messages, or a played answer without text, which would teach silence),
    ``no_trained_tokens`` (every answer is given, or there is none), ``too_long``,
    ``template_refused`` (the chat template does not render it, in its own words), ``uncut`` (a
    played answer begins or ends within a token).
    """

    key: str
    reason: Reason
    detail: str
    source: str
    tokens: int

    @property
    def rejection(self) -> Rejection:
        """Return the row that records why the example was left out."""
        return Rejection(self.key, self.reason, self.detail, self.source)


class ExampleEncoder:
    """Encoder of examples in one chat format; raises :class:`ConfigError` if it cannot hold.

    It cannot where a prompt that asks for an answer has other ids than the same text has when the
    answer follows it, as with tokenizers that join a header's end and an answer's first letter.
    """

    def __init__(self, tokenizer: Any, chat_format: ChatFormat, *, max_length: int) -> None:
        self._encoder = PromptEncoder.from_tokenizer(tokenizer, chat_format.training_template)
        self._stop = chat_format.stop_token
        self._max_length = max_length
        _probe(tokenizer, chat_format, self._encoder)

    def encode(self, examples: Sequence[Example]) -> list[EncodedExample | Unfit]:
        """Return one verdict an example, in order; encode many at a time, as that is faster."""
        spoken = [example for example in examples if example.messages]
        marked = iter(
            self._encoder.encode_marked(
                [[Message(turn.role, turn.content) for turn in item.messages] for item in spoken],
                self._stop,
            )
            if spoken
            else ()
        )
        return [
            self._judge(example, next(marked))
            if example.messages
            else Unfit(example.key, "empty", "no messages", example.dialogue_key, 0)
            for example in examples
        ]

    def _judge(
        self, example: Example, marked: MarkedIds | TemplateRefused
    ) -> EncodedExample | Unfit:
        tokens = len(marked.ids) if isinstance(marked, MarkedIds) else 0

        def leave_out(reason: Reason, detail: str) -> Unfit:
            return Unfit(example.key, reason, detail, example.dialogue_key, tokens)

        if isinstance(marked, TemplateRefused):
            return leave_out("template_refused", str(marked))
        spans = [marked.answers[number] for number in _find_played(example, marked)]
        if not spans:
            return leave_out(
                "no_trained_tokens", f"{len(marked.answers)} answers, none of them played"
            )
        played = [span for span in spans if span is not None]
        if len(played) < len(spans):
            return leave_out("uncut", "an answer begins or ends within a token")
        if any(end - start < 2 for start, end in played):
            return leave_out("empty", "an answer without text")
        if tokens > self._max_length:
            return leave_out("too_long", f"{tokens} tokens, max_length is {self._max_length}")
        trained = np.zeros(tokens, dtype=np.bool_)
        for start, end in played:
            trained[start:end] = True
        return EncodedExample(example.key, np.array(marked.ids, dtype=np.int32), trained)


def _find_played(example: Example, marked: MarkedIds) -> list[int]:
    """Return the numbers of the answers that the character played itself, whole."""
    opening = 1 if example.messages[0].role == "system" else 0
    begins = opening + example.context_turns
    spoken = [place for place, turn in enumerate(example.messages) if turn.role == "assistant"]
    given = {marked.places[place] for place in spoken if place < begins}
    played = {marked.places[place] for place in spoken if place >= begins} - given
    return sorted(number for number in played if number is not None)


def _probe(tokenizer: Any, chat_format: ChatFormat, encoder: PromptEncoder) -> None:
    """Compare with the prompts that will be served, answer by answer."""
    serving = PromptEncoder.from_tokenizer(tokenizer, chat_format.serving_template)
    for messages in _PROBES:
        marked = encoder.encode_marked([messages], chat_format.stop_token)[0]
        places = [place for place, item in enumerate(messages) if item.role == "assistant"]
        if isinstance(marked, TemplateRefused) or len(marked.answers) != len(places):
            why = f"{marked}" if isinstance(marked, TemplateRefused) else "it marks other turns"
            raise ConfigError(
                Problem(
                    "training.template",
                    f"the {chat_format.name} template does not render a conversation: {why}",
                    "choose another template, or fix it",
                )
            )
        for place, span in zip(places, marked.answers, strict=True):
            asked = serving.encode(messages[:place])
            if span is None or list(asked) != marked.ids[: span[0]]:
                raise ConfigError(
                    Problem(
                        "training.model",
                        f"in {chat_format.name} prompts its tokenizer gives the words before an"
                        " answer other tokens when the answer follows, so training would not see"
                        " what serving sees",
                        "choose another training.template, or another base model",
                    )
                )
