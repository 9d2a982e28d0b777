"""Renders messages through a model's chat template and tokenises them, the same everywhere.

One function serves generation and training. Data can never become a special token: any text of
the messages that spells one (``<|eot_id|>``) is broken by a sentinel before the template runs;
the rendered text is then cut at the special tokens that the *template* wrote and at the
sentinels, and every piece between is tokenised as plain text. For data without such text the ids
equal those of tokenising the whole rendering, because tokenizers cut at special tokens first.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from infra.engines.protocol import Message
from infra.model_folders import peek_model
from infra.thinking import find_facts, list_switches, read_own_template
from infra.thought_marks import ThinkingFacts

SENTINEL = "\ufdd0"
"""A Unicode noncharacter, never valid in exchanged text; removed from data."""

_NO_CLASS = "TokenizersBackend"
"""What transformers writes for a tokenizer that is all in its ``tokenizer.json``."""

_KEPT_PIECES = 1024
"""A character's prompt opens all its dialogues: its pieces are tokenised once."""


@dataclass(frozen=True, slots=True)
class MarkedIds:
    """Is a whole conversation as token ids, with the half-open token spans of its answers.

    There is one span an assistant turn, in order: what the template encloses in
    ``{% generation %}`` marks.
    """

    ids: list[int]
    answers: tuple[tuple[int, int], ...]


class PromptEncoder:
    """Turns messages into token ids with one model's tokenizer and chat template.

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
        added = {str(token): int(index) for index, token in tokenizer.added_tokens_decoder.items()}
        self._ids = added
        spelled = "|".join(re.escape(token) for token in sorted(added, key=len, reverse=True))
        self._special = re.compile(spelled) if spelled else None
        self._cut = re.compile(f"({SENTINEL}|{spelled})" if spelled else f"({SENTINEL})")
        self._plain = lru_cache(maxsize=_KEPT_PIECES)(self._tokenise_piece)

    def encode(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True
    ) -> tuple[int, ...]:
        """Return the token ids of a prompt, special tokens only where the template put them."""
        rendered = self._tokenizer.apply_chat_template(
            self._disarm_all(messages),
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **self._values,
        )
        ids: list[int] = []
        for piece in self._pieces(rendered):
            if piece in self._ids:
                ids.append(self._ids[piece])
            else:
                ids.extend(self._plain(piece))
        return tuple(ids)

    @cached_property
    def thinking(self) -> ThinkingFacts:
        """Return what the tokenizer and the template tell of the model's thoughts."""
        return find_facts(self._tokenizer, self._template, self._values)

    def encode_marked(self, conversations: Sequence[Sequence[Message]]) -> list[MarkedIds]:
        """Return the token ids of whole conversations and the spans of their answers.

        The template must have ``{% generation %}`` marks. Text is cut at the marks too, so that
        the ids before an answer are those of the prompt that asks for it. The conversations are
        tokenised together, equal pieces once.
        """
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, marks = render_jinja_template(
            [self._disarm_all(messages) for messages in conversations],
            chat_template=self._tokenizer.get_chat_template(self._template),
            return_assistant_tokens_mask=True,
            **self._tokenizer.special_tokens_map,
        )
        cut = [
            [list(self._pieces(part)) for part in _split_at(text, spans)]
            for text, spans in zip(texts, marks, strict=True)
        ]
        pieces = {piece for parts in cut for part in parts for piece in part}
        plain = sorted(piece for piece in pieces if piece not in self._ids)
        ids_of = {piece: [self._ids[piece]] for piece in pieces if piece in self._ids}
        if plain:
            ids_of.update(zip(plain, self._tokenise_all(plain), strict=True))
        return [_join(parts, ids_of) for parts in cut]

    def _pieces(self, text: str) -> Iterator[str]:
        """Cut a rendering at its special tokens, which are pieces too, and at the sentinels."""
        return (piece for piece in self._cut.split(text) if piece and piece != SENTINEL)

    def _tokenise_piece(self, piece: str) -> list[int]:
        return self._tokenise_all([piece])[0]

    def _tokenise_all(self, pieces: list[str]) -> list[list[int]]:
        ids: list[list[int]] = self._tokenizer(
            pieces,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return ids

    def _disarm_all(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        return [{"role": item.role, "content": self._disarm(item.content)} for item in messages]

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


def _split_at(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Cut a text at the ends of its spans: outside, inside, outside, inside, … outside."""
    ends = [0, *(end for span in spans for end in span), len(text)]
    return [text[start:end] for start, end in pairwise(ends)]


def _join(parts: Sequence[Sequence[str]], ids_of: dict[str, list[int]]) -> MarkedIds:
    ids: list[int] = []
    ends: list[int] = []
    for part in parts:
        for piece in part:
            ids.extend(ids_of[piece])
        ends.append(len(ids))
    return MarkedIds(ids, tuple(zip(ends[0:-1:2], ends[1::2], strict=True)))


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

            return PreTrainedTokenizerFast.from_pretrained(model)
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(model, revision=revision)


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
    from tokenizers import Tokenizer

    # A tokenizer that cannot be read is told by whoever loads the model in earnest.
    with suppress(Exception):
        return len(Tokenizer.from_file(str(path)).encode(text, add_special_tokens=False).ids)
    return None


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """Names an encoder so that workers load it: a model, and a template where it has none.

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
