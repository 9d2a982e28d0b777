"""Counts the tokens of prompts fast, with a model folder's tokenizer and chat template.

Importing transformers takes seconds, which a plan does not have; what counts here is a number, so
the tokenizer's own library and the template are enough. Rows are made by
:mod:`infra.rendering.encoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.errors import TemplateRefused
from infra.models.tokenizer_json import open_tokenizer
from infra.protocol import Message
from infra.rendering.chat_roles import ChatRoles, arrange, probe_roles
from infra.rendering.chat_template import ChatTemplate, find_template, read_special_tokens

CHARS_A_TOKEN = 4
"""English text under today's tokenizers, roughly; for models whose tokenizer is not here."""

_TURN_TOKENS = 5
"""What a chat template adds to a turn, roughly."""


class PromptCounter:
    """Counter of tokens with one model's tokenizer; without one, from the number of characters."""

    def __init__(self, folder: Path | None, template: str | None = None) -> None:
        """Take a model folder; ``template`` stands in for its own chat template."""
        self._tokenizer = None if folder is None else _load_tokenizer(folder)
        self.refused = ""
        """What the template said of the first prompt that it did not render."""
        self._template: ChatTemplate | None = None
        self._roles = ChatRoles()
        source = template or (find_template(folder) if folder is not None else None)
        if folder is not None and self._tokenizer is not None and source is not None:
            with suppress(TemplateRefused):  # told by the checks; a number is wanted here
                found = ChatTemplate(source, read_special_tokens(folder))
                self._roles = probe_roles(found)
                self._template = found

    @property
    def exact(self) -> bool:
        """Tell whether the model's own tokenizer counts."""
        return self._tokenizer is not None

    def count(self, messages: Sequence[Message]) -> int:
        """Return the tokens of a prompt, the template's own included."""
        rendered = self._render(messages)
        if rendered is not None:
            return self.count_text(rendered)
        return sum(self.count_text(item.content) + _TURN_TOKENS for item in messages)

    def count_text(self, text: str) -> int:
        """Return the tokens of a text."""
        if self._tokenizer is None:
            return -(-len(text) // CHARS_A_TOKEN)
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _render(self, messages: Sequence[Message]) -> str | None:
        if self._template is None:
            return None
        try:
            return self._template.render(arrange(messages, self._roles)[0])
        except TemplateRefused as error:
            self.refused = self.refused or str(error)
            return None


def _load_tokenizer(folder: Path) -> Any:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    try:
        return open_tokenizer(path)
    except Exception:  # the library raises nothing narrower; the run tells of a broken file
        return None
