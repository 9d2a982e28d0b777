"""Proves that a conversation in one text is parted by its speakers, and no other text is."""

from __future__ import annotations

import pytest

from tasks.instructions.transcripts import split_transcript

ASKED, SAID = "Who mends nets?", "Old Pim does."


@pytest.mark.parametrize(
    "text",
    [
        f"\n\nHuman: {ASKED}\n\nAssistant: {SAID}",
        f"### Human: {ASKED}### Assistant: {SAID}",
        f"A task follows.\n\n### Instruction:\n{ASKED}\n\n### Response:\n{SAID}",
        f"<human>: {ASKED}\n<bot>: {SAID}",
        f"Q: {ASKED}\nA: {SAID}",
        f"**Question:** {ASKED}\n**Answer:** {SAID}",
        f"USER: {ASKED} ASSISTANT: {SAID}</s>",
        f"USER: {ASKED} GPT: {SAID}",
        f"<s>[INST] <<SYS>>Be terse.<</SYS>> {ASKED} [/INST] {SAID} </s>",
        f"<|im_start|>user\n{ASKED}<|im_end|>\n<|im_start|>assistant\n{SAID}<|im_end|>\n",
        f"<|start_header_id|>user<|end_header_id|>\n\n{ASKED}<|eot_id|>"
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{SAID}<|eot_id|>",
        f"<start_of_turn>user\n{ASKED}<end_of_turn>\n<start_of_turn>model\n{SAID}<end_of_turn>",
        f"<|user|>\n{ASKED}<|end|>\n<|assistant|>\n{SAID}<|end|>",
    ],
)
def test_speakers_are_told_in_every_form(text: str) -> None:
    assert split_transcript(text) == [("user", ASKED), ("assistant", SAID)]


def test_a_system_prompt_is_a_turn_of_its_own() -> None:
    text = f"SYSTEM: Be terse.\nUSER: {ASKED}\nASSISTANT: {SAID}"
    assert [role for role, _ in split_transcript(text)] == ["system", "user", "assistant"]


@pytest.mark.parametrize(
    "text", ["", ASKED, f"Human: {ASKED}", "Note: a. Result: b.", "The user: she asks. A: well."]
)
def test_a_text_without_two_sides_is_none(text: str) -> None:
    assert split_transcript(text) == []
