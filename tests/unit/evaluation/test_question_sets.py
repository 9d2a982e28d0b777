"""Proves that each suite reads its own sources and that no persona is asked a question twice."""

from __future__ import annotations

from pathlib import Path

from tasks.evaluation.config import QuestionConfig
from tasks.evaluation.questions.sets import Sources, collect_questions, drop_repeated
from tasks.evaluation.questions.writing import WrittenQuestion, WrittenQuestions
from tests.unit.evaluation.test_held_out import CAST, ROWS
from tests.unit.evaluation.test_personagym import lay_out


def write(persona: str, task: str, *questions: str) -> WrittenQuestions:
    return WrittenQuestions(
        key=f"{persona}-{task}",
        persona_key=persona,
        persona=f"A baker called {persona}.",
        task=task,  # type: ignore[arg-type]
        questions=tuple(WrittenQuestion("", question, "") for question in questions),
    )


def test_a_task_asks_a_persona_nothing_twice() -> None:
    batches = (
        write("ada", "expected_action", "Why bread?", "Why salt?", "why BREAD?"),
        write("ada", "toxicity_control", "Why bread?"),
        write("bo", "expected_action", "Why bread?"),
    )
    found = collect_questions(QuestionConfig(), Sources(written=batches))
    asked = ((item.persona_key, item.task, item.question.lower()) for item in found.questions)
    assert sorted(asked) == [
        ("ada", "expected_action", "why bread?"),
        ("ada", "expected_action", "why salt?"),
        ("ada", "toxicity_control", "why bread?"),
        ("bo", "expected_action", "why bread?"),
    ]
    (left,) = found.rejected
    assert left.reason == "duplicate"
    assert left.source == batches[0].key
    assert any(item.key in left.detail for item in found.questions)


def test_which_of_two_equal_questions_stays_depends_on_no_order() -> None:
    batches = [
        write("ada", "expected_action", "Why?", "why?"),
        write("ada", "toxicity_control", "Why?", "How?"),
    ]
    one = collect_questions(QuestionConfig(), Sources(written=tuple(batches)))
    two = collect_questions(QuestionConfig(), Sources(written=tuple(reversed(batches))))
    assert one == two
    assert drop_repeated(one.questions).questions == one.questions


def test_held_out_questions_come_with_references() -> None:
    config = QuestionConfig(suite="held_out", per_persona=2)
    found = collect_questions(config, Sources(examples=tuple(ROWS), characters=tuple(CAST)))
    assert len(found.questions) == len(found.references) == 6


def test_personagym_reads_the_checkout_alone(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "A baker", "A judge")
    config = QuestionConfig(suite="personagym", path=str(folder))
    found = collect_questions(config, Sources())
    assert {item.persona for item in found.questions} == {"A baker", "A judge"}
    assert {item.suite for item in found.questions} == {"personagym"}
