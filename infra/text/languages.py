"""Tells which language a text is in, where it can be told; the only door to lingua.

A text whose letters are to a large share not Latin is judged by its script alone, which costs
nothing and is never wrong about English. Latin text goes to lingua, limited to the languages
below: that takes 0.4 GB and two seconds to load where all its languages take gigabytes. Where
English is expected, which nearly all of a data set is then, common words and lingua's models of
three letters, a twentieth of the size, tell most texts, and lingua is asked about the others:
about 1 % of 2,400 Persona Hub rows, with the same verdict on every one of them.

Unsure is an answer. Short English with foreign names ("a passionate Italian poet") looks Italian
to every detector, so a language counts only from 0.75 confidence on: of 2,400 Persona Hub rows
no English one reaches that for another language (the highest has 0.66), and no foreign one
misses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from infra.text.batches.plain import split_letters

_CONFIDENT = 0.75
_FOREIGN_SHARE = 0.4
_JUDGED_CHARS = 2_000

_LATIN = ("cs", "de", "en", "es", "fr", "id", "it", "nl", "pl", "pt", "sv", "tr", "vi")

_SCRIPTS: tuple[tuple[tuple[str, ...], str, int], ...] = (
    # The languages of a script with the commonest first, its letters, and what a letter weighs:
    # a Chinese character says about as much as three Latin letters.
    (("zh", "ja"), "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f", 3),
    (("ja",), "\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f", 2),
    (("ko",), "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af", 2),
    (("ru", "uk"), "\u0400-\u052f", 1),
    (("ar", "fa"), "\u0620-\u064a\u066e-\u06d3\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc", 1),
    (("hi",), "\u0900-\u097f", 1),
    (("th",), "\u0e01-\u0e4e", 1),
    (("el",), "\u0370-\u03ff\u1f00-\u1fff", 1),
    (("he",), "\u05d0-\u05f2", 1),
)
_ENGLISH = frozenset(
    (
        "about", "and", "between", "born", "could", "from", "into", "other", "should", "that",
        "the", "their", "there", "these", "they", "this", "those", "through", "very", "what",
        "when", "where", "which", "while", "who", "whose", "with", "would", "your",
    )
)  # fmt: skip
"""Words of no other language here."""

_OFTEN_ENGLISH = _ENGLISH | frozenset(
    (
        "a", "all", "an", "are", "as", "at", "be", "been", "by", "can", "for", "has", "have",
        "he", "her", "his", "i", "in", "is", "it", "its", "my", "not", "of", "on", "or", "she",
        "to", "up", "was", "you",
    )
)  # fmt: skip
"""The commonest English words, some of which others have as well."""

_NEVER_ENGLISH = frozenset(
    (
        "ada", "adalah", "al", "als", "au", "aux", "av", "avec", "con", "cua", "da", "dan",
        "dari", "das", "dem", "den", "dengan", "der", "des", "di", "dos", "een", "ein", "eine",
        "einem", "einer", "el", "en", "est", "et", "ett", "ile", "ini", "inte", "ist", "itu",
        "je", "jest", "la", "las", "le", "les", "lo", "los", "mas", "mit", "mot", "nel", "niet",
        "och", "ook", "op", "pada", "para", "pas", "por", "pour", "quale", "que", "qui", "sie",
        "som", "sono", "sur", "till", "um", "uma", "un", "una", "und", "une", "untuk", "van",
        "vir", "voor", "yang", "ze", "zijn",
    )
)  # fmt: skip
"""Common words of the other Latin languages here, spelled without an accent."""

_UKRAINIAN = re.compile("[іїєґІЇЄҐ]")
_PERSIAN = re.compile("[پچژگ]")


def known_languages() -> frozenset[str]:
    """Return the languages that can be told apart (ISO 639-1)."""
    return frozenset(_LATIN).union(*(languages for languages, _, _ in _SCRIPTS))


def detect_languages(texts: Sequence[str], *, expected: str | None = None) -> list[str | None]:
    """Return each text's language (ISO 639-1), ``None`` where none can be told confidently.

    Where English is ``expected``, what only might be English is not looked at closely.
    Latin texts are judged in parallel by Rust threads. Safe to call from any thread.
    """
    found: list[str | None] = []
    latin: dict[int, str] = {}
    for index, text in enumerate(texts):
        start = text[:_JUDGED_CHARS]
        found.append(None if start.isascii() else _judge_script(start))
        if found[index] is None and any(map(str.isalpha, start)):
            latin[index] = start.encode("utf-8", "replace").decode()
    if expected == "en":
        latin = _judge_quickly(latin, found)
    for index, language in _ask_lingua(latin, thorough=True):
        found[index] = language
    return found


def _judge_quickly(latin: Mapping[int, str], found: list[str | None]) -> dict[int, str]:
    """Fill in what words and letters tell where English is expected; return the other texts."""
    words = dict(zip(latin, split_letters(list(latin.values())), strict=True))
    asked = dict(latin)
    for index in latin:
        if _is_plainly_english(words[index]):
            found[index] = "en"
            del asked[index]
    for index, language in _ask_lingua(dict(asked), thorough=False):
        if language in ("en", None) or _is_plainly_foreign(words[index]):
            found[index] = language
            del asked[index]
    return asked


def _ask_lingua(texts: Mapping[int, str], *, thorough: bool) -> Iterator[tuple[int, str | None]]:
    """Yield the language of each text, ``None`` where lingua is not confident."""
    if not texts:
        return
    detector = _detector(thorough=thorough)
    rows = detector.compute_language_confidence_values_in_parallel(list(texts.values()))
    for index, values in zip(texts, rows, strict=True):
        sure = values and values[0].value >= _CONFIDENT
        yield index, values[0].language.iso_code_639_1.name.lower() if sure else None


def find_foreign(texts: Sequence[str], language: str) -> dict[int, str]:
    """Return the language of each text that is confidently in another than the given one."""
    found = detect_languages(texts, expected=language)
    return {index: other for index, other in enumerate(found) if other not in (None, language)}


def is_language(text: str, language: str) -> bool:
    """Tell whether a text may be in a language: false only if it is confidently in another.

    About a language that is not among :func:`known_languages` only the script is judged.
    """
    found = detect_languages([text], expected=language)[0]
    if found in (None, language):
        return True
    return language not in known_languages() and found in _LATIN


def _is_plainly_english(words: Sequence[str]) -> bool:
    """Tell English by its function words.

    A fifth of the words are such, one is of no other language, and hardly one is of another alone.
    """
    common = sum(map(_OFTEN_ENGLISH.__contains__, words))
    return (
        common >= max(2, len(words) / 5)
        and not _ENGLISH.isdisjoint(words)
        and common >= 4 * sum(map(_NEVER_ENGLISH.__contains__, words))
    )


def _is_plainly_foreign(words: Sequence[str]) -> bool:
    """Tell another language than English by its function words: two, and none of English alone."""
    return _ENGLISH.isdisjoint(words) and sum(word in _NEVER_ENGLISH for word in words) >= 2


def _judge_script(text: str) -> str | None:
    """Return the language of a script that fills a large share of a text, if one does."""
    if not _any_script().search(text):
        return None
    weights: dict[tuple[str, ...], int] = {}
    for languages, letters, weight in _script_patterns():
        weights[languages] = weight * len(letters.findall(text))
    foreign = sum(weights.values())
    latin = sum(1 for char in text if char.isalpha() and char < "\u0250")
    if not foreign or foreign < _FOREIGN_SHARE * (foreign + latin):
        return None
    if weights[("ja",)] * 5 >= foreign:
        return "ja"
    languages = max(weights, key=lambda key: weights[key])
    if languages == ("ru", "uk"):
        return "uk" if _UKRAINIAN.search(text) else "ru"
    if languages == ("ar", "fa"):
        return "fa" if _PERSIAN.search(text) else "ar"
    return languages[0]


@cache
def _script_patterns() -> tuple[tuple[tuple[str, ...], re.Pattern[str], int], ...]:
    return tuple((names, re.compile(f"[{chars}]"), weight) for names, chars, weight in _SCRIPTS)


@cache
def _any_script() -> re.Pattern[str]:
    return re.compile("[" + "".join(chars for _, chars, _ in _SCRIPTS) + "]")


@cache
def _detector(*, thorough: bool) -> Any:
    """Build a detector on first use; two threads at once share lingua's models anyway.

    One that is not thorough knows sequences of three letters only: it tells all texts of 120
    letters as well, and sees other languages in short English.
    """
    from lingua import IsoCode639_1, LanguageDetectorBuilder

    codes = [getattr(IsoCode639_1, code.upper()) for code in _LATIN]
    builder = LanguageDetectorBuilder.from_iso_codes_639_1(*codes)
    return (builder if thorough else builder.with_low_accuracy_mode()).build()
