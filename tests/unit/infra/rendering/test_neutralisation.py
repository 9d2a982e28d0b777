"""Proves that control tokens in data are broken and that other text is left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.rendering.neutralisation import neutralise_special_tokens

TOKENS = [
    "<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|im_start|>", "<|im_end|>",
    "<|endoftext|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<s>", "</s>", "<unk>",
    "<start_of_turn>", "<end_of_turn>", "<think>", "</think>", "<tool_call>", "<unused99>",
    "<\uff5cUser\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>", "[gMASK]", "[TOOL_CALLS]",
    "<|reserved_special_token_17|>", "<fim_prefix>",
]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_tokens_are_broken_wherever_they_stand(token: str) -> None:
    for text in (token, f"a{token}b", token * 3, f"<{token}>", f"[{token}]", f"\n{token}\n"):
        assert token not in neutralise_special_tokens(text)


@pytest.mark.parametrize(
    "text",
    [
        "x |> f <| y", "a < b and c > d", "[1] see [INSTALL]", "<b>bold</b> <section>", "{{ x }}",
        "if (a<|b) return", "מה שלומך? 🙂", "<|\n|>", "I <3 you",
    ],
)  # fmt: skip
def test_other_text_stays(text: str) -> None:
    assert neutralise_special_tokens(text) == text


@given(st.lists(st.sampled_from([*TOKENS, "<", "|", ">", "[", "]", "a", " "]), max_size=12))
def test_nothing_survives_and_twice_is_once(pieces: list[str]) -> None:
    once = neutralise_special_tokens("".join(pieces))
    assert not any(token in once for token in TOKENS)
    assert neutralise_special_tokens(once) == once
