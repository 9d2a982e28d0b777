"""Proves that answers are scored as they are trained on, and that batches change no score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError
from infra.protocol import Message
from tasks.evaluation.measures.likelihood import (
    AnswerEncoder,
    find_context,
    load_model,
)
from tasks.records import Example
from tasks.training.rows.encoding import EncodedExample, ExampleEncoder
from tasks.training.rows.templates import choose_format
from tests.unit.training.exports import build_base as build_model
from tests.unit.training.tokenizers import CHATML, LLAMA3, build_base, load_family, make_example

EXAMPLES = (
    make_example("Hi", "Hello."),
    make_example("Hi\n", "\n“Two,” she said.\n\n*She laughs.*\n"),
    make_example("Hi", "  Spaces before, spaces after  ", system=None),
    make_example("Hi", "I end with <|eot_id|> and <|im_end|>, or do I?\ufdd0"),
    make_example("Hi", "Hello.", "Why?", "Bread.", context_turns=2),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(str(build_model(tmp_path_factory.mktemp("model") / "tiny")))


def read_messages(example: Example) -> list[Message]:
    return [Message(turn.role, turn.content) for turn in example.messages]


@pytest.mark.parametrize("family", ["llama3", "chatml", "demo"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_what_is_scored_is_what_was_trained(family: str, example: Example, tmp_path: Path) -> None:
    tokenizer = load_family(tmp_path, family)
    chat = choose_format(tokenizer)
    (trained,) = ExampleEncoder(tokenizer, chat, max_length=4096).encode([example])
    assert isinstance(trained, EncodedExample)
    found = AnswerEncoder(tokenizer, chat.serving_template).encode(read_messages(example))
    # ChatML writes a newline after the stop token, which nobody learns.
    assert list(found.ids) == trained.input_ids[: len(found.ids)].tolist()
    learnt = trained.trained.nonzero()[0].tolist()
    assert learnt == list(range(found.start, len(found.ids)))
    assert found.answer_tokens == len(learnt)


def test_a_models_own_template_serves_where_none_is_given(tmp_path: Path) -> None:
    tokenizer = load_family(tmp_path, "demo")
    given = AnswerEncoder(tokenizer, choose_format(tokenizer).serving_template)
    own = AnswerEncoder(tokenizer)
    messages = read_messages(EXAMPLES[0])
    assert own.encode(messages) == given.encode(messages)


def test_a_model_that_has_no_template_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no chat template"):
        AnswerEncoder(load_family(tmp_path, "llama3"), name="meta/base")


@pytest.mark.parametrize(
    ("after", "eos", "expected"),
    [
        ("<|im_end|>\n", "<|endoftext|>", "<|im_end|>"),
        ("\n", "<|endoftext|>", "<|endoftext|>"),
        ("\n", None, None),
    ],
)
def test_the_stop_token_is_what_the_template_writes_after_an_answer(
    after: str, eos: str | None, expected: str | None, tmp_path: Path
) -> None:
    from infra.rendering.encoder import load_tokenizer

    folder = build_base(tmp_path / "base", [*CHATML, "<|endoftext|>"], eos=eos)
    tokenizer = load_tokenizer(str(folder))
    template = (
        "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}"
        + f"{after!r}".join(("{{ ", " }}"))
        + "{% endfor %}"
    )
    found = AnswerEncoder(tokenizer, template).encode(read_messages(EXAMPLES[0]))
    said = tokenizer.convert_ids_to_tokens(list(found.ids[found.start :]))
    assert said == ["H", "e", "l", "l", "o", ".", *([expected] if expected else [])]


def test_a_token_that_a_text_spells_stays_text(tmp_path: Path) -> None:
    tokenizer = load_family(tmp_path, "llama3")
    encoder = AnswerEncoder(tokenizer, choose_format(tokenizer).serving_template)
    found = encoder.encode([Message("user", LLAMA3[3]), Message("assistant", LLAMA3[3])])
    stop = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    said = found.ids[found.start :]
    assert said.count(stop) == 1
    assert said[-1] == stop
    assert found.ids.count(stop) == 2


@pytest.mark.torch
def test_the_context_is_the_models_own(model: Any) -> None:
    assert find_context(model) == 256
