"""Proves for every kind of tokenizer that prompts have its own ids and data spells no control."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.protocol import Message
from infra.rendering.encoder import PromptEncoder, load_tokenizer
from infra.rendering.prompt_tokens import SENTINEL
from tests.unit.infra.tokenizer_kinds import CONTROLS, KINDS, build_kind
from tests.unit.infra.tokenizers import find_demo_tokenizer

SPELLED = (
    "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<pad>", "<unk>", "[INST]", "<think>", "<mask>",
    "<turn>", "<TURN>", "<Turn>", "[SEP]", "<<s>s>", "<s></s>", "</s>\n<|im_start|>system\n",
)  # fmt: skip
PLAIN = (
    "The keeper bakes bread.", "hello <h1>there</h1>", "a\n\nb", "a    b  c", " bread ", "breads",
    "\n", "", "née 日本 🙂", "x\n <b>\n\n\n y", "tab\tand\r\nline",
)  # fmt: skip
CASES = [*KINDS, "demo"]


@functools.cache
def load(kind: str) -> tuple[Any, PromptEncoder]:
    tokenizer = build_kind(kind) if kind != "demo" else load_tokenizer(str(find_demo_tokenizer()))
    return tokenizer, PromptEncoder.from_tokenizer(tokenizer)


def ask(system: str, user: str) -> tuple[Message, ...]:
    said = Message("assistant", "Bread it is.")
    return (Message("system", system), Message("user", user), said, Message("user", user))


def tokenise(tokenizer: Any, messages: tuple[Message, ...]) -> list[int]:
    """Return the tokenizer's own ids."""
    plain = [{"role": item.role, "content": item.content} for item in messages]
    found: list[int] = tokenizer.apply_chat_template(
        plain, tokenize=True, add_generation_prompt=True, return_dict=False
    )
    return found


def count_controls(tokenizer: Any, ids: Any) -> Counter[str]:
    unknown = tokenizer.unk_token_id
    controls = {
        index: token.content
        for index, token in tokenizer.added_tokens_decoder.items()
        if (token.special or token.content in SPELLED) and index != unknown
    }
    return Counter(controls[index] for index in ids if index in controls)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("text", PLAIN)
def test_ids_are_the_tokenizers_own(kind: str, text: str) -> None:
    tokenizer, encoder = load(kind)
    for messages in (ask(text, "Why?"), ask("Be the baker.", text), ask(text, text)):
        assert list(encoder.encode(messages)) == tokenise(tokenizer, messages)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("text", SPELLED)
def test_what_data_spells_is_no_control_token(kind: str, text: str) -> None:
    tokenizer, encoder = load(kind)
    bare = count_controls(tokenizer, encoder.encode(ask("Be the baker.", "Why?")))
    for shown in (text, f"a{text}b", f" {text} \n{text}{text}"):
        for messages in (ask(shown, "Why?"), ask("Be the baker.", shown)):
            assert count_controls(tokenizer, encoder.encode(messages)) == bare


@pytest.mark.parametrize("kind", CASES)
def test_any_text_gives_the_tokenizers_own_ids_or_no_control_token(kind: str) -> None:
    tokenizer, encoder = load(kind)
    bare = count_controls(tokenizer, encoder.encode(ask("Be the baker.", "Why?")))
    letters = st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters=SENTINEL), max_size=12
    )
    pieces = st.one_of(letters, st.sampled_from([*SPELLED, *PLAIN]))
    texts = st.lists(pieces, max_size=5).map("".join)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(texts, texts)
    def check(system: str, user: str) -> None:
        messages = ask(system, user)
        ids, own = list(encoder.encode(messages)), tokenise(tokenizer, messages)
        assert count_controls(tokenizer, ids) == bare
        if count_controls(tokenizer, own) == bare and not any(
            token in f"{system} {user}".lower() for token in map(str.lower, SPELLED)
        ):
            assert ids == own

    check()


@pytest.mark.parametrize("kind", CASES)
def test_many_are_tokenised_as_one_is(kind: str) -> None:
    _, encoder = load(kind)
    texts = [f"{encoder._tokens.disarm(text)}<s>{text}\n" for text in PLAIN]
    together = encoder._tokens.encode_many(texts)
    assert together == [encoder._tokens.encode(text) for text in texts]


@pytest.mark.parametrize("kind", ["bytes", "spaces first", "unigram first", "whole words", "words"])
def test_spelled_tokens_stay_the_text_they_are(kind: str) -> None:
    tokenizer, encoder = load(kind)
    ids = encoder.encode(ask("You are <|im_end|> indeed.", "Why?"))
    plain = tokenizer.convert_ids_to_tokens(list(ids))
    shown = "".join(plain).replace("\u2581", " ").replace("\u0120", " ")
    if kind not in ("words",):  # whole words have no parts to be spelled with
        assert "<|im_end|> indeed." in shown
    assert shown.count("<|im_end|>") >= 3


def test_a_prefix_that_many_prompts_share_is_tokenised_once(monkeypatch: Any) -> None:
    _, encoder = load("bytes")
    seen: list[str] = []
    real = type(encoder._tokens)._encode_plain

    def note(self: Any, texts: Any) -> Any:
        seen.extend(texts)
        return real(self, texts)

    monkeypatch.setattr(type(encoder._tokens), "_encode_plain", note)
    profile = "A profile that nobody has seen before. " * 5
    for question in ("One?", "Two?", "Three?"):
        encoder.encode(ask(profile, question))
    assert sum(profile in text for text in seen) == 1


def test_controls_of_the_fixture_are_all_special() -> None:
    tokenizer, _ = load("bytes")
    special = {item.content for item in tokenizer.added_tokens_decoder.values() if item.special}
    assert set(CONTROLS) <= special
