"""Proves that no stage keeps what a model thought: rows, histories, verdicts, source answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import Reject
from infra.paths import packaged_configs
from infra.rendering.prompts import PromptTemplate
from tasks.characters.writing import CharacterInput, CharacterWriter
from tasks.conversations import Talk, read_answer, read_turns
from tasks.dialogues.players.generation import GeneratePlayer
from tasks.dialogues.sources import take_dialogues
from tasks.evaluation.answering import Answerer, AnswerInput
from tasks.evaluation.judging.judging import Judge, JudgementInput
from tasks.evaluation.judging.rubrics import bind_rubrics, load_rubrics
from tasks.evaluation.judging.verdicts import read_verdict
from tasks.instructions.formats import read_conversation
from tasks.records import PROFILE_FIELDS, Answer, Dialogue, Judgement, Turn

from .dialogues.scenes import make_character, make_input, make_turns
from .evaluation.asking import Teller, load_prompt, make

PROMPTS = packaged_configs() / "prompts"
THOUGHT = "<think>\nName: [Ann]. Score: 2. {so}\n</think>\n\n"
ADA = make_character("Ada")


def test_a_played_dialogue_and_its_history_hold_speech_alone() -> None:
    player = GeneratePlayer(PromptTemplate.load(PROMPTS / "generate.j2"), "teacher")
    teller = Teller(f"{THOUGHT}Flour.", ("<think>\nWater, or", "length"), f"{THOUGHT}Water.")
    made = make(player, make_input("q1", "s", "q2"), teller, attempts=2)
    assert isinstance(made, Dialogue)
    assert made.turns == make_turns("q1", "Flour.", "q2", "Water.")
    assert not made.truncated
    assert "think" not in "".join(message.content for message in teller.requests[-1].messages)


def test_a_thought_that_never_ends_rejects_the_row_as_truncated() -> None:
    player = GeneratePlayer(PromptTemplate.load(PROMPTS / "generate.j2"), "teacher")
    teller = Teller(("<think>\nFlour", "length"), ("<think>\nFlour", "length"))
    made = make(player, make_input("q1"), teller, attempts=2)
    assert isinstance(made, Reject) and made.reason == "truncated"


def test_a_profile_is_read_behind_the_thought() -> None:
    writer = CharacterWriter(PromptTemplate.load(PROMPTS / "character.j2"), True, None)
    values = dict(zip((label for label, _ in PROFILE_FIELDS), profile(), strict=True))
    row = CharacterInput("c", "p", "A baker from Cork.")
    made = make(writer, row, Teller(THOUGHT + json.dumps(values)))
    assert not isinstance(made, Reject)
    assert made.name == "Ada Byrne" and "think" not in made.profile


def profile() -> tuple[str, ...]:
    return ("Ada Byrne", "44", "Female", "White", "Cork, Ireland", "Tall, with floury sleeves",
            "Twenty years as a baker by the quay", "Dry and kind to strangers")  # fmt: skip


@pytest.mark.parametrize(
    ("said", "score"),
    [
        (f"{THOUGHT}The final score is 4", 4),
        ("The final score is 2? No…</think> I would give this a 4.", 4),
        ('[THINK]a 3[/THINK]{"justification": "in voice", "score": 5}', 5),
        ("<think>\nScore: 3. Or score: 4", None),
        (THOUGHT, None),
    ],
)
def test_a_verdict_is_what_was_said_not_what_was_thought(said: str, score: int | None) -> None:
    prompts = bind_rubrics(
        load_rubrics(PROMPTS / "evaluation/rubrics.yaml"),
        verdict=load_prompt("evaluation/judge.j2"),
        examples=load_prompt("evaluation/score_examples.j2"),
        structured=False,
    )
    row = JudgementInput("j", "a", "q", "p", "A baker.", "", "linguistic_habits", "tuned",
                         "Why?", "Ah, the crust!", ())  # fmt: skip
    made = make(Judge(prompts, "judge", False, 800), row, Teller(said))
    assert isinstance(made, Judgement)
    assert made.score == score
    assert "Ann" not in made.justification and "Or score" not in made.justification
    alone = read_verdict(said)
    assert (alone.score if alone else None) == score


def test_an_evaluated_answer_is_what_the_model_said() -> None:
    asked = AnswerInput("a", "q", "p", "A baker.", "", "toxicity_control", "Why?")
    made = make(Answerer(load_prompt("roleplay.j2"), "tuned"), asked, Teller(f"{THOUGHT}Ah!"))
    assert isinstance(made, Answer) and made.answer == "Ah!"


@pytest.mark.parametrize("mark", ["<think>a</think>", "a\n</think>\n", "[THINK]a[/THINK]"])
def test_a_thought_in_a_source_answer_is_no_part_of_it(mark: str, tmp_path: Path) -> None:
    turns = (Turn("user", "Who bakes?"), Turn("assistant", "I do."))
    answer = f"{mark}\n\nI do."
    assert read_answer(answer) == "I do."
    told = read_conversation({"instruction": "Who bakes?", "output": answer}, "alpaca")
    assert isinstance(told, Talk) and told.turns == turns
    assert read_turns(["Who bakes?", answer], "conversations") == turns
    chat = [{"role": "user", "content": "Who bakes?"}, {"role": "assistant", "content": answer}]
    assert read_turns(chat, "messages") == turns
    own = tmp_path / "own.jsonl"
    row = {"persona": ADA.persona, "question": "Who bakes?", "character_answer": answer}
    own.write_text(json.dumps(row))
    (taken,) = take_dialogues(str(own), [ADA], "recipe").accepted
    assert taken.turns == turns


def test_what_a_user_asks_about_marks_stays() -> None:
    asked = "<think>hm</think> is in my log, why?"
    turns = read_turns([asked, "It thought."], "conversations")
    assert not isinstance(turns, Reject) and turns[0].content == asked


def test_a_source_answer_that_never_leaves_its_thought_is_none() -> None:
    assert read_turns(["Who bakes?", "<think>I do"], "conversations") == (
        Turn("user", "Who bakes?"),
    )
