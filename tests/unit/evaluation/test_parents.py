"""Tests that what makers name as parents stands in the rows that are planned for them."""

from __future__ import annotations

from typing import Any, cast

import polars as pl
import pytest

from infra.store.schema import to_table
from tasks.characters.writing import CharacterWriter
from tasks.dialogues.planning import plan_dialogues
from tasks.dialogues.players.generation import GeneratePlayer
from tasks.dialogues.players.rewriting import RewritePlayer
from tasks.evaluation.answering import Answerer
from tasks.evaluation.judging.calibration import plan_calibration
from tasks.evaluation.judging.judging import ExampleWriter, Judge
from tasks.evaluation.planning import (
    plan_answers,
    plan_examples,
    plan_judgements,
    plan_question_rows,
)
from tasks.evaluation.questions.writing import QuestionWriter, SettingsChooser
from tasks.instructions.guessing import InstructionGuesser
from tasks.persona_rows import plan_persona_rows
from tasks.records import Instruction
from tests.unit.flows.evaluated import ASKED, BAKER, make_character

NOBODY = pl.DataFrame(schema={"key": pl.String, "persona": pl.String})
PERSONAS = plan_persona_rows("r", NOBODY)
PLAYED = plan_dialogues(
    "r",
    [make_character("r", BAKER, "Ada")],
    cast(pl.DataFrame, pl.from_arrow(to_table(Instruction, [ASKED]))),
    per_question=1,
    seed=0,
)


@pytest.mark.parametrize(
    ("maker", "planned"),
    [
        (CharacterWriter, PERSONAS),
        (InstructionGuesser, PERSONAS),
        (SettingsChooser, PERSONAS),
        (GeneratePlayer, PLAYED),
        (RewritePlayer, PLAYED),
        (QuestionWriter, plan_question_rows("r", [])),
        (Answerer, plan_answers("r", [])),
        (ExampleWriter, plan_examples("r", [])),
        (Judge, plan_judgements("r", [])),
        (Judge, plan_calibration("r", [])),
    ],
)
def test_parents_are_columns_of_the_plan(maker: Any, planned: pl.DataFrame) -> None:
    assert maker.parents and set(maker.parents) <= set(planned.columns)
