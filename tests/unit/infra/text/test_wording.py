"""Proves how texts are folded and split into words before they are compared."""

from infra.text.wording import make_shingles, measure_jaccard, split_words


def test_case_width_and_punctuation_are_folded() -> None:
    assert split_words("It's  \uff28\uff29, Straße!") == ["it", "s", "hi", "strasse"]


def test_chinese_is_split_by_character() -> None:
    assert split_words("面包师 Ada") == ["面", "包", "师", "ada"]


def test_similarity_of_shingles() -> None:
    one, other = make_shingles("abcd", 2), make_shingles("abce", 2)
    assert measure_jaccard(one, other) == 0.5
    assert make_shingles("a", 2) == {("a",)}
