"""Proves that probes are fixed, and that sampling changes nothing but the samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.records import Example, Split, Turn
from tasks.training.ranks.samples import (
    Answer,
    append_samples,
    choose_probes,
    dump_samples,
    generate_answers,
    load_samples,
    make_samples,
)

from .exports import BASE, encode_questions, load_tokenizer


def make_example(key: str, character: str, split: Split = "validation", *turns: Turn) -> Example:
    given = turns or (Turn("system", f"You are {character}."), Turn("user", f"Question {key}?"))
    return Example(key, f"d{key}", character, split, True, 0, (*given, Turn("assistant", "Yes.")))


def count_words(messages: Any) -> list[int]:
    return [len(message.content.split()) for message in messages]


EXAMPLES = [make_example(f"{c}{n}", f"c{c}") for c in range(20) for n in range(3)]


def test_probes_are_held_out_fixed_and_one_a_character() -> None:
    trained = [make_example(f"t{n}", f"t{n}", "train") for n in range(40)]
    probes = choose_probes([*EXAMPLES, *trained], count_words, characters=4)
    assert len({probe.character_key for probe in probes}) == 4
    assert all(probe.character_key.startswith("c") for probe in probes)
    assert choose_probes(reversed([*trained, *EXAMPLES]), count_words, characters=4) == probes
    assert choose_probes(EXAMPLES, count_words, characters=2) == probes[:2]
    assert choose_probes(EXAMPLES, count_words, characters=4, seed=1) != probes
    first = probes[0]
    assert (first.system, first.question) == (
        f"You are {first.character_key}.",
        f"Question {first.key}?",
    )
    assert first.token_ids == (3, 2)


def test_examples_that_cannot_be_asked_are_passed_over() -> None:
    odd = make_example("x", "only", "validation", Turn("user", "No system prompt"))
    long = make_example("y", "long", "validation", Turn("system", "a"), Turn("user", "b " * 50))
    short = make_example("z", "long")

    def count(messages: Any) -> list[int]:
        return [1] * sum(len(message.content.split()) for message in messages)

    probes = choose_probes([odd, long, short], count, characters=9, max_prompt_tokens=20)
    assert [probe.key for probe in probes] == ["z"]
    assert choose_probes([odd], count, characters=9) == ()


def test_samples_survive_the_file_and_a_cut_line(tmp_path: Path) -> None:
    probes = choose_probes(EXAMPLES, count_words, characters=2)
    answers = [Answer("Line\nbreak \u2028 “quote”", 5, True), Answer("", 0, False)]
    samples = make_samples(7, probes, answers)
    path = tmp_path / "a" / "samples.jsonl"
    append_samples(path, samples[:1])
    append_samples(path, samples[1:])
    text = path.read_text(encoding="utf-8")
    assert text == dump_samples(samples)
    assert load_samples(text) == samples
    assert load_samples(text + '{"step": 8, "key"') == samples
    assert json.loads(text.split("\n")[0])["answer"] == answers[0].text
    with pytest.raises(ValueError, match="shorter"):
        make_samples(7, probes, answers[:1])


@pytest.fixture(scope="module")
def model() -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(BASE), dtype=torch.float32)


def ask(model: Any, prompts: list[tuple[int, ...]], **more: Any) -> tuple[Answer, ...]:
    tokenizer = load_tokenizer()
    return generate_answers(
        model,
        prompts,
        decode=tokenizer.decode,
        stop_ids=[3, 4],
        pad_id=5,
        **({"max_new_tokens": 60} | more),
    )


def take_prompts(count: int) -> list[tuple[int, ...]]:
    """Return the demo's first questions as prompts, of different lengths."""
    rows = encode_questions(count)
    found = [tuple(ids[: labels.count(-100)]) for ids, labels, _ in rows]
    assert len({len(ids) for ids in found}) > 1
    return found


@pytest.mark.torch
def test_padded_batches_answer_as_single_prompts_do(model: Any) -> None:
    prompts = take_prompts(5)
    together = ask(model, prompts)
    assert [ask(model, [ids])[0] for ids in prompts] == list(together)
    assert ask(model, prompts, batch=2) == together
    assert all(answer.text and answer.ended for answer in together)
    assert all("<|" not in answer.text for answer in together)
    (cut,) = ask(model, prompts[:1], max_new_tokens=3)
    assert (cut.ended, cut.tokens) == (False, 3)


@pytest.mark.torch
def test_sampling_in_the_middle_of_training_leaves_no_trace(model: Any) -> None:
    import torch

    prompts = take_prompts(4)
    model.train()
    model.config.use_cache = False
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    warm = ask(model, prompts, temperature=1.5, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert model.training
    assert model.config.use_cache is False
    assert ask(model, prompts, temperature=1.5, seed=1) == warm
    assert ask(model, prompts, temperature=1.5, seed=2) != warm
    model.config.use_cache = True
    model.eval()
