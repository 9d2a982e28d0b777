"""Takes evaluation questions from held-out dialogues, with the teacher's answer as reference.

No model is asked. The validation characters were never trained on, so their dialogues' questions
test a tuned model on unseen personas, and the answers the teacher gave in character say what a
good answer sounds like. PersonaGym's tasks are given to a persona's questions in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.store.fingerprints import hash_parts, row_key
from tasks.records import (
    TASKS,
    Character,
    EvalQuestion,
    EvalTask,
    Example,
    HeldOutAnswer,
    Rejection,
    Turn,
)
from tasks.rejections import RejectionList

SUITE = "held_out"


@dataclass(frozen=True, slots=True)
class HeldOutSelection:
    """What came of the validation examples: a question with its reference, or a rejection."""

    questions: tuple[EvalQuestion, ...]
    references: tuple[HeldOutAnswer, ...]
    rejected: tuple[Rejection, ...]


def take_held_out(
    examples: Iterable[Example],
    characters: Iterable[Character],
    *,
    personas: int | None,
    per_persona: int,
    seed: int,
    tasks: Sequence[EvalTask] = TASKS,
) -> HeldOutSelection:
    """Take the first question of validation dialogues, at most ``per_persona`` a persona.

    Personas and a persona's questions are chosen by smallest hash, so a larger number only adds;
    a persona's n-th question is given the n-th task. The reasons, in order: needs_context (the
    played turn follows others), no_character, duplicate (one question by both strategies, or
    twice), not_sampled. Training examples are left aside and not counted.
    """
    cast = {item.key: item for item in characters}
    rejections = RejectionList("held-out question")
    asked: dict[str, list[Example]] = {}
    met: set[tuple[str, str]] = set()
    held_out = (item for item in examples if item.split == "validation")
    for example in sorted(held_out, key=lambda item: _rank(seed, item.dialogue_key)):
        turns = _list_turns(example)
        someone = cast.get(example.character_key)
        source, shown = example.dialogue_key, turns[0].content if turns else ""
        if example.context_turns or [turn.role for turn in turns[:2]] != ["user", "assistant"]:
            rejections.add_keyed(example.key, "needs_context", shown, source)
        elif someone is None:
            rejections.add_keyed(example.key, "no_character", example.character_key, source)
        elif (someone.persona_key, shown) in met:
            rejections.add_keyed(example.key, "duplicate", shown, source)
        else:
            met.add((someone.persona_key, shown))
            asked.setdefault(someone.persona_key, []).append(example)

    questions, references = [], []
    ranked = sorted(asked, key=lambda key: _rank(seed, key))
    for position, persona_key in enumerate(ranked):
        wanted = per_persona if personas is None or position < personas else 0
        for number, example in enumerate(asked[persona_key]):
            turns = _list_turns(example)
            if number >= wanted:
                source = example.dialogue_key
                rejections.add_keyed(example.key, "not_sampled", turns[0].content, source)
                continue
            someone = cast[example.character_key]
            task = tasks[number % len(tasks)]
            key = row_key("held-out question", [example.dialogue_key, task])
            questions.append(
                EvalQuestion(
                    key,
                    SUITE,
                    persona_key,
                    someone.persona,
                    task,
                    turns[0].content,
                    setting="",
                    parents=(example.dialogue_key,),
                )
            )
            references.append(
                HeldOutAnswer(
                    key=row_key("held-out answer", [key]),
                    question_key=key,
                    dialogue_key=example.dialogue_key,
                    character_key=someone.key,
                    persona_key=persona_key,
                    profile=someone.profile,
                    reference=turns[1].content,
                )
            )
    return HeldOutSelection(
        tuple(sorted(questions, key=lambda item: item.key)),
        tuple(sorted(references, key=lambda item: item.key)),
        rejections.collect(),
    )


def _list_turns(example: Example) -> list[Turn]:
    return [turn for turn in example.messages if turn.role != "system"]


def _rank(seed: int, key: str) -> tuple[str, str]:
    return hash_parts("held out", str(seed), key), key
