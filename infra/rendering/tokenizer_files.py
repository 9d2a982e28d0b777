"""Reads of a tokenizer's files what a chat format is chosen by, without importing transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from infra.models.tokenizer_json import open_tokenizer
from infra.rendering.chat_template import find_template, read_special_tokens


@dataclass(frozen=True)
class TokenizerFiles:
    """A tokenizer as its folder describes it, in the words that transformers has for it."""

    folder: Path

    @cached_property
    def _inner(self) -> Any:
        return open_tokenizer(self.folder / "tokenizer.json")

    @cached_property
    def added_tokens_decoder(self) -> Mapping[int, Any]:
        """Return the added tokens by their ids."""
        found: Mapping[int, Any] = self._inner.get_added_tokens_decoder()
        return found

    @cached_property
    def special_tokens_map(self) -> Mapping[str, str]:
        """Return what is called ``bos_token`` and its like."""
        return read_special_tokens(self.folder)

    @cached_property
    def chat_template(self) -> str | None:
        """Return the chat template, if there is one."""
        return find_template(self.folder)

    @property
    def bos_token(self) -> str | None:
        """Return the token that opens texts."""
        return self.special_tokens_map.get("bos_token")

    @property
    def eos_token(self) -> str | None:
        """Return the token that ends texts."""
        return self.special_tokens_map.get("eos_token")

    @property
    def pad_token(self) -> str | None:
        """Return the token that fills rows."""
        return self.special_tokens_map.get("pad_token")

    def get_chat_template(self, template: str | None = None) -> str | None:
        """Return a template that is given, else the tokenizer's own."""
        return template or self.chat_template

    def convert_tokens_to_ids(self, token: str) -> int | None:
        """Return the id of a token."""
        found: int | None = self._inner.token_to_id(token)
        return found
