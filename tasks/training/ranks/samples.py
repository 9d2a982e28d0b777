"""Samples answers of fixed held-out characters, so that people can watch a model learn a voice.

Which characters and which questions are asked follows from their keys alone, so every checkpoint,
every run and every model over the same data answers the same probes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.protocol import Message
from infra.store.fingerprints import hash_parts
from infra.thoughts.parting import part_thought
from tasks.records import Example

Encode = Callable[[Sequence[Message]], Sequence[int]]
"""Renders messages as the token ids of a prompt, answer header included."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to one held-out character: its system prompt and first user turn."""

    key: str
    character_key: str
    system: str
    question: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote: its text, its length, and whether it ended by itself."""

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """Answer to a probe after so many optimiser steps; one line of the samples file."""

    step: int
    key: str
    character_key: str
    system: str
    question: str
    answer: str
    tokens: int
    ended: bool


def choose_probes(
    examples: Iterable[Example],
    encode: Encode,
    *,
    characters: int,
    seed: int = 0,
    max_prompt_tokens: int | None = None,
) -> tuple[Probe, ...]:
    """Choose the validation characters with the smallest hash, and of each its smallest example.

    Examples without a system prompt and a user turn, and prompts of more than
    ``max_prompt_tokens``, are passed over; a character with none left is too.
    """
    held_out: dict[str, list[Example]] = {}
    for example in examples:
        if example.split == "validation" and _read_opening(example) is not None:
            held_out.setdefault(example.character_key, []).append(example)
    ranked = sorted(held_out, key=lambda key: (hash_parts("probe", str(seed), key), key))
    probes: list[Probe] = []
    for character in ranked:
        if len(probes) == characters:
            break
        found = _probe_character(held_out[character], encode, max_prompt_tokens)
        if found is not None:
            probes.append(found)
    return tuple(probes)


def _probe_character(examples: Sequence[Example], encode: Encode, most: int | None) -> Probe | None:
    for example in sorted(examples, key=lambda item: (hash_parts("probe", item.key), item.key)):
        opening = _read_opening(example)
        if opening is None:
            continue
        ids = tuple(encode(opening))
        if most is None or len(ids) <= most:
            system, question = (message.content for message in opening)
            return Probe(example.key, example.character_key, system, question, ids)
    return None


def _read_opening(example: Example) -> tuple[Message, Message] | None:
    """Return the system prompt and the first user turn, if that is how an example begins."""
    if [turn.role for turn in example.messages[:2]] != ["system", "user"]:
        return None
    system, user = (Message(turn.role, turn.content) for turn in example.messages[:2])
    return system, user


def make_samples(
    step: int, probes: Sequence[Probe], answers: Sequence[Answer]
) -> tuple[Sample, ...]:
    """Join probes and answers, in order."""
    return tuple(
        Sample(
            step=step,
            key=probe.key,
            character_key=probe.character_key,
            system=probe.system,
            question=probe.question,
            answer=answer.text,
            tokens=answer.tokens,
            ended=answer.ended,
        )
        for probe, answer in zip(probes, answers, strict=True)
    )


def dump_samples(samples: Iterable[Sample]) -> str:
    """Return samples as JSON lines; text is written as it is, every sample stays one line."""
    lines = (json.dumps(asdict(sample), ensure_ascii=False) for sample in samples)
    return "".join(f"{line}\n" for line in lines)


def append_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Append samples to a local file of JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(dump_samples(samples))


def load_samples(text: str) -> tuple[Sample, ...]:
    """Read JSON lines back; a last line that a crash cut short is left out."""
    lines = text.split("\n")
    whole = [line for line in lines[:-1] if line.strip()]
    return tuple(Sample(**json.loads(line)) for line in whole)


def generate_answers(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    decode: Callable[[Sequence[int]], str],
    stop_ids: Sequence[int],
    pad_id: int,
    max_new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch: int = 8,
    synced: bool = False,
) -> tuple[Answer, ...]:
    """Generate with a plain transformers model, in the middle of a training if need be.

    Greedy at temperature 0. The model's mode and cache setting are put back, and torch's random
    state is left as it was, so a training that samples equals one that does not.

    Args:
        model: A causal model; under ZeRO-3 one whose parameters are gathered, or ``synced``.
        prompts: Token ids without padding, of any lengths.
        decode: Turns the ids of an answer, stop token left out, into text.
        stop_ids: Tokens that end an answer.
        pad_id: Token that fills the left side of shorter prompts.
        max_new_tokens: Longest answer.
        temperature: 0 for greedy.
        seed: Seed of the sampling where the temperature is above 0.
        batch: Prompts generated at once.
        synced: Keep all ranks in step until the last one is done, as ZeRO-3 needs.
    """
    answers: list[Answer] = []
    with _generating(model, seed):
        for first in range(0, len(prompts), batch):
            some = prompts[first : first + batch]
            settings = _make_settings(model, stop_ids, pad_id, max_new_tokens, temperature)
            for ids in _generate(model, some, pad_id, settings, synced):
                answers.append(_read_answer(ids, stop_ids, decode))
    return tuple(answers)


def _make_settings(
    model: Any, stop_ids: Sequence[int], pad_id: int, max_new_tokens: int, temperature: float
) -> Any:
    from transformers import GenerationConfig

    # Said outright, for what is left out is taken from the model's own settings.
    whole = {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}
    draw = {"do_sample": True, "temperature": temperature, **whole} if temperature else {}
    return GenerationConfig(
        max_new_tokens=max_new_tokens,
        eos_token_id=list(stop_ids),
        pad_token_id=pad_id,
        bos_token_id=model.config.bos_token_id,
        use_cache=True,
        **({"do_sample": False} | draw),
    )


def _generate(
    model: Any, prompts: Sequence[Sequence[int]], pad_id: int, settings: Any, synced: bool
) -> list[list[int]]:
    """Return the new tokens of each prompt, padded to the right."""
    import torch

    width = max(len(ids) for ids in prompts)
    padded = [[pad_id] * (width - len(ids)) + list(ids) for ids in prompts]
    mask = [[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts]
    with torch.no_grad():
        found = model.generate(
            input_ids=torch.tensor(padded, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            generation_config=settings,
            synced_gpus=synced,
        )
    rows: list[list[int]] = found[:, width:].tolist()
    return rows


def _read_answer(
    ids: Sequence[int], stop_ids: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> Answer:
    ends = [place for place, token in enumerate(ids) if token in stop_ids]
    said = list(ids[: ends[0]]) if ends else list(ids)
    return Answer(part_thought(decode(said)).text.strip(), len(said), bool(ends))


@contextmanager
def _generating(model: Any, seed: int) -> Iterator[None]:
    import torch

    training = model.training
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    cached = model.config.use_cache
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model.eval()
        model.config.use_cache = True
        try:
            yield
        finally:
            model.config.use_cache = cached
            model.train(training)
