"""Proves what is learnt of an example, and why others are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from infra.errors import ConfigError
from infra.rendering.encoder import load_tokenizer
from tasks.records import Example
from tasks.training.rows.encoding import EncodedExample, ExampleEncoder, Unfit
from tasks.training.rows.templates import choose_format

from .tokenizers import LLAMA3, load_family, make_example

LENGTH = 400


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_family(tmp_path_factory.mktemp("model"), "llama3")


def encode(tokenizer: Any, *examples: Example, length: int = LENGTH) -> list[Any]:
    encoder = ExampleEncoder(tokenizer, choose_format(tokenizer), max_length=length)
    return list(encoder.encode(examples))


def read_trained(tokenizer: Any, encoded: EncodedExample) -> list[str]:
    """Return the runs of trained tokens as text."""
    edges = np.flatnonzero(np.diff(encoded.trained, prepend=False, append=False))
    return [
        tokenizer.decode(encoded.input_ids[start:end])
        for start, end in zip(edges[::2], edges[1::2], strict=True)
    ]


def test_every_answer_and_its_stop_token_are_learnt(tokenizer: Any) -> None:
    (found,) = encode(tokenizer, make_example("Hi", "Hello.", "Why?", "Bread.\n\nThat is why."))
    assert found.key == "e1"
    assert read_trained(tokenizer, found) == [
        "Hello.<|eot_id|>",
        "Bread.\n\nThat is why.<|eot_id|>",
    ]


def test_given_answers_are_read_and_not_learnt(tokenizer: Any) -> None:
    turns = ("Hi", "Hello.", "Why?", "Bread.", "And?", "Cake.")
    given = [
        read_trained(tokenizer, encode(tokenizer, make_example(*turns, context_turns=count))[0])
        for count in (0, 1, 2, 3, 4)
    ]
    assert [len(texts) for texts in given] == [3, 3, 2, 2, 1]
    assert given[4] == ["Cake.<|eot_id|>"]


def test_given_turns_are_counted_after_the_system_prompt_if_there_is_one(tokenizer: Any) -> None:
    turns = ("Hi", "Hello.", "Why?", "Bread.")
    (found,) = encode(tokenizer, make_example(*turns, system=None, context_turns=2))
    assert read_trained(tokenizer, found) == ["Bread.<|eot_id|>"]


def test_all_given_leaves_nothing_to_learn(tokenizer: Any) -> None:
    (found,) = encode(tokenizer, make_example("Hi", "Hello.", context_turns=2))
    assert (found.reason, found.source) == ("no_trained_tokens", "dialogue of e1")


def test_a_conversation_without_an_answer_has_nothing_to_learn(tokenizer: Any) -> None:
    (found,) = encode(tokenizer, make_example("Hi"))
    assert found.reason == "no_trained_tokens"


@pytest.mark.parametrize("blank", ["", " \n\t ", "\ufdd0"])
def test_a_played_answer_without_text_would_teach_silence(tokenizer: Any, blank: str) -> None:
    played, given = encode(
        tokenizer,
        make_example("Hi", "Hello.", "Why?", blank),
        make_example("Hi", blank, "Why?", "Bread.", context_turns=2),
    )
    assert played.reason == "empty"
    assert isinstance(given, EncodedExample)


def test_no_messages_are_empty_and_others_keep_their_place(tokenizer: Any) -> None:
    found = encode(
        tokenizer, make_example(system=None, key="a"), make_example("Hi", "Hello.", key="b")
    )
    assert [item.key for item in found] == ["a", "b"]
    assert (found[0].reason, found[0].tokens) == ("empty", 0)
    assert read_trained(tokenizer, found[1]) == ["Hello.<|eot_id|>"]


def test_an_example_may_be_as_long_as_a_row_and_no_longer(tokenizer: Any) -> None:
    example = make_example("Hi", "Hello.")
    (found,) = encode(tokenizer, example)
    tokens = len(found.input_ids)
    assert isinstance(encode(tokenizer, example, length=tokens)[0], EncodedExample)
    (left,) = encode(tokenizer, example, length=tokens - 1)
    assert isinstance(left, Unfit)
    assert (left.reason, left.tokens) == ("too_long", tokens)
    assert left.rejection.detail == f"{tokens} tokens, max_length is {tokens - 1}"


def test_one_batch_gives_what_single_calls_give(tokenizer: Any) -> None:
    examples = [
        make_example("Hi", f"Hello {number}.", key=str(number), system=f"Be {number % 2}.")
        for number in range(7)
    ]
    together = encode(tokenizer, *examples)
    for example, found in zip(examples, together, strict=True):
        (alone,) = encode(tokenizer, example)
        assert found.key == alone.key
        np.testing.assert_array_equal(found.input_ids, alone.input_ids)
        np.testing.assert_array_equal(found.trained, alone.trained)


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> Any:
    tokenizer.add_special_tokens([*LLAMA3, "<pad>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    return load_tokenizer(str(folder))


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
def test_a_tokenizer_that_puts_spaces_before_texts_is_trained_on_its_own_ids(
    tmp_path: Path, scheme: Any
) -> None:
    words = ["[UNK]", "▁", *map(chr, range(32, 127)), "\n"]
    spaced = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, [], unk_token="[UNK]"))
    spaced.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer = write_tokenizer(tmp_path, spaced)
    chat = choose_format(tokenizer)
    example = make_example("Hi <|eot_id|>", "Hello there.", "Why?", "So.")
    (found,) = encode(tokenizer, example)
    plain = [{"role": turn.role, "content": turn.content} for turn in example.messages]
    plain[1]["content"] = "Hi"
    (unspelled,) = encode(tokenizer, make_example("Hi", "Hello there.", "Why?", "So."))
    own = tokenizer.apply_chat_template(plain, chat_template=chat.serving_template, tokenize=True)
    assert unspelled.input_ids.tolist() == own["input_ids"]
    stop = chat.stop_id
    assert found.input_ids.tolist().count(stop) == own["input_ids"].count(stop)
    trained = [text.replace("▁", " ").strip() for text in read_trained(tokenizer, found)]
    assert len(trained) == 2
    assert trained[1].startswith("S")


def test_a_tokenizer_that_joins_header_and_answer_is_refused(tmp_path: Path) -> None:
    """GPT-2's rule parts the last newline from those before it only where a letter follows."""
    words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ĊĊ"]
    joined = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, [("Ċ", "Ċ")]))
    joined.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = write_tokenizer(tmp_path, joined)
    with pytest.raises(ConfigError, match="training would not see what serving sees"):
        ExampleEncoder(tokenizer, choose_format(tokenizer), max_length=LENGTH)
