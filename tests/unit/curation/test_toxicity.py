"""Proves that listed words count whole, and parts of words do not."""

from tasks.curation.toxicity import find_toxic_word, make_word_list

WORDS = make_word_list(["Scunthorpe", "", "very bad thing"])


def test_whole_words_and_phrases_count() -> None:
    assert find_toxic_word("Oh, SCUNTHORPE!", WORDS) == "scunthorpe"
    assert find_toxic_word("a very, very bad thing", WORDS) == "very bad thing"


def test_parts_of_words_do_not() -> None:
    assert find_toxic_word("Scunthorpes and a very bad thingy", WORDS) is None
    assert find_toxic_word("anything", make_word_list([])) is None
