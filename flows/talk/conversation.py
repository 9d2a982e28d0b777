"""Holds a conversation in character: the system prompt, the turns, and what must be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace

from infra.errors import PromptTooLong
from infra.protocol import Delta, Message, Request, SamplingParams
from infra.text.loops import find_loop

Stream = Callable[[Request], Iterator[Delta]]
"""Answers a request in deltas; raises :class:`PromptTooLong` before the first."""

Encode = Callable[[Sequence[Message]], tuple[int, ...]]

LOOPED = "looped"
"""How an answer ends that went round in circles."""

_LOOK_EVERY_CHARS = 80


@dataclass
class Conversation:
    """Who speaks (the system prompt) and what was said so far, user first, roles alternating."""

    system: str
    sampling: SamplingParams
    stream: Stream
    encode: Encode | None
    turns: list[Message] = field(default_factory=list)
    keep_special: bool = False
    """Whether marks of thoughts are special tokens, which the engine needs in the text."""
    forgotten: int = 0
    """How many exchanges were dropped from the beginning because they no longer fit."""
    _asked: int = 0

    def ask(self, text: str) -> Generator[Delta, None, None]:
        """Say something and give out the answer; both are remembered.

        An answer that is broken off is remembered as far as it was heard; a question without
        any answer is not, and neither is what turned out to be a thought. The oldest exchanges are
        forgotten when the prompt grows too long. An answer that goes round in circles is broken
        off (``LOOPED``) and forgotten, as it would draw the next ones in.
        """
        self.turns.append(Message("user", text))
        heard: list[str] = []
        unseen = 0
        try:
            for delta in self._answer():
                if delta.retracts:
                    heard.clear()
                heard.append(delta.text)
                yield delta
                unseen += len(delta.text)
                if unseen >= _LOOK_EVERY_CHARS:
                    unseen = 0
                    if find_loop("".join(heard)) is not None:
                        heard.clear()
                        yield Delta("", LOOPED)
                        return
        finally:
            said = "".join(heard).strip()
            if said:
                self.turns.append(Message("assistant", said))
            else:
                self.turns.pop()

    def reset(self) -> None:
        """Forget what was said; the character stays."""
        self.turns.clear()
        self.forgotten = 0

    def _answer(self) -> Iterator[Delta]:
        while True:
            try:
                yield from self.stream(self._request())
                return
            except PromptTooLong:
                if len(self.turns) < 3:
                    raise
                del self.turns[:2]
                self.forgotten += 1

    def _request(self) -> Request:
        messages = (Message("system", self.system), *self.turns)
        self._asked += 1
        seed = self.sampling.seed
        return Request(
            request_id=f"chat-{self._asked}",
            messages=messages,
            token_ids=self.encode(messages) if self.encode is not None else None,
            sampling=(
                replace(self.sampling, seed=seed + self._asked)
                if seed is not None
                else self.sampling
            ),
            keep_special=self.keep_special,
        )
