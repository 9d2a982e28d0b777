"""Proves that no evaluation question slips into training, and that others stay."""

from hypothesis import given
from hypothesis import strategies as st

from infra.text.wording import split_words
from tasks.decontamination import QuestionIndex, find_hits

LONG = (
    "At a busy street market in Rome, how would you persuade a tired tourist to try the bread "
    "that your own grandmother taught you to bake?"
)
SHORT = "How would you describe your bakery?"


def make_index(*questions: str, similarity: float = 0.85) -> QuestionIndex:
    return QuestionIndex(questions, run=13, min_words=6, similarity=similarity)


def test_a_shared_run_a_contained_question_and_a_near_equal_one_are_hits() -> None:
    index = make_index(LONG, SHORT)
    run = " ".join(LONG.split()[4:18])
    hits = find_hits(
        [
            f"Tell me: {run}, or not?",
            f"Be brief. {SHORT.upper()} Two sentences.",
            SHORT.replace("your", "now your"),
            "How would you describe your first love?",
            "How would you?",
        ],
        index,
    )
    assert {text: (hit.question, hit.how.split()[0]) for text, hit in hits.items()} == {
        f"Tell me: {run}, or not?": (LONG, "shares"),
        f"Be brief. {SHORT.upper()} Two sentences.": (SHORT, "contains"),
        "How would you describe now your bakery?": (SHORT, "nearly"),
    }


def test_the_first_and_the_last_run_of_a_question_count() -> None:
    index = QuestionIndex([LONG])
    words = split_words(LONG)
    for run, shorter in ((words[:13], words[:12]), (words[-13:], words[-12:])):
        hit = index.find_hit(" ".join(["say", *run]))
        assert hit is not None and hit.run
        assert index.find_hit(" ".join(["say", *shorter])) is None


def test_a_question_shorter_than_six_words_is_not_looked_for_in_longer_turns() -> None:
    index = QuestionIndex([SHORT, "How is bread baked there?"])
    turn = "Be brief and frank, and say it in two sentences: {}"
    assert index.find_hit(turn.format(SHORT))
    assert index.find_hit(turn.format("How is bread baked there?")) is None


def test_no_question_under_three_words_is_looked_for_in_longer_turns() -> None:
    index = QuestionIndex(["Why bake bread?", "Why rye?"], min_words=1)
    assert index.find_hit("So tell me why bake bread at all")
    assert index.find_hit("So tell me why rye at all") is None


def test_a_turn_that_is_as_similar_as_asked_for_is_a_hit() -> None:
    """17 words of 20, and of 21, in another order."""
    words = [f"w{number}" for number in range(17)]
    index = QuestionIndex([" ".join(words)])
    turn = " ".join([*reversed(words), "x", "y", "z"])
    assert index.find_hit(turn)
    assert index.find_hit(f"{turn} more") is None


def test_a_question_of_two_words_is_hit_by_its_equal_only() -> None:
    index = make_index("Who?", "Why bread?", "...")
    assert index.find_hit("why BREAD")
    assert index.find_hit("Why bread and not cake?") is None


@given(
    st.lists(st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=8), min_size=1, max_size=6),
    st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=8),
    st.sampled_from([0.5, 0.7, 0.85, 1.0]),
)
def test_the_rare_word_index_misses_no_similar_question(
    questions: list[list[str]], turn: list[str], similarity: float
) -> None:
    texts = [" ".join(words) for words in questions]
    index = QuestionIndex(texts, run=99, min_words=99, similarity=similarity)
    mine = set(turn)
    expected = any(
        len(mine & other) >= similarity * len(mine | other)
        for other in (set(split_words(text)) for text in texts)
    )
    assert (index.find_hit(" ".join(turn)) is not None) == expected
