"""Proves what is learnt of an example, and why others are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from infra.errors import ConfigError
from infra.rendering import load_tokenizer
from tasks.records import Example
from tasks.training.encoding import EncodedExample, ExampleEncoder, Unfit
from tasks.training.templates import choose_format

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


def test_a_tokenizer_that_treats_pieces_otherwise_than_the_whole_is_refused(
    tmp_path: Path,
) -> None:
    """It puts a space before every text, so pieces have spaces that the whole has not."""
    words = ["[UNK]", "▁", *map(chr, range(32, 127)), "\n"]
    spaced = Tokenizer(models.BPE({word: n for n, word in enumerate(words)}, [], unk_token="[UNK]"))
    spaced.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    spaced.add_special_tokens([*LLAMA3, "<pad>"])
    tmp_path.mkdir(exist_ok=True)
    spaced.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(
        '{"tokenizer_class": "PreTrainedTokenizerFast"}'
    )
    tokenizer = load_tokenizer(str(tmp_path))
    with pytest.raises(ConfigError, match="training would not see what serving sees"):
        ExampleEncoder(tokenizer, choose_format(tokenizer), max_length=LENGTH)
