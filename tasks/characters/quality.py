"""Judges a written profile: what is trimmed from it, and what makes it unfit to play from.

These gates are for what a model writes, which can be asked again. Profiles that people bring are
kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from infra.errors import Reject
from infra.text.broken_text import find_broken_text
from infra.text.chat_marks import find_mark, strip_marks
from infra.text.loops import find_loop
from infra.text.placeholders import find_placeholder
from infra.text.text_cleaning import strip_quotes
from infra.text.wording import shorten, split_words
from tasks.characters.ages import check_age_of_persona
from tasks.characters.names import check_name, strip_introduction
from tasks.characters.profile import LONG_CHARS
from tasks.records import PROFILE_FIELDS

_LONG = ("appearance", "general_experience", "personality")
_LABEL = {name: label for label, name in PROFILE_FIELDS}
_MARKUP = re.compile(r"^[\s*_#`~|>]+|[\s*_#`~|]+$")
_SENTENCE_END = re.compile(
    r"[.!?\u3002\uff01\uff1f\u0964][\"'\u201d\u2019)\]]*(?=\s|$|[\u3040-\u9fff])"
)
_WHOLE = re.compile(r"[.!?\u2026\u3002\uff01\uff1f\u061f\u0964][\"'\u201d\u2019\u300d)\]]*$")
_DANGLING = re.compile(
    r"(?:[,;:(\[{\u2013\u2014-]|\b(?:a|an|the|and|or|of|from|with|is|was|are|were|such as|including"
    r"|his|their|which|who|as well as|because|und|oder|der|die|et|ou|le|les|de|des|y|el|los))$"
)
_OTHER_FIELD = re.compile(
    r"(?:^|[\s,;\"'{*])(?:Name|Age|Gender|Race|Birth ?[Pp]lace|Appearance|General Experience"
    r"|Personality)[\"'*]{0,3}\s*[:\uff1a]"
)
_OF_JSON = re.compile(
    r"[\"\u201d]\s*:\s*[\"\u201c\[{\d]|[\"\u201d]\s*,\s*[\"\u201c]|^[\[{]|[}\]][\"',\s]*[}\]]\s*$|^[,:}\]]|\\\"|[\"'],?\s*}$"
)
_TAG = re.compile(
    r"</?[a-z]+[\d ]*/?>|&(?:nbsp|amp|lt|gt|quot|#\d+);|\*\*\s*\*\*|#{3,}", re.IGNORECASE
)
_ITEM_END = re.compile(r"[,;/\u3001\uff0c.!?\u3002|\n]+|\s+and\s+")


def tidy_profile(values: Mapping[str, str], longest: int = LONG_CHARS) -> dict[str, str]:
    """Return the values without what surrounds them and belongs to nobody.

    That is markup and quotation marks around a value, template marks at its end, "My name is"
    before a name, and the beginning of a sentence that a bounded string cut off.
    """
    tidy: dict[str, str] = {}
    for name, value in values.items():
        value = strip_quotes(_MARKUP.sub("", strip_marks(value)).strip())
        if name == "name":
            value = strip_introduction(value)
        tidy[name] = _cut_to_sentences(value, longest) if name in _LONG else value
    return tidy


def find_profile_fault(
    values: Mapping[str, str], persona: str, longest: int = LONG_CHARS
) -> Reject | None:
    """Say why a tidied profile cannot be used, or ``None``.

    The reasons: control_tokens, broken_text, placeholder, repetition, cut_off, name_is_persona,
    name_is_sentence, age_contradicts_persona.
    """
    for _, name in PROFILE_FIELDS:
        fault = _judge_value(name, values[name], longest)
        if fault is not None:
            return Reject(fault.reason, f"{_LABEL[name]}: {fault.detail}")
    return (
        _find_copies(values)
        or check_name(values["name"], persona)
        or check_age_of_persona(values["age"], persona)
    )


def _judge_value(name: str, value: str, longest: int) -> Reject | None:
    if mark := find_mark(value):
        return Reject("control_tokens", mark)
    if broken := find_broken_text(value) or _find_syntax(value):
        return Reject("broken_text", shorten(broken, 80))
    if blank := find_placeholder(value):
        return Reject("placeholder", blank)
    if loop := find_loop(value, field=True) or _find_doubled_items(value):
        return Reject("repetition", loop)
    if name in _LONG and _is_cut(value, longest):
        return Reject("cut_off", "\u2026" + value[-60:])
    return None


def _find_syntax(value: str) -> str | None:
    """Find what is left of the form a profile was written in: JSON, labels, tags."""
    for pattern in (_OTHER_FIELD, _OF_JSON, _TAG):
        if found := pattern.search(value):
            return value[max(0, found.start() - 20) : found.end() + 20]
    if value and not any(char.isalnum() for char in value):
        return value
    return None


def _find_doubled_items(value: str) -> str | None:
    """Find an enumeration most of whose items have been named before."""
    items = [" ".join(split_words(item)) for item in _ITEM_END.split(value)]
    items = [item for item in items if item]
    doubled = len(items) - len(set(items))
    if len(items) >= 5 and 5 * doubled >= 2 * len(items):
        return max(set(items), key=items.count)
    return None


def _find_copies(values: Mapping[str, str]) -> Reject | None:
    """Find the same text under two of the long labels."""
    seen: dict[str, str] = {}
    for name in _LONG:
        text = " ".join(split_words(values[name]))
        if text in seen and len(text) > 30:
            return Reject("repetition", f"{_LABEL[seen[text]]} and {_LABEL[name]} are the same")
        seen[text] = name
    return None


def _cut_to_sentences(value: str, longest: int) -> str:
    """Leave out the sentence that a value ends within, if most of the value is before it."""
    if _WHOLE.search(value) or not (_DANGLING.search(value) or len(value) >= longest):
        return value
    ends = [found.end() for found in _SENTENCE_END.finditer(value)]
    return value[: ends[-1]] if ends and 2 * ends[-1] >= len(value) else value


def _is_cut(value: str, longest: int) -> bool:
    if _WHOLE.search(value):
        return False
    return _DANGLING.search(value) is not None or len(value) >= longest
