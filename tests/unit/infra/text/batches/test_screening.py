"""Proves that what a batch of texts is not suspected of, the functions for one text do not find."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.text.batches.plain import split_letters
from infra.text.batches.screening import TextBatch
from infra.text.loops import find_loop
from infra.text.prose import drop_code, keep_prose
from infra.text.refusals import find_ai_admission, find_refusal, fold_quotes
from infra.text.speech import SPEECH_FAULTS, SpeechFault, find_speech_fault
from infra.text.wording import split_words
from tests.unit.infra.text.batches.writing import PIECES, questions, texts

BATCHES = st.lists(texts(), min_size=1, max_size=6)
PLAIN = (
    "I mend nets at dawn, and the sea is wide. My father\u2019s boat went out with the tide; "
    "I\u2019d rather have stayed \u2013 but who asks? \u201cCaf\u00e9s\u201d are for others\u2026"
)


def check_prose(batch: list[str]) -> None:
    for text, prose in zip(batch, TextBatch(batch).all_prose.tolist(), strict=True):
        assert not prose or keep_prose(text) == drop_code(text) == text


@settings(max_examples=300, deadline=None)
@given(BATCHES, st.sampled_from(("", "Ada Vance", "Bo")), questions())
def test_an_innocent_text_has_no_fault(batch: list[str], speaker: str, question: str) -> None:
    suspected = TextBatch(batch).suspected
    for place, text in enumerate(batch):
        for fault in SPEECH_FAULTS:
            if not suspected[fault][place]:
                assert not _find(text, fault, speaker, question), (fault, text)


@settings(max_examples=200, deadline=None)
@given(BATCHES)
def test_loops_of_a_batch_are_those_of_each_text(batch: list[str]) -> None:
    assert TextBatch(batch).find_loops() == [find_loop(text) is not None for text in batch]


@settings(max_examples=200, deadline=None)
@given(BATCHES)
def test_words_of_a_batch_are_those_of_each_text(batch: list[str]) -> None:
    words = [split_words(text) for text in batch]
    found = TextBatch(batch)
    assert found.folded.to_list() == list(map(" ".join, words))
    assert found.words.to_list() == list(map(len, words))


@settings(max_examples=100, deadline=None)
@given(BATCHES)
def test_letters_of_many_texts_are_those_of_each(batch: list[str]) -> None:
    """A few texts are split one by one, many together."""
    assert split_letters(batch * 30) == [split_letters([text])[0] for text in batch] * 30


@settings(max_examples=200, deadline=None)
@given(BATCHES)
def test_an_innocent_text_refuses_and_admits_nothing(batch: list[str]) -> None:
    found = TextBatch(batch)
    for place, folded in enumerate(map(fold_quotes, batch)):
        assert found.may_refuse[place] or find_refusal(folded) is None
        assert found.may_admit[place] or find_ai_admission(folded, "a smith") is None


@settings(max_examples=200, deadline=None)
@given(BATCHES)
def test_what_is_prose_to_a_batch_is_prose_to_the_last_letter(batch: list[str]) -> None:
    check_prose(batch)


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_alone_and_among_words_is_judged_as_ever(piece: str) -> None:
    batch = [piece, piece * 3, f"{PLAIN} {piece} {PLAIN}", f"{PLAIN}\n{piece}\n", f"{piece}\n" * 60]
    check_prose(batch)
    suspected = TextBatch(batch).suspected
    for place, text in enumerate(batch):
        for fault in SPEECH_FAULTS:
            assert suspected[fault][place] or not _find(text, fault, "Ada Vance", ""), fault


def test_nobody_suspects_plain_speech() -> None:
    """Not even where it is long and rich in punctuation: else nothing would be saved."""
    found = TextBatch([PLAIN, f"{PLAIN}\n\nThey come for the weather: rain, gales; the worst!"])
    assert not any(flags.any() for flags in found.suspected.values())
    assert not found.may_refuse.any()
    assert not found.may_admit.any()


def test_no_texts_are_a_batch() -> None:
    found = TextBatch([])
    assert found.find_loops() == found.words.to_list() == []
    assert not any(map(len, found.suspected.values()))


def _find(text: str, fault: SpeechFault, speaker: str, question: str) -> object:
    return find_speech_fault(text, speaker=speaker, question=question, faults=(fault,))
