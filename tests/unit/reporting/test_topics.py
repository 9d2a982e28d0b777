"""Checks which words are said to be shared."""

from __future__ import annotations

from tasks.reporting.topics import count_topics


def test_a_word_counts_once_a_text_and_the_commonest_comes_first() -> None:
    texts = [
        "A baker, a BAKER who bakes",
        "The baker and the sailor",
        "A sailor of 1984",
        "",
        "I don't",
    ]
    assert count_topics(texts, 5) == [("baker", 2), ("sailor", 2), ("bakes", 1)]
    assert count_topics(texts, 1) == [("baker", 2)]
    assert count_topics([], 3) == []
