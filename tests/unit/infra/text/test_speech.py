"""Proves what is trimmed from an answer, what is rejected for what, and what is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import Reject
from infra.text.speech import read_speech

SAID = "Salt the cod on the third day, and keep it out of the wind."
NAME = "Nils Aker"


@pytest.mark.parametrize(
    "text",
    [
        SAID,
        f"  {SAID}\x00\x1b[0m\n",
        f"{SAID}<|im_end|>",
        f"{SAID} </s>",
        f"{SAID}<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nAnd eel?",
        f"{SAID}<end_of_turn>\n<start_of_turn>user\nAnd eel?",
        f"{SAID}<\uff5cend▁of▁sentence\uff5c>",
        f"<|im_start|>assistant\n{SAID}",
        f"<s> {SAID}",
        f"[/INST] {SAID}",
        f"assistant\n\n{SAID}",
        f'"{SAID}"',
        f"Nils: {SAID}",
        f"**Nils Aker:** {SAID}",
        f'Of course! Here is a response in character:\n\n"{SAID}"',
        f"As Nils Aker, I would answer:\n{SAID}",
        f"Voici la réponse de Nils :\n\n{SAID}",
        f"{SAID}\n\nLet me know if you would like me to adjust the response.",
        f"*wipes his hands on his apron* {SAID}",
        f"(leans closer)\n{SAID}",
        f"*lächelt breit* {SAID}",
        f"{SAID} *winks*",
        f"{SAID}[|endofturn|]",
        f"[|assistant|]{SAID}",
        f"{SAID}<|role_end|>",
        f"{SAID}<end_of_utterance>",
        f"{SAID}<extra_id_1>User\nAnd eel?",
        f"{SAID}<|im_en",
        f"{SAID}im_end|>",
        f"{SAID}</s",
        f"{SAID} < /s >",
        f"{SAID}<EOS>",
        f"<response>\n{SAID}\n</response>",
        f"<assistant>{SAID}</assistant>",
        f"Assistant\n\n{SAID}",
        f"### Response:\n{SAID}",
        f"[assistant]\n{SAID}",
        f"Final answer: {SAID}",
        f"Nils says: {SAID}",
        f"Nils Aker (grinning): {SAID}",
        f"Nils's reply: {SAID}",
        f"{SAID}\x9b31m",
        f"{SAID}\x1b(B",
        f"((winks)) {SAID}",
        f"~winks~ {SAID}",
        f"**winks slowly** {SAID}",
        f"<shrugs> {SAID}",
        f"{{shrugs}} {SAID}",
        f"-winks-\n{SAID}",
        f"(a long pause) {SAID}",
        f"*My eyes narrow.* {SAID}",
        f"*in a low, hoarse voice* {SAID}",
        f"*ahem* {SAID}",
    ],
)
def test_what_surrounds_the_speech_is_trimmed(text: str) -> None:
    assert read_speech(text, speaker=NAME) == SAID


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n", "empty"),
        ("Salt the <|pad|> cod.", "control_tokens"),
        ("Salt the cod on the<|im_end|>", "control_tokens"),
        (f"{SAID}\n\nUser: And eel?\nNils: Eel too.", "plays_user"),
        (f"{SAID}\n\nHuman: And eel?", "plays_user"),
        (f"{SAID}\n### Instruction:\nName a fish.", "plays_user"),
        (f"{SAID}\nuser\nAnd eel?\nassistant\nEel too.", "plays_user"),
        (f"{SAID}\n\nUtilisateur : Et l'anguille ?", "plays_user"),
        (f"{SAID}\n\n用户\uff1a那鳗鱼呢\uff1f", "plays_user"),
        (f"{SAID}\n\nuser: And eel?", "plays_user"),
        (f"{SAID}\n\nUser\n\nAnd eel?", "plays_user"),
        (f"{SAID}\n\nUser (puzzled): And eel?", "plays_user"),
        (f"{SAID}\n\nThe user: And eel?", "plays_user"),
        (f"{SAID}\n\nCustomer: And eel?\nNils: Eel too.", "plays_user"),
        (f"{SAID}\n\nInput: And eel?\nOutput: Eel too.", "plays_user"),
        (f'{SAID}\n\n{{"role": "user", "content": "And eel?"}}', "plays_user"),
        ("Nils:", "empty"),
        ("Ask [character's trade] about it.", "placeholder"),
        ("I am [age] winters old.", "placeholder"),
        ("Good day, %NAME%, sit down.", "placeholder"),
        ("Good day, ____, sit down.", "placeholder"),
        ("I have fished for XX years.", "placeholder"),
        (f"{SAID}<sep> And so on.", "control_tokens"),
        ("*smiles and nods*", "stage_direction"),
        ("(shrugs)", "stage_direction"),
        ("I am [Name], and I fish off [City].", "placeholder"),
        ("Good morning, {{user}}!", "placeholder"),
        ("Bring [insert favourite fish here] along.", "placeholder"),
        ("The codâ€™s still fresh, isnâ€™t it?", "broken_text"),
        ("TheĠcodĠisĠfresh today.", "broken_text"),
        ("\ufffd\ufffd cod \ufffd\ufffd", "broken_text"),
        ("The cod #%&@*!^~$ is fresh.", "broken_text"),
        (f"{SAID} " * 4, "repetition"),
    ],
)
def test_what_cannot_be_trimmed_is_rejected_with_its_reason(text: str, reason: str) -> None:
    found = read_speech(text, speaker=NAME)
    assert isinstance(found, Reject), found
    assert found.reason == reason


@pytest.mark.parametrize(
    "text",
    [
        "*Really*, I would not. I *do* mean it.",
        "*The Long Ships* is a fine book.",
        "Use **coarse** salt: 2 * 3 * 4 spoons (see below).",
        "* cod\n* eel",
        "(a) Salt it. (b) Hang it.",
        "`</s>` ends a sequence, <s>so they say</s>.",
        "```\nuser: nils\n<|im_end|>\n{{ user }}\n```",
        "Host: sea.example\nUser: nils\nPort: 22",
        "Here is a short scene:\n\nUser: Ahoy!\nBot: Ahoy.",
        "See [Name](names.md) and [the list](#list).",
        'He said "no" and she said "yes"',
        "Here's what I do at dawn:\n\n1. Bait\n2. Row",
        "Fine \ufffd then.",
        "**Salt** it, then ~ wait ~ a day.",
        "My friends: salt, wind, and time.",
        "Salt it. (My hands still smell of it.) Then wait.",
        "At market it goes so:\n\nBuyer: Fresh?\nNils: Always.",
        "Set {salt, wind} against {sun, sea}; 3 < 4 > 2.",
        "Human hands salt best. User or not, salt.",
        "SÃO VICENTE É UMA ILHA. « NON », DIT-IL.",
        "E = mc^2, so $\\frac{a}{b} \\in \\{1, 2\\}$ holds.",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert read_speech(text, speaker=NAME) == text


def test_a_half_surrogate_shows_as_broken_and_harms_nothing_else() -> None:
    assert read_speech("Cod \ud83d then.") == "Cod \ufffd then."


def test_the_question_may_ask_for_what_is_a_fault_elsewhere() -> None:
    letter = "Dear [Name],\nthe cod is late."
    assert read_speech(letter, question="Write a letter to a customer.") == letter
    script = f"{SAID}\n\nUser: And eel?"
    assert read_speech(script, question="Write a dialogue about cod.") == script


def test_stage_directions_may_stay_and_unchecked_answers_are_only_cleaned() -> None:
    text = f"*winks* {SAID}"
    assert read_speech(text, stage_directions="keep") == text
    raw = f'"{SAID}"<|im_end|>'
    assert read_speech(raw, checked=False) == raw


MARKS = st.lists(st.sampled_from([*"*_()[]{}<|>:\"'`#\n. aA你", "User: ", "</s>", "\ud83d", "\\("]))


@settings(max_examples=300, deadline=None)
@given(MARKS.map("".join) | st.text(max_size=200))
def test_any_text_gives_storable_speech_or_a_reject_and_reading_again_changes_little(
    text: str,
) -> None:
    said = read_speech(text, speaker=NAME, question=text)
    if not isinstance(said, Reject):
        said.encode()
        assert said == said.strip() and said
