"""Offers the nodes that read instructions, and that let the teacher guess new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from infra.generation.stage_worker import RowMaker
from infra.nodes.node import Node, RowNode, SetNode, SetOutput
from infra.nodes.row_kind import RowKind, take_turn
from infra.nodes.rows import Rows
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from tasks.instructions.config import InstructionConfig, InstructionSynthesisConfig
from tasks.instructions.guessing import InstructionGuesser
from tasks.instructions.selection import select_instructions
from tasks.instructions.sources import digest_instruction_sources
from tasks.instructions.synthesis import choose_personas
from tasks.persona_rows import plan_persona_rows
from tasks.records import Instruction


@dataclass(frozen=True, kw_only=True, eq=False)
class Instructions(SetNode):
    """Instructions of the data sets that people bring."""

    kind = "instructions"
    stage = "instructions"
    version = 3
    record = Instruction
    row_kind = RowKind("instruction", take_turn("turns"))

    config: InstructionConfig

    def identity(self) -> Mapping[str, Any]:
        """Return nothing: a question is what its file says."""
        return {}

    def selection(self) -> Mapping[str, Any]:
        """Return its knobs, without those of the guesses, which are a node of their own."""
        without_synthesis = self.config.model_copy(
            update={"synthesis": InstructionSynthesisConfig()}
        )
        return without_synthesis.knob_values("selection")

    def sources(self) -> Sequence[str]:
        """Return the digests of the data sets."""
        return digest_instruction_sources(self.config)

    def gather(self, given: Rows) -> SetOutput:
        """Read every data set of questions, and reject what is unusable or twice there."""
        chosen = select_instructions(self.config)
        return SetOutput(
            chosen.accepted,
            chosen.rejected,
            facts={"notes": list(chosen.notes)},
            may_be_empty=self.config.synthesis.count > 0,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Guesses(RowNode):
    """Synthetic instructions: what the teacher guesses that a persona would ask."""

    kind = "guesses"
    stage = "instructions"
    version = 1
    record = Instruction
    row_kind = RowKind("instruction", take_turn("turns"), ("persona",), ("question_id",))

    config: InstructionSynthesisConfig
    personas: Node

    def prompt_source(self) -> str:
        """Return the prompt file's content."""
        return self._prompt.source

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return one guess for each persona that is asked."""
        return plan_guesses(self.spec.recipe, given.frame(self.personas), self.config)

    def maker(self) -> RowMaker[Any]:
        """Return what guesses."""
        return InstructionGuesser(self._prompt, self.config.language)

    @property
    def _prompt(self) -> PromptTemplate:
        path = require_path(self.config.prompt, "instructions.synthesis.prompt")
        return PromptTemplate.load(path)


def plan_guesses(
    recipe: str, personas: pl.DataFrame, config: InstructionSynthesisConfig
) -> pl.DataFrame:
    """Return the planned rows: one guess for each persona that is asked."""
    chosen = set(choose_personas(personas["key"].to_list(), config.count, config.seed))
    return plan_persona_rows(recipe, personas.filter(pl.col("key").is_in(chosen)))
