"""Proves that one cause is one reason, whatever names and numbers its messages hold."""

from __future__ import annotations

from infra.generation.failure_reasons import count_reasons


def test_messages_that_differ_in_names_and_numbers_are_one_reason() -> None:
    busy = [
        f"request row{n}-0-0: HTTP 429 from http://x.test/v1: slow down (req_{n:08x}ab, {n}.5 s)"
        for n in range(7)
    ]
    lost = ["the connection was lost"] * 3
    reasons = count_reasons([*busy, *lost, "odd"], most=2)
    assert [count for _, count in reasons] == [7, 3]
    assert reasons[0][0].startswith("HTTP 429 from http://x.test/v1: slow down (req_00000000ab")


def test_causes_of_other_words_stay_apart() -> None:
    assert len(count_reasons(["HTTP 500: oops", "HTTP 500: busy", "no answer"])) == 3
