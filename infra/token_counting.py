"""Counts the tokens of prompts fast, with a model folder's tokenizer and chat template.

Importing transformers takes seconds, which a plan does not have; what counts here is a number, so
the tokenizer's own library and the template are enough. Rows are made by :mod:`infra.rendering`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from infra.engines.protocol import Message

CHARS_A_TOKEN = 4
"""English text under today's tokenizers, roughly; for models whose tokenizer is not here."""

_TURN_TOKENS = 5
"""What a chat template adds to a turn, roughly."""


class PromptCounter:
    """Counts with one model's tokenizer; without one, from the number of characters."""

    def __init__(self, folder: Path | None, template: str | None = None) -> None:
        """Take a model folder; ``template`` stands in for its own chat template."""
        self._tokenizer = None if folder is None else _load_tokenizer(folder)
        self._settings: Mapping[str, Any] = {}
        self._template: Template | None = None
        if folder is not None and self._tokenizer is not None:
            self._settings = _read_json(folder / "tokenizer_config.json")
            self._template = _compile(template or _find_template(folder, self._settings))

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
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        try:
            return self._template.render(
                messages=[{"role": item.role, "content": item.content} for item in messages],
                add_generation_prompt=True,
                **{name: _spell(self._settings.get(name)) for name in names},
            )
        except (TemplateError, TypeError, ValueError):
            return None  # a template of functions that only transformers has


def _load_tokenizer(folder: Path) -> Any:
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception:  # the library raises nothing narrower; the run tells of a broken file
        return None


def _find_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    source = path.read_text(encoding="utf-8") if path.is_file() else settings.get("chat_template")
    return source if isinstance(source, str) else None


def _compile(source: str | None) -> Template | None:
    if source is None:
        return None
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    try:
        return environment.from_string(source)
    except TemplateError:
        return None


def _refuse(message: str) -> None:
    raise TemplateError(message)


def _spell(token: object) -> str:
    """Return a special token's text, which files hold bare or in an object."""
    if isinstance(token, dict):
        return str(token.get("content", ""))
    return str(token or "")


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
