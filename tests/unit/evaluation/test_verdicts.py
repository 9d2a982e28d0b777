"""Proves that verdicts are read in every form judges write them in, and never guessed."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluation.judging.verdicts import Verdict, read_score, read_verdict, verdict_schema


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("It is in voice. Therefore, the final score is 4", 4),
        ("Therefore, the final score is 4.", 4),
        ("Therefore, the final score is **4**.", 4),
        ("**Therefore, the final score is: 4**", 4),
        ("Therefore, the final score is: **4**", 4),
        ('Therefore, the final score is "5".', 5),
        ("Therefore, the final score is “5”.", 5),
        ("Therefore, the final score is 4.5", 4.5),
        ("Therefore, the final score is 4.5.", 4.5),
        ("Therefore, the final score is 4½.", 4.5),
        ("Therefore, the final score is 4.0.", 4),
        ("Therefore, the final score is 4/5.", 4),
        ("Therefore, the final score is 4 / 5", 4),
        ("Therefore, the final score is 4 out of 5.", 4),
        ("Therefore, the final score is 4 (four) out of 5.", 4),
        ("Therefore, the final score is N = 4.", 4),
        ("Therefore, the final score is Score = 4", 4),
        ("Therefore, the final score is a solid 4.", 4),
        ("Therefore, the final score is therefore only a 2", 2),
        ("Therefore, the final score is $\\boxed{4}$.", 4),
        ("Therefore, the final score is [[4]]", 4),
        ("Therefore, the final score is\n\n**4**", 4),
        ("Therefore, the final score is 4 and not 5.", 4),
        ("Therefore, the final score is 4 because 2 idioms are off.", 4),
        ("The final score for this response is 3.", 3),
        ("The final score I would give this answer is 2.", 2),
        ("The final score should be 3", 3),
        ("The final score would be 3.", 3),
        ("Final Score: 4", 4),
        ("**Final Score**: 4/5", 4),
        ("## Final score\n\n4\n", 4),
        ("## Final Score: 3 — good, not great", 3),
        ("Final score - 4", 4),
        ("Final score – 4", 4),
        ("FINAL SCORE = 4", 4),
        ("final_score: 4", 4),
        ("Final verdict: 4", 4),
        ("Overall rating: 3/5", 3),
        ("Score: 4", 4),
        ("**Score:** 4", 4),
        ("Score\uff1a \uff14", 4),
        ("Score: four", 4),
        ("Score: Four out of five.", 4),
        ("Score: five (5)", 5),
        ("- Score: 4 - in voice, a little long", 4),
        ("Score (1-5): 4", 4),
        ("Score (out of 5): 3", 3),
        ("Linguistic Habits Score: 2", 2),
        ("Evaluation: good voice. Score: 4", 4),
        ("| Criterion | Note |\n| Score | 4 |", 4),
        ("<score>4</score>", 4),
        ("<b>4</b>", 4),
        ("<justification>5 of 5 idioms fit</justification>\n<score>4</score>\nDone.", 4),
        ("I think the score is 4.", 4),
        ("4", 4),
        (" **4** ", 4),
        (": 4", 4),
        ('"5"', 5),
        ("4.5", 4.5),
        ("4/5", 4),
        ("4.", 4),
        ("four", 4),
        ("(3)", 3),
        ("4\n\nThe response is in voice.", 4),
        ("The response is in voice, from 1985 on.\n\n4", 4),
        ("The response is in voice.\n\n**4/5**", 4),
        ("I would rate this response a 4 out of 5.", 4),
        ("I'd give it a 4 for its idiom.", 4),
        ("I give this response 3/5.", 3),
        ("I would assign a score of 4 to this response.", 4),
        ("Overall assessment: 4", 4),
        ("This earns a 4.", 4),
        ("The answer deserves a score of 2.", 2),
        ("That is a 4 out of 5, clearly.", 4),
        ("She keeps her voice. Rating: [[2]]", 2),
        ("#### Verdict\n\n**Final Score: 3**/5", 3),
        ("{'score': 3, 'justification': 'drifts'}", 3),
        ('[{"score": 2, "justification": "drifts"}]', 2),
        ('{"scores": {"tone": 2, "overall": 3}}', 3),
        ('{"score": "3 - drifts"}', 3),
        ("Score 3 - drifts after a while", 3),
        ("Score: 3\nConfidence: 4", 3),
        ("Score: 3\nConfidence score: 4", 3),
        ("Score: 3 (how sure: 4 of 5)", 3),
        ("| Aspect | Score |\n|:--|--:|\n| Overall | 3 |", 3),
        ("One row only.\n| Aspect | Score |\n|:--|--:|\n| Voice | 3 |\n| Facts", 3),
        ("Bewertung: vier von 5", 4),
        ("评分\uff1a三分", 3),
        ("★★★☆☆", 3),
        ("★★★", 3),
        ("| Tone | 2 |\n| Facts | 5 |\n| **Overall** | **3** |", 3),
        ("Score (0-5): 3", 3),
        ("3 stars", 3),
        ("3 (drifts)", 3),
        ("3 \u2013 drifts", 3),
        ("She drifts.\nTherefore: 3", 3),
        ("On a scale of 1 to 5, this is a 3.", 3),
        ("I'd go with a 3.", 3),
        (f"<think>\n{'Rating: 5. ' * 3_000}\n</think>\nRating: 3", 3),
    ],
)
def test_a_verdict_is_read_however_it_is_written(text: str, score: float) -> None:
    assert read_score(text) == score


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 3\nOn second thought it is better. Score: 4", 4),
        ("The final score is 2. No: the final score is 3.", 3),
        ("Score: 2\nA score of 5 would need idiom. Therefore, the final score is 3.", 3),
        ("Therefore, the final score is 3. A score of 5 would need more idiom.", 3),
        ("Score = 5: perfectly in voice. It is not that.\nFinal score: 4", 4),
        ("It lies between Score 3 and Score 5. Therefore, the final score is 4.", 4),
        ("1. Voice: fine\n2. Facts: fine\n3. Tone: off\n\nFinal score: 4", 4),
        ("Out of 5 checks 2 hold; in 1999 there were 3. The final score is 2", 2),
        ("The final score is 3.\nThe final score is 9.", None),
        ("3\nIt could be better.\n4", None),
        ("3/5 for tone, 4/5 for content.", None),
        ("<think>The final score is 2? No.</think>The final score is 4", 4),
        ("<think>The final score is 2", None),
    ],
)
def test_of_several_numbers_the_last_explicit_verdict_wins(text: str, score: float | None) -> None:
    assert read_score(text) == score


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "Error",
        "The response is in voice.",
        "In 1985 she was 4 years old.",
        "1. Voice\n2. Facts\n3. Tone",
        "The list is:\n1. Voice\n2. Facts\n3.",
        "She has 3 cats and 2 dogs.",
        "4 out of 5 dentists would agree.",
        "3/4/2021",
        "4th place",
        "Chapter 4",
        "| Score of A | Score of B |\n|--|--|\n| 3 | 4 |",
        "★★★☆",
        "★★★★★★",
        "The final score is one of the best.",
        "The overall assessment of 3 traits is good.",
        "Her final answer is 4.",
        "The final score is 4 and a half.",
        "Therefore, the final score is N.",
        "Therefore, the final score is 0.",
        "Therefore, the final score is 6.",
        "Therefore, the final score is 5.5.",
        "Therefore, the final score is -4.",
        "Therefore, the final score is 45.",
        "Therefore, the final score is 1985.",
        "Therefore, the final score is 4%.",
        "Therefore, the final score is 4/10.",
        "Therefore, the final score is 4 out of 10.",
        "Therefore, the final score is 4 on a scale of 1 to 10.",
        "Therefore, the final score is 3 or 4.",
        "Therefore, the final score is 3-4.",
        "Therefore, the final score is 3 to 4",
        "Therefore, the final score is 4,5",
        "Therefore, the final score is 4 1/2",
        "Therefore, the final score is 4.5.1",
        "Therefore, the final score is between 3 and 4.",
        "Therefore, the final score is not 5.",
        "The final score cannot be 5.",
        "The final score should not be 5.",
        "Score: 8/10",
        "Score (0-10): 4",
        "Score (1 to 10): 4",
        "Score: 4 on a 10-point scale",
        "Reply A: 2\nReply B: 4",
        "Score A: 2\nScore B: 4",
        "Confidence: 5/5",
        "Confidence score: 5",
        "Score: 5? No, 3.",
        "Score: 2 for tone and 4 for facts",
        "Score: 4 or maybe 5",
        "Score: 4 (or 5)",
        "Score: 4, possibly 5",
        "Score: 4 minus 1 = 3",
        "Score: 4-",
        "[thinking] Score",
        "Score: 80/100",
        "Score: high",
        "Score 3: Response - I bake bread.",
        "Score = 3: The response has idiom.\nScore = 5: It is perfect.",
        "Example score: 4",
        "If the score is 5, all is well.",
        "It does not merit a score of 5.",
        "This isn't a 5 out of 5.",
        "This isn\u2019t a 5 out of 5.",
        "The final score isn't 5.",
        "To reach a score of 5, it needs idiom.",
        "A score of 5 would need more idiom.",
        "I give it 2 tries.",
        "-4",
        "7",
        "0",
        "4, 5",
        "10/5",
    ],
)
def test_no_verdict_is_guessed(text: str) -> None:
    assert read_score(text) is None


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (4, 4),
        (4.5, 4.5),
        ("4", 4),
        ("4/5", 4),
        ("**4**", 4),
        ("four", 4),
        ("high", None),
        (0, None),
        (6, None),
        (True, None),
        (None, None),
        ([4], None),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_a_structured_verdict_is_read_with_its_justification(
    value: object, score: float | None
) -> None:
    reason = "A score of 5 would need idiom; the final score is 1, one might say."
    text = json.dumps({"justification": reason, "score": value})
    expected = None if score is None else Verdict(score, reason)
    assert read_verdict(text) == expected
    assert read_verdict(f"Here it is:\n```json\n{text}\n```\nDone, in 3 lines.") == expected
    assert read_verdict(json.dumps({"result": json.loads(text)})) == expected


def test_the_last_object_with_a_score_counts_and_others_do_not() -> None:
    assert read_score('{"score": 2} {"score": 3} {"years": 4}') == 3
    assert read_score('{"years": 4}') is None
    assert read_score('{"Final Score": "5"}') == 5
    assert read_score('{"score": {"value": 3, "why": "drifts"}}') == 3
    assert read_score('{"score": {"why": "drifts"}, "rating": 2}') == 2
    assert read_score('{"score": {"why": "drifts"}}') is None


def test_an_object_that_names_another_scale_gives_no_verdict() -> None:
    assert read_score('{"score": 4, "max_score": 5}') == 4
    assert read_score('{"score": 4, "max_score": 10}') is None
    assert read_score('{"score": 4, "scale": "one to five"}') == 4
    assert read_score('{"justification": "Raw\nnewline", "score": 4}') == 4


def test_an_object_that_was_cut_off_gives_no_verdict() -> None:
    assert read_score('{"justification": "She has 3 cats and the') is None
    assert read_score('{"justification": "fine", "score": ') is None


def test_free_text_is_its_own_justification() -> None:
    text = "  Fine.\nTherefore, the final score is 4  "
    assert read_verdict(text) == Verdict(4.0, text.strip())


def test_the_schema_asks_for_the_reason_first_and_bounds_it() -> None:
    schema = verdict_schema(300)
    assert list(schema["properties"]) == ["justification", "score"] == schema["required"]
    assert schema["properties"]["justification"]["maxLength"] == 300
    assert schema["properties"]["score"]["enum"] == [1, 2, 3, 4, 5]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300))
def test_any_text_gives_none_or_a_score_in_range(text: str) -> None:
    score = read_score(text)
    assert score is None or 1 <= score <= 5


WORDS = [
    *("the", "final", "score", "is", "of", "a", "rating", "not", "if", "I", "give", "it", "out"),
    *("4", "5", "3.5", "9", "10", "one", "five", "1985"),
    *("\n", "/", ":", ".", ",", "(", ")", "*", "{", "}", "-", "%", "<score>", "</score>"),
]
PIECES = st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)


@settings(max_examples=500, deadline=None)
@given(PIECES)
def test_near_verdicts_give_none_or_a_number_that_stands_in_the_text(text: str) -> None:
    score = read_score(text)
    assert score is None or any(
        word in text
        for word in {3.5: ("3.5",), 4: ("4",), 5: ("5", "five"), 1: ("one", "1")}[score]
    )


@settings(max_examples=200, deadline=None)
@given(PIECES, st.sampled_from([1, 2, 3, 4, 5, 4.5]))
def test_whatever_comes_before_the_closing_verdict_decides(text: str, score: float) -> None:
    assert read_score(f"{text}\nTherefore, the final score is {score}.") == score


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Nd", "No", "Nl"]), max_size=200))
def test_without_a_number_there_is_no_verdict(text: str) -> None:
    words = ("one", "two", "three", "four", "five", "think")
    if not any(word in text.lower() for word in words) and text.isascii():
        assert read_score(text) is None


@pytest.mark.parametrize(
    "unit",
    [
        "score ",
        "{",
        '{"score":',
        "final score ",
        "4 ",
        "a ",
        "(",
        "final a score is ",
        "\n",
        "I give it ",
    ],
)
def test_a_long_text_is_read_in_no_time(unit: str) -> None:
    began = time.perf_counter()
    read_score(unit * 50_000)
    assert time.perf_counter() - began < 2
