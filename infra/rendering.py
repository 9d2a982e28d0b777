"""Renders messages through a model's chat template and tokenises them, the same everywhere.

One function serves generation and training. Data can never become a special token: any text of
the messages that spells one (``<|eot_id|>``) is broken by a sentinel before the template runs;
the rendered text is then cut at the special tokens that the *template* wrote and at the
sentinels, and every piece between is tokenised as plain text. For data without such text the ids
equal those of tokenising the whole rendering, because tokenizers cut at special tokens first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from infra.engines.protocol import Message

SENTINEL = "\ufdd0"
"""A Unicode noncharacter, never valid in exchanged text; removed from data."""


class PromptEncoder:
    """Turns messages into token ids with one model's tokenizer and chat template.

    This is the only door to transformers' tokenizers in generation.
    """

    def __init__(self, model: str, revision: str | None = None) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(model, revision=revision)
        self._tokenizer: Any = tokenizer
        added = {str(token): int(index) for index, token in tokenizer.added_tokens_decoder.items()}
        self._ids = added
        spelled = "|".join(re.escape(token) for token in sorted(added, key=len, reverse=True))
        self._special = re.compile(spelled) if spelled else None
        self._cut = re.compile(f"({SENTINEL}|{spelled})" if spelled else f"({SENTINEL})")

    def encode(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> tuple[int, ...]:
        """Return the token ids of a prompt, special tokens only where the template put them."""
        rendered = self._tokenizer.apply_chat_template(
            [{"role": item.role, "content": self._disarm(item.content)} for item in messages],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
        ids: list[int] = []
        for piece in self._cut.split(rendered):
            if piece in self._ids:
                ids.append(self._ids[piece])
            elif piece and piece != SENTINEL:
                ids.extend(self._plain(piece))
        return tuple(ids)

    def _plain(self, piece: str) -> list[int]:
        ids: list[int] = self._tokenizer(piece, add_special_tokens=False)["input_ids"]
        return ids

    def _disarm(self, text: str) -> str:
        """Break every spelled special token after its first character."""
        text = text.replace(SENTINEL, "")
        if self._special is None:
            return text
        pieces: list[str] = []
        start = 0
        while found := self._special.search(text, start):
            pieces.append(text[start : found.start() + 1])
            start = found.start() + 1
        return SENTINEL.join([*pieces, text[start:]])


def count_plain_tokens(folder: Path, text: str) -> int | None:
    """Count the tokens of a text quickly, without transformers; ``None`` without tokenizer.json."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    # A tokenizer that cannot be read is told by whoever loads the model in earnest.
    with suppress(Exception):
        return len(Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False).ids)
    return None


@lru_cache(maxsize=4)
def load_encoder(model: str, revision: str | None = None) -> PromptEncoder:
    """Return the encoder of a model, loaded once a process."""
    return PromptEncoder(model, revision)
