"""Judges one dialogue at a time: each filter is a pure function with a typed reason.

Answers were looked at before, many at once (:mod:`tasks.curation.looks`): only what a look suspects
is looked for.

The filters that speak of phrases know English only, those of speech (:mod:`infra.text.speech`) any
language: they catch in brought dialogues what a teacher would be asked again for. Reasons are
listed in the order in which they are applied; a dialogue is counted under the first that rejects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from infra.errors import Reject
from infra.text.refusals import find_ai_admission, find_refusal, fold_quotes
from infra.text.speech import SpeechFault, find_speech_fault
from infra.text.wording import shorten
from tasks.curation.config import CurationConfig
from tasks.curation.echoes import (
    Given,
    find_profile_echo,
    find_prompt_echo,
    find_question_echo,
    find_source_copy,
)
from tasks.curation.looks import Look
from tasks.curation.names import Roster, find_other_name
from tasks.curation.toxicity import WordList, find_toxic_word
from tasks.records import Turn

Reason = Literal[
    "no_character",
    "malformed",
    "empty",
    "truncated",
    "too_many_turns",
    "control_tokens",
    "plays_user",
    "stage_direction",
    "placeholder",
    "broken_text",
    "repetition",
    "refusal",
    "ai_admission",
    "echo_of_prompt",
    "copy_of_source",
    "other_characters_name",
    "toxicity",
    "wrong_language",
    "contaminated",
    "exact_duplicate",
    "near_duplicate",
    "held_out_question",
]


@dataclass(frozen=True, slots=True)
class Scene:
    """All that the filters may see of one dialogue.

    Attributes:
        given: Words of persona and profile, for the echo filter.
        context_turns: How many leading turns were given, not played.
        sources: The source's answers to the played turns, in order; empty if there are none.
    """

    strategy: str
    truncated: bool
    context_turns: int
    turns: tuple[Turn, ...]
    name: str
    persona: str
    profile: str
    given: Given
    sources: tuple[str, ...]

    @property
    def answers(self) -> tuple[str, ...]:
        """Return the assistant turns the character played."""
        return tuple(t.content for t in self.turns[self.context_turns :] if t.role == "assistant")

    @property
    def questions(self) -> tuple[str, ...]:
        """Return the user turns, given ones included."""
        return tuple(turn.content for turn in self.turns if turn.role == "user")


@dataclass(frozen=True, slots=True)
class FilterContext:
    """What the filters share across dialogues."""

    config: CurationConfig
    roster: Roster
    toxic: WordList | None
    faults: frozenset[SpeechFault]


def judge_scene(scene: Scene, looks: Sequence[Look], context: FilterContext) -> Reject | None:
    """Return the first reason to leave a dialogue out, or ``None``; a look for each answer."""
    config = context.config
    shape = _judge_shape(scene, config)
    if shape is not None:
        return shape
    for answer, look in zip(scene.answers, looks, strict=True):
        verdict = _judge_answer(answer, look, scene, context)
        if verdict is not None:
            return verdict
    if config.source_copy_similarity is not None and scene.strategy == "rewrite":
        copy = find_source_copy(scene.answers, scene.sources, config.source_copy_similarity)
        if copy is not None:
            return _reject("copy_of_source", copy)
    return None


def list_faults(config: CurationConfig) -> frozenset[SpeechFault]:
    """Return the faults of speech that a configuration rejects."""
    switches: dict[SpeechFault, bool] = {
        "control_tokens": config.drop_control_tokens,
        "plays_user": config.drop_user_turns,
        "stage_direction": config.drop_mere_directions,
        "placeholder": config.drop_placeholders,
        "broken_text": config.drop_broken_text,
        "repetition": config.drop_repetition,
    }
    return frozenset(fault for fault, on in switches.items() if on)


def _judge_shape(scene: Scene, config: CurationConfig) -> Reject | None:
    roles = [turn.role for turn in scene.turns]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        return _reject("malformed", " ".join(roles) or "no turns")
    answers = scene.answers
    if not answers or not all(any(c.isalnum() for c in answer) for answer in answers):
        return _reject("empty", shorten(" / ".join(answers)))
    if scene.truncated and config.drop_truncated:
        return _reject("truncated", "…" + answers[-1][-100:])
    if config.max_turns is not None and len(roles) > config.max_turns:
        return _reject("too_many_turns", f"{len(roles)} turns")
    return None


def _judge_answer(answer: str, look: Look, scene: Scene, context: FilterContext) -> Reject | None:
    config, suspected = context.config, look.suspected
    if faults := context.faults & suspected:
        asked = "\n".join(scene.questions)
        fault = find_speech_fault(answer, speaker=scene.name, question=asked, faults=faults)
        if fault is not None:
            return fault
    refuses = config.drop_refusals and "refusal" in suspected
    if refuses and (phrase := find_refusal(fold_quotes(answer))):
        return _reject("refusal", phrase)
    admits = config.drop_ai_admissions and "ai_admission" in suspected
    if admits and (phrase := find_ai_admission(fold_quotes(answer), scene.persona)):
        return _reject("ai_admission", phrase)
    if config.drop_prompt_echoes and (phrase := _find_echo(answer, look, scene)):
        return _reject("echo_of_prompt", phrase)
    named = config.other_names != "off" and "name" in suspected
    if named and (phrase := _find_other_name(answer, scene, context)):
        return _reject("other_characters_name", phrase)
    if context.toxic is not None and (phrase := find_toxic_word(answer, context.toxic)):
        return _reject("toxicity", phrase)
    return None


def _find_echo(answer: str, look: Look, scene: Scene) -> str | None:
    for question in scene.questions:
        if echo := find_question_echo(look.words, question):
            return echo
    if echo := find_profile_echo(look.words, scene.given):
        return echo
    return find_prompt_echo(answer) if "prompt" in look.suspected else None


def _find_other_name(answer: str, scene: Scene, context: FilterContext) -> str | None:
    known = "\n".join((*scene.questions, scene.persona, scene.profile, *scene.sources))
    mentions = context.config.other_names == "mentions"
    return find_other_name(answer, scene.name, known, context.roster, mentions=mentions)


def _reject(reason: Reason, detail: str) -> Reject:
    return Reject(reason, detail)
