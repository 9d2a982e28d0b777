"""Tells whether somebody asked for an answer in another language than the run's."""

from __future__ import annotations

from collections.abc import Sequence

from infra.text.languages import detect_languages

JUDGED_CHARS = 600
"""Characters of a text by which its language is told."""


_NAMES = {
    "ar": "arabic", "cs": "czech", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "fa": "persian", "fr": "french", "he": "hebrew", "hi": "hindi",
    "id": "indonesian", "it": "italian", "ja": "japanese", "ko": "korean", "nl": "dutch",
    "pl": "polish", "pt": "portuguese", "ru": "russian", "sv": "swedish", "th": "thai",
    "tr": "turkish", "uk": "ukrainian", "vi": "vietnamese", "zh": "chinese",
}  # fmt: skip


def asks_for_language(texts: Sequence[str], language: str) -> bool:
    """Tell whether any of some texts is in a language, or names it ("Translate into French")."""
    name = _NAMES.get(language)
    if name is not None and any(name in text.lower() for text in texts):
        return True
    return language in detect_languages([text[:JUDGED_CHARS] for text in texts])
