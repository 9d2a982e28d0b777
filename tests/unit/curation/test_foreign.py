"""Proves that only answers in another language than asked for are foreign."""

import pytest

from tasks.curation import foreign
from tasks.curation.foreign import asks_for_language, find_foreign

ENGLISH = "The secret of good bread is that you have to wait for it, and be kind to the oven."
GERMAN = "Das Geheimnis eines guten Brotes ist die Geduld, sagte meine Tante jeden Morgen früh."


def test_only_another_language_is_foreign() -> None:
    assert find_foreign([ENGLISH, GERMAN, "Ciao!", "面包的秘密是时间和耐心"], "en") == {
        1: "de",
        3: "zh",
    }
    assert find_foreign([ENGLISH * 3, GERMAN], "de") == {0: "en"}


def test_a_language_may_be_asked_for_by_name_or_by_using_it() -> None:
    assert asks_for_language(["Translate this into German: bread"], "de")
    assert asks_for_language(["Antworte mir!", GERMAN], "de")
    assert not asks_for_language([ENGLISH, ""], "de")


def test_plain_english_never_reaches_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def note(texts: list[str]) -> list[str | None]:
        asked.extend(texts)
        return [None] * len(texts)

    monkeypatch.setattr(foreign, "detect_languages", note)
    find_foreign([ENGLISH, GERMAN], "en")
    assert asked == [GERMAN]
