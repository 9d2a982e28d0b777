"""Proves that another language than the run's may be asked for."""

from tasks.curation.foreign import asks_for_language

ENGLISH = "The secret of good bread is that you have to wait for it, and be kind to the oven."
GERMAN = "Das Geheimnis eines guten Brotes ist die Geduld, sagte meine Tante jeden Morgen früh."


def test_a_language_may_be_asked_for_by_name_or_by_using_it() -> None:
    assert asks_for_language(["Translate this into German: bread"], "de")
    assert asks_for_language(["Antworte mir!", GERMAN], "de")
    assert not asks_for_language([ENGLISH, ""], "de")
