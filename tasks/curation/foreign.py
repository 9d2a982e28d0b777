"""Finds answers in another language than the run's, asking a detector only where it must.

A detector reads about 1,000 answers a second on two cores; most answers of an English run are
plainly English by their commonest words, which costs a hundredth of that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from infra.text.languages import detect_languages

_JUDGED_CHARS = 600
_ENGLISH = frozenset(
    (
        "the", "and", "of", "to", "you", "that", "with", "this", "have", "for", "it", "my", "are",
        "be", "not", "from", "your", "but", "they", "what", "would", "will", "there", "by",
    )
)  # fmt: skip
"""Common English words that are rare in the other languages a detector knows."""

_ENGLISH_SHARE = 0.12
_ENOUGH_WORDS = 8
_NAMES = {
    "ar": "arabic", "cs": "czech", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "fa": "persian", "fr": "french", "he": "hebrew", "hi": "hindi",
    "id": "indonesian", "it": "italian", "ja": "japanese", "ko": "korean", "nl": "dutch",
    "pl": "polish", "pt": "portuguese", "ru": "russian", "sv": "swedish", "th": "thai",
    "tr": "turkish", "uk": "ukrainian", "vi": "vietnamese", "zh": "chinese",
}  # fmt: skip
_WORD = re.compile(r"[^\W\d_]+")


def find_foreign(texts: Sequence[str], language: str) -> dict[int, str]:
    """Return the confidently detected language of each text that is not in the given one."""
    starts = {index: text[:_JUDGED_CHARS] for index, text in enumerate(texts)}
    if language == "en":
        starts = {index: start for index, start in starts.items() if not _is_plain_english(start)}
    found = detect_languages(list(starts.values()))
    return {
        index: code
        for index, code in zip(starts, found, strict=True)
        if code is not None and code != language
    }


def asks_for_language(texts: Sequence[str], language: str) -> bool:
    """Tell whether any of some texts is in a language, or names it ("Translate into French")."""
    name = _NAMES.get(language)
    if name is not None and any(name in text.lower() for text in texts):
        return True
    return language in detect_languages([text[:_JUDGED_CHARS] for text in texts])


def _is_plain_english(text: str) -> bool:
    words = _WORD.findall(text.lower())
    common = sum(word in _ENGLISH for word in words)
    return len(words) >= _ENOUGH_WORDS and common >= _ENGLISH_SHARE * len(words)
