"""Proves that every family is trained on what its models are served, and learns to end turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError
from infra.paths import packaged_configs
from infra.protocol import Message
from infra.rendering.chat_roles import arrange, probe_roles
from infra.rendering.chat_template import ChatTemplate
from infra.rendering.encoder import PromptEncoder, read_template
from tasks.training.rows.encoding import EncodedExample, ExampleEncoder, Unfit
from tasks.training.rows.templates import ChatFormat, choose_format

from .families import GEMMA_OWN, MARKED_OWN, MISTRAL_OWN, PHI_OWN, load_spaced
from .test_encoding import read_trained
from .tokenizers import make_example

TALK = (
    Message("system", "Be Ada."),
    Message("user", " Hi "),
    Message("assistant", "The pot.\n"),
    Message("user", "Why?"),
    Message("assistant", "“So.”"),
)
FAMILIES = ("llama3", "chatml", "gemma", "mistral")


def read_family(name: str) -> tuple[ChatTemplate, ChatTemplate]:
    folder = packaged_configs() / "templates" / "training"
    texts = [
        (folder / f"{name}.{kind}.jinja").read_text(encoding="utf-8").removesuffix("\n")
        for kind in ("training", "serving")
    ]
    return ChatTemplate(texts[0]), ChatTemplate(texts[1])


@pytest.mark.parametrize("family", FAMILIES)
def test_both_templates_of_a_family_write_the_same(family: str) -> None:
    training, serving = read_family(family)
    talks = [
        TALK, TALK[1:], TALK[:2], TALK[:1], (*TALK, *TALK), (TALK[0], *TALK[2:]),
        (TALK[1], TALK[1], TALK[2], TALK[2]), (TALK[0], TALK[0], TALK[1]),
    ]  # fmt: skip
    for talk in talks:
        text, spans = training.render_marked(talk)
        assert text == serving.render(talk, add_generation_prompt=False)
        assert training.render(talk) == serving.render(talk)
        assert len(spans) == sum(item.role == "assistant" for item in talk)
        assert all(item.content.strip() in text for item in talk)


@pytest.mark.parametrize(("family", "own"), [("gemma", GEMMA_OWN), ("mistral", MISTRAL_OWN)])
def test_a_family_writes_what_its_models_own_template_writes(family: str, own: str) -> None:
    _, ours = read_family(family)
    theirs = ChatTemplate(
        own, {"bos_token": "<bos>" if family == "gemma" else "<s>", "eos_token": "</s>"}
    )
    roles = probe_roles(theirs)
    assert roles.system == "nowhere"
    talk = [Message(item.role, item.content.strip()) for item in TALK]
    for asks in (True, False):
        wanted = theirs.render(arrange(talk, roles)[0], add_generation_prompt=asks)
        assert ours.render(talk, add_generation_prompt=asks) == wanted


def encode(tokenizer: Any, chat: ChatFormat, *texts: str, **knobs: Any) -> EncodedExample | Unfit:
    (found,) = ExampleEncoder(tokenizer, chat, max_length=500).encode(
        [make_example(*texts, **knobs)]
    )
    return found


@pytest.mark.parametrize(
    ("family", "template", "name", "stop"),
    [
        ("gemma", None, "gemma", "<end_of_turn>"),
        ("gemma", GEMMA_OWN, "gemma", "<end_of_turn>"),
        ("gemma", GEMMA_OWN, "own", "<end_of_turn>"),
        ("mistral", None, "mistral", "</s>"),
        ("mistral", MISTRAL_OWN, "own", "</s>"),
        ("phi", PHI_OWN, "own", "<|end|>"),
        ("phi", MARKED_OWN, "own", "<|end|>"),
    ],
)
def test_what_is_learnt_is_the_answer_and_its_end(
    tmp_path: Path, family: str, template: str | None, name: str, stop: str
) -> None:
    tokenizer = load_spaced(tmp_path / "model", family, template)
    chat = choose_format(tokenizer, name)
    assert (chat.name, chat.stop_token) == (name, stop)
    assert chat.pad_token != chat.stop_token
    assert "generation %}" not in chat.serving_template
    found = encode(tokenizer, chat, "Hi <s> there", "The pot.", "Why?", "So the end.")
    assert isinstance(found, EncodedExample)
    trained = [text.strip() for text in read_trained(tokenizer, found)]
    assert trained == [f"The pot.{stop}", f"So the end.{stop}"]
    # What stands before the first answer is the prompt that asks for it.
    serving = PromptEncoder.from_tokenizer(tokenizer, chat.serving_template)
    example = make_example("Hi <s> there", "The pot.", "Why?", "So the end.")
    talk = [Message(turn.role, turn.content) for turn in example.messages]
    asked = serving.encode(talk[:2])
    assert list(asked) == found.input_ids[: len(asked)].tolist()
    assert int(found.trained.argmax()) == len(asked)
    plain = encode(tokenizer, chat, "Hi there", "The pot.", "Why?", "So the end.")
    assert isinstance(plain, EncodedExample)
    rendering = read_template(tokenizer, chat.serving_template)
    clean = [talk[0], Message("user", "Hi there"), *talk[2:]]
    text = rendering.render(arrange(clean, probe_roles(rendering))[0], add_generation_prompt=False)
    assert plain.input_ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]


def test_auto_takes_the_family_and_else_the_models_own(tmp_path: Path) -> None:
    names = {
        family: choose_format(load_spaced(tmp_path / family, family, template)).name
        for family, template in (("gemma", GEMMA_OWN), ("mistral", None), ("phi", PHI_OWN))
    }
    assert names == {"gemma": "gemma", "mistral": "mistral", "phi": "own"}


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for m in messages %}{{ m.content }}\n{% endfor %}", "no special token"),
        (
            "{% for m in messages %}{{ m.role }}{% if m.role == 'assistant' and loop.last %} !! "
            "{% endif %}{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}assistant"
            "{% endif %}",
            "around an answer|otherwise",
        ),
        ("{{ messages[-1].content }}<|end|>", "otherwise"),
    ],
)
def test_a_template_whose_answers_cannot_be_told_is_refused(
    tmp_path: Path, template: str, told: str
) -> None:
    tokenizer = load_spaced(tmp_path / "model", "phi", template)
    with pytest.raises(ConfigError, match=told):
        choose_format(tokenizer)


def test_merged_answers_are_learnt_only_if_all_are_played(tmp_path: Path) -> None:
    tokenizer = load_spaced(tmp_path / "model", "gemma", GEMMA_OWN)
    chat = choose_format(tokenizer, "own")
    example = make_example("Hi", "One.", "Why?", "Two.", context_turns=2)
    turns = example.messages
    from dataclasses import replace

    merged = replace(example, messages=(*turns[:3], turns[4], turns[3], turns[4]))
    (found,) = ExampleEncoder(tokenizer, chat, max_length=500).encode([merged])
    assert isinstance(found, EncodedExample)
    assert [text.strip() for text in read_trained(tokenizer, found)] == ["Two.<end_of_turn>"]


def test_a_conversation_that_the_template_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    tokenizer = load_spaced(tmp_path / "model", "gemma", GEMMA_OWN.replace(
        "{{ bos_token }}", "{{ bos_token }}{% if messages | length > 3 %}"
        "{{ raise_exception('Too much talk') }}{% endif %}"
    ))  # fmt: skip
    chat = choose_format(tokenizer, "gemma")
    long = ChatFormat(**{
        **{name: getattr(chat, name) for name in ChatFormat.__slots__},
        "training_template": chat.training_template.replace(
            "{{ '<bos>' }}", "{{ '<bos>' }}{% if messages | length > 5 %}"
            "{{ raise_exception('Too much talk') }}{% endif %}"
        ),
    })  # fmt: skip
    found = encode(tokenizer, long, "Hi", "One.", "Why?", "Two.", "And?", "Three.")
    assert isinstance(found, Unfit)
    assert (found.reason, found.detail) == ("template_refused", "Too much talk")
