"""Renders messages through a model's chat template and tokenises them, the same everywhere.

One function serves generation and training. The ids are those of tokenising the whole rendering
with the model's own tokenizer; data can never become a special token
(:mod:`infra.rendering.prompt_tokens`). What a template does not take is arranged for it first
(:mod:`infra.rendering.chat_roles`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from infra.errors import ConfigError, Problem, TemplateRefused
from infra.models.folders import peek_model
from infra.models.tokenizer_json import open_tokenizer
from infra.protocol import Message
from infra.rendering.chat_roles import ChatRoles, arrange, probe_roles
from infra.rendering.chat_template import ChatTemplate, derive_spans
from infra.rendering.prompt_tokens import RenderingTokenizer
from infra.thoughts.marks import ThinkingFacts
from infra.thoughts.thinking import find_facts, list_switches, read_own_template

_NO_CLASS = "TokenizersBackend"
"""What transformers writes for a tokenizer that is all in its ``tokenizer.json``."""


@dataclass(frozen=True, slots=True)
class MarkedIds:
    """A whole conversation as token ids, with the half-open token spans of its answers.

    Attributes:
        ids: Those of the whole rendering.
        answers: A span an assistant turn, in order: what the template encloses in
            ``{% generation %}`` marks. ``None`` for one that begins or ends within a token, so
            that no prompt that ends there has the ids before it.
        places: Of every message, the answer that holds it, by number; ``None`` for others.
    """

    ids: list[int]
    answers: tuple[tuple[int, int] | None, ...]
    places: tuple[int | None, ...]


class PromptEncoder:
    """A model's tokenizer and chat template, which turn messages into token ids.

    This is the only door to transformers' tokenizers in generation.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        template: str | None = None,
        values: Mapping[str, Any] | None = None,
        thinking_off: bool = False,
    ) -> None:
        tokenizer = load_tokenizer(model, revision)
        source = (template or read_own_template(tokenizer)) if thinking_off else ""
        self._adopt(tokenizer, template, {**list_switches(source), **(values or {})})

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, template: str | None = None) -> PromptEncoder:
        """Wrap a loaded tokenizer; ``template`` stands in for its own chat template."""
        encoder = cls.__new__(cls)
        encoder._adopt(tokenizer, template)
        return encoder

    def _adopt(
        self, tokenizer: Any, template: str | None, values: Mapping[str, Any] | None = None
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._values = dict(values or {})
        self._tokens = RenderingTokenizer(tokenizer)

    @cached_property
    def template(self) -> ChatTemplate:
        """Return the chat template; :class:`TemplateRefused` where there is none."""
        return read_template(self._tokenizer, self._template)

    @cached_property
    def roles(self) -> ChatRoles:
        """Return which turns the template takes.

        Raises :class:`TemplateRefused` where it takes no question.
        """
        return probe_roles(self.template, self._values)

    @cached_property
    def thinking(self) -> ThinkingFacts:
        """Return what the tokenizer and the template tell of the model's thoughts."""
        return find_facts(self._tokenizer, self._template, self._values)

    def encode(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> tuple[int, ...]:
        """Return the token ids of a prompt, special tokens only where the template put them.

        Raises :class:`TemplateRefused` for a conversation that the template does not render.
        """
        arranged, _ = self._prepare(messages)
        rendered = self.template.render(
            arranged, add_generation_prompt=add_generation_prompt, **self._values
        )
        return tuple(self._tokens.encode(rendered))

    def encode_data(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text as it follows a special token; none of them is special."""
        return tuple(self._tokens.encode_data(text))

    def encode_marked(
        self, conversations: Sequence[Sequence[Message]], stop: str = ""
    ) -> list[MarkedIds | TemplateRefused]:
        """Return the token ids of whole conversations and the spans of their answers.

        Where the template has no ``{% generation %}`` marks, an answer goes from the end of the
        prompt that asks for it to the token ``stop``. The conversations are tokenised
        together, equal pieces once. One that the template does not render is told in its place.
        """
        rendered = [self._render_marked(messages, stop) for messages in conversations]
        texts: dict[str, None] = {}
        for item in rendered:
            if isinstance(item, _Rendered):
                texts |= dict.fromkeys(item.list_texts())
        found = dict(zip(texts, self._tokens.encode_many(list(texts)), strict=True))
        return [item.mark(found) if isinstance(item, _Rendered) else item for item in rendered]

    def _render_marked(self, messages: Sequence[Message], stop: str) -> _Rendered | TemplateRefused:
        try:
            arranged, places = self._prepare(messages)
            if self.template.marks_answers or not stop:
                text, spans = self.template.render_marked(arranged, **self._values)
            else:
                text, spans = derive_spans(self.template, arranged, stop, **self._values)
        except TemplateRefused as error:
            return error
        spoken = [place for place, item in enumerate(arranged) if item.role == "assistant"]
        numbers = {place: number for number, place in enumerate(spoken)}
        return _Rendered(
            text, spans, tuple(None if place is None else numbers.get(place) for place in places)
        )

    def _prepare(self, messages: Sequence[Message]) -> tuple[list[Message], tuple[int | None, ...]]:
        safe = [Message(item.role, self._tokens.disarm(item.content)) for item in messages]
        return arrange(safe, self.roles)


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A conversation as text, with the character spans of its answers."""

    text: str
    spans: tuple[tuple[int, int], ...]
    places: tuple[int | None, ...]

    def list_texts(self) -> list[str]:
        """Return what is to be tokenised: the whole, and it up to every end of a span."""
        return [self.text, *(self.text[:end] for span in self.spans for end in span)]

    def mark(self, known: dict[str, list[int]]) -> MarkedIds:
        """Find the spans in the ids: up to there, the whole must begin as the part alone."""
        ids = known[self.text]

        def place(end: int) -> int | None:
            part = known[self.text[:end]]
            return len(part) if ids[: len(part)] == part else None

        answers: list[tuple[int, int] | None] = []
        for start, end in self.spans:
            first, last = place(start), place(end)
            answers.append(None if first is None or last is None else (first, last))
        return MarkedIds(list(ids), tuple(answers), self.places)


def read_template(tokenizer: Any, template: str | None = None) -> ChatTemplate:
    """Return a loaded tokenizer's chat template, or another with its special tokens.

    Raises :class:`TemplateRefused` where it has none.
    """
    named = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    if template is None and not tokenizer.chat_template:
        raise TemplateRefused("the model has no chat template")
    return ChatTemplate(tokenizer.get_chat_template(template), named)


_LOADING = threading.Lock()
"""One thread at a time: to another, transformers looks unfinished while it is imported."""


def load_tokenizer(model: str, revision: str | None = None) -> Any:
    """Load a model's tokenizer as it is, chat template or none.

    Where a folder says that it needs no class of its own, it is read without ``AutoTokenizer``,
    which imports PyTorch: 2 s of a core instead of 8, in every worker and run.
    """
    model = str(peek_model(model))
    with _LOADING:
        if _names_no_class(Path(model)):
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast.from_pretrained(model, trust_remote_code=False)
        from transformers import AutoTokenizer

        try:
            return AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            raise ConfigError(
                Problem(
                    model,
                    "its tokenizer needs code of its own, which is never run here",
                    "take a model that transformers knows by itself, or serve this one elsewhere"
                    " and name it as an endpoint",
                )
            ) from error


def _names_no_class(folder: Path) -> bool:
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return False
    config = json.loads(path.read_text(encoding="utf-8"))
    return config.get("tokenizer_class") == _NO_CLASS and "auto_map" not in config


def count_plain_tokens(folder: Path, text: str) -> int | None:
    """Count the tokens of a text quickly, without transformers; ``None`` without tokenizer.json."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return None
    # A tokenizer that cannot be read is told by whoever loads the model in earnest.
    with suppress(Exception):
        return len(open_tokenizer(path).encode(text, add_special_tokens=False).ids)
    return None


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Name of an encoder, by which workers load it: a model, and a template where it has none.

    ``values`` are the template's further values, as JSON; ``thinking_off`` sets the switches that
    the template knows.
    """

    model: str
    revision: str | None = None
    template: str | None = None
    values: str = ""
    thinking_off: bool = False


def open_encoder(spec: EncoderSpec) -> PromptEncoder:
    """Return the encoder that a specification names, loaded once a process."""
    return load_encoder(
        spec.model, spec.revision, spec.template, spec.values, thinking_off=spec.thinking_off
    )


@lru_cache(maxsize=4)
def load_encoder(
    model: str,
    revision: str | None = None,
    template: str | None = None,
    values: str = "",
    *,
    thinking_off: bool = False,
) -> PromptEncoder:
    """Return the encoder of a model, loaded once a process."""
    given = json.loads(values) if values else {}
    return PromptEncoder(model, revision, template, given, thinking_off)
