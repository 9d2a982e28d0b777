"""Counts tokens in place of an endpoint that reports none, so that budgets hold all the same.

With the model's own tokenizer where its folder or hub snapshot lies on this machine; else a token
per four bytes of UTF-8, which is near for English and rather too many than too few for other
scripts. Such counts are marked as estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infra.protocol import Message

BYTES_PER_TOKEN = 4
_TURN_TOKENS = 5


class UsageCounter:
    """Counter of what an endpoint's model reads and writes; looks for a tokenizer on first use."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._count: Callable[[str], int] | None = None
        self.method = ""

    def count(self, text: str) -> int:
        """Return the tokens of a text, or an estimate."""
        if self._count is None:
            self._count = self._find()
        return self._count(text)

    def count_prompt(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a prompt, with what a chat template adds to a turn, roughly."""
        return sum(self.count(item.content) + _TURN_TOKENS for item in messages)

    def _find(self) -> Callable[[str], int]:
        from infra.engines.config import ModelConfig
        from infra.engines.model_facts import find_model_folder
        from infra.rendering.token_counting import PromptCounter

        try:
            folder = find_model_folder(ModelConfig(model=self._model))
            counter = PromptCounter(folder) if folder is not None else None
        except Exception:  # a count is no reason to lose an answer that is there
            counter = None
        if counter is not None and counter.exact:
            self.method = "the model's own tokenizer"
            return counter.count_text
        self.method = f"a token per {BYTES_PER_TOKEN} bytes"
        return _estimate


def _estimate(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN)
