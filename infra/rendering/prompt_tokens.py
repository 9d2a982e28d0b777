"""Tokenises rendered prompts as the model's own tokenizer does, and keeps data from being control.

The ids are those of ``tokenizer(rendered, add_special_tokens=False)``. Two things are added to it.

Pieces are kept. Tokenizers cut at added tokens before all else, so a text between two plain
special tokens gives the same ids wherever it stands, but for the first of a rendering, which some
treat otherwise. Such pieces are tokenised once (a character's prompt opens all its dialogues), each
behind a special token, so that none passes for the first. Where a tokenizer's rules leave a doubt,
or its own result differs on a probe, renderings are tokenised whole.

What data spells is no control token. The caller breaks such spellings with a sentinel; a piece that
holds one is tokenised by a copy of the tokenizer in which the control tokens have other spellings,
which nobody writes, the template's own being replaced by them. All other rules are the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Any

from infra.rendering.neutralisation import is_control_token

SENTINEL = "\ufdd0"
"""A Unicode noncharacter, never valid in exchanged text; removed from data."""

_KEPT_PIECES = 1024
_NONCHARACTERS = re.compile("[\ufdd0-\ufdef]")
_MARK, _DIGITS = "\ufdd3", 0xFDE0
_BREAK = " "
"""Stands behind the first character of a spelling where no shielded copy can be made."""

_PROBES = (
    "Be the baker.\n\nName: Ann    Lee",
    " Hello\tthere,  née Łódź!\r\n",
    "<h1>1234.5</h1> ok?\n\n\nfn(x) { }",
    "x",
)

Piece = tuple[bool, str]
"""Whether a text opens the rendering, and the text."""


class RenderingTokenizer:
    """One tokenizer of transformers', for texts that a chat template rendered."""

    def __init__(self, tokenizer: Any) -> None:
        """Take a loaded tokenizer, fast or slow."""
        self._tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder
        self._added = {int(index): token for index, token in added.items()}
        unknown = tokenizer.unk_token_id
        controls = {
            int(index): token.content
            for index, token in added.items()
            if token.content.strip() and (token.special or is_control_token(token.content))
        }
        self._control_ids = frozenset(controls) - {unknown}
        self._controls = {text: index for index, text in controls.items()}
        self._spelled = _alternate(self._controls)
        self._backend = _copy_backend(tokenizer)
        self._anchor: str | None = None
        self._cut: re.Pattern[str] | None = None
        self._plain: frozenset[str] = frozenset()
        self._keep = lru_cache(maxsize=_KEPT_PIECES)(self._encode_piece)
        if self._backend is not None:
            self._allow_pieces()

    def disarm(self, text: str) -> str:
        """Break every spelled control token of data behind its first character."""
        text = text.replace(SENTINEL, "")
        if self._spelled is None:
            return text
        pieces: list[str] = []
        start = 0
        while found := self._spelled.search(text, start):
            pieces.append(text[start : found.start() + 1])
            start = found.start() + 1
        return SENTINEL.join([*pieces, text[start:]])

    def encode(self, text: str) -> list[int]:
        """Return the ids of a rendering whose data was disarmed."""
        ids: list[int] = []
        for piece in self._split(text):
            ids.extend(piece if isinstance(piece, list) else self._keep(piece))
        return ids

    def encode_many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of many renderings; equal pieces are tokenised once, the rest together."""
        split = [list(self._split(text)) for text in texts]
        wanted = {piece for parts in split for piece in parts if isinstance(piece, tuple)}
        known = dict(self._encode_pieces(sorted(wanted)))
        return [
            [
                index
                for piece in parts
                for index in (piece if isinstance(piece, list) else known[piece])
            ]
            for parts in split
        ]

    def encode_data(self, text: str) -> list[int]:
        """Return the ids of data as they are behind a special token; none of them is control."""
        piece = (self._anchor is None, self.disarm(text))
        return list(self._keep(piece))

    def _split(self, text: str) -> Iterator[list[int] | Piece]:
        """Cut a rendering at plain special tokens, given as ids, into pieces."""
        if self._cut is None:
            yield True, text
            return
        start, first = 0, True
        for found in self._cut.finditer(text):
            if (cut := found.group()) not in self._plain:
                continue
            if found.start() > start:
                yield first, text[start : found.start()]
            yield [self._controls[cut]]
            start, first = found.end(), False
        if start < len(text):
            yield first, text[start:]

    def _encode_piece(self, piece: Piece) -> tuple[int, ...]:
        ((_, ids),) = self._encode_pieces([piece])
        return tuple(ids)

    def _encode_pieces(self, pieces: Sequence[Piece]) -> Iterable[tuple[Piece, list[int]]]:
        plain = [piece for piece in pieces if SENTINEL not in piece[1]]
        leads = [0 if first else 1 for first, _ in plain]
        texts = [text if first else f"{self._anchor}{text}" for first, text in plain]
        for piece, lead, ids in zip(plain, leads, self._encode_plain(texts), strict=True):
            # Some tokenizers find control tokens in other spellings than their own.
            found = sum(index in self._control_ids for index in ids) - lead
            if found and found > len(self._find_controls(piece[1])):
                yield piece, self._encode_shielded(piece)
            else:
                yield piece, ids[lead:]
        for piece in pieces:
            if SENTINEL in piece[1]:
                yield piece, self._encode_shielded(piece)

    def _encode_plain(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        if self._backend is None:
            return [self._call(text) for text in texts]
        found = self._backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [item.ids for item in found]

    def _encode_shielded(self, piece: Piece) -> list[int]:
        first, text = piece
        shield = self._shield
        if shield is None:
            return self._encode_plain([text.replace(SENTINEL, _BREAK)])[0]
        clean = _NONCHARACTERS.sub(lambda one: one[0] if one[0] == SENTINEL else "", text)
        shown = self._rename(clean if first else f"{self._anchor}{clean}").replace(SENTINEL, "")
        ids: list[int] = shield.encode(shown, add_special_tokens=False).ids
        return ids if first else ids[1:]

    def _find_controls(self, text: str) -> list[str]:
        return self._spelled.findall(text) if self._spelled is not None else []

    def _rename(self, text: str) -> str:
        if self._spelled is None:
            return text
        return self._spelled.sub(lambda found: _rename_token(self._controls[found[0]]), text)

    def _call(self, text: str) -> list[int]:
        """Return the ids of a text as the tokenizer itself gives them."""
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _allow_pieces(self) -> None:
        """Choose where renderings may be cut, and prove it on probes; else they stay whole."""
        tokens = self._added.values()
        if any(token.single_word for token in tokens):
            return  # what stands beside such a token decides, on either side of a cut
        usable = sorted(
            token.content
            for token in tokens
            if token.content in self._controls
            and not (token.normalized or token.lstrip or token.rstrip)
            and self._call(token.content) == [self._controls[token.content]]
        )
        if not usable:
            return
        self._plain, self._anchor = frozenset(usable), usable[0]
        self._cut = _alternate(token.content for token in tokens if not token.normalized)
        probes = list(self._list_probes(usable))
        if self.encode_many(probes) != [self._call(text) for text in probes]:
            self._anchor = self._cut = None

    def _list_probes(self, cuts: Sequence[str]) -> Iterator[str]:
        cut = cuts[0]
        for text in _PROBES:
            yield from (text, f"{cut}{text}", f"{text}{cut}{text}{cut}", f"{cut} {text} {cut}")
        yield from (f"a{other}\n\n{other} b" for other in cuts[:64])
        yield cut.join(_PROBES)

    @cached_property
    def _shield(self) -> Any:
        """Return the copy whose control tokens have other spellings; ``None`` if it fails."""
        if self._backend is None:
            return None
        try:
            shield = _rename_controls(self._backend, self._controls)
        except Exception:  # the library raises nothing narrower for what it cannot build
            return None
        for text, index in self._controls.items():
            for shown in (text, f"a{text}b", f"a {text} b"):
                ids = self._backend.encode(shown, add_special_tokens=False).ids
                if shield.encode(self._rename(shown), add_special_tokens=False).ids != ids:
                    return None
            spelled = shield.encode(f"a {text} b{text}", add_special_tokens=False).ids
            if index in self._control_ids and index in spelled:
                return None
        return shield


def _alternate(texts: Iterable[str]) -> re.Pattern[str] | None:
    """Return a pattern of the longest of some texts, as tokenizers find added tokens."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _copy_backend(tokenizer: Any) -> Any:
    """Return a fast tokenizer's own machine, without what transformers sets for a call.

    ``None`` for a slow one, and where the machine alone gives other ids than the tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    from tokenizers import Tokenizer

    copy = Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    copy.encode_special_tokens = bool(getattr(tokenizer, "split_special_tokens", False))
    for text in _PROBES:
        own = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if copy.encode(text, add_special_tokens=False).ids != list(own):
            return None
    return copy


def _rename_token(index: int) -> str:
    """Return the spelling in the shielded copy of the control token of an id."""
    digits = "".join(chr(_DIGITS + int(digit)) for digit in str(index))
    return f"{_MARK}{digits}{_MARK}"


def _rename_controls(backend: Any, controls: dict[str, int]) -> Any:
    """Return a copy of a tokenizer in which data cannot spell its control tokens."""
    from tokenizers import Tokenizer

    told = json.loads(backend.to_str())
    names = {text: _rename_token(index) for text, index in controls.items()}
    for token in told["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    model = told["model"]
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(text, text): index for text, index in vocabulary.items()}
        if "merges" in model:
            model["merges"] = [pair for pair in model["merges"] if _spell_merge(pair) not in names]
    elif isinstance(vocabulary, list):
        model["vocab"] = [[names.get(text, text), score] for text, score in vocabulary]
    unknown = model.get("unk_token")
    if unknown is not None:
        model["unk_token"] = names.get(unknown, unknown)
    told["post_processor"] = None
    shield = Tokenizer.from_str(json.dumps(told))
    shield.encode_special_tokens = backend.encode_special_tokens
    return shield


def _spell_merge(pair: str | Sequence[str]) -> str:
    return "".join(pair.split(" ", 1) if isinstance(pair, str) else pair)
