"""Offers the nodes of dialogues: played, one node a strategy, or taken from those given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import polars as pl

from infra.errors import ConfigError, Problem
from infra.generation.stage_worker import RowMaker
from infra.input.row_input import Source
from infra.nodes.node import Node, RowNode, SetNode, SetOutput
from infra.nodes.row_kind import RowKind, take_turn
from infra.nodes.rows import Rows
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.schema import arrow_schema
from tasks.dialogues.config import DialogueConfig, StrategyConfig
from tasks.dialogues.planning import plan_dialogues, plan_pairs
from tasks.dialogues.playing import Strategy
from tasks.dialogues.sources import NO_CHARACTER, digest_dialogue_source, take_dialogues
from tasks.records import Character, Dialogue, Instruction
from tasks.rejections import check_brought_yield

_DIALOGUE = RowKind(
    "dialogue",
    take_turn("turns"),
    ("character", "instruction"),
    ("character_key", "instruction_key"),
)
_ANSWERED = pl.col("turns").list.last().struct.field("role") == "assistant"
"""Whether every turn of an instruction has a source answer: all have one, or none."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dialogues(RowNode):
    """Dialogues that one strategy plays: every question with n characters."""

    kind = "dialogues"
    stage = "dialogues"
    record = Dialogue
    row_kind = _DIALOGUE

    strategy: Strategy
    config: StrategyConfig
    pairing: DialogueConfig
    characters: Node
    instructions: Sequence[Node]

    @property
    def version(self) -> int:  # type: ignore[override]
        """Return the version of its player."""
        return self.strategy.version

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the strategy."""
        return {"strategy": self.strategy.name}

    def selection(self) -> Mapping[str, Any]:
        """Return its knobs, and who answers what."""
        return {
            **super().selection(),
            "characters_per_question": self.pairing.characters_per_question,
            "pairing_seed": self.pairing.pairing_seed,
        }

    def prompt_source(self) -> str:
        """Return the prompt file's content."""
        return self._prompt.source

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row for each pair of a question and a character that answers it."""
        people = given.read(self.characters, Character)
        require_cast(self.pairing.characters_per_question, len(people))
        return plan_dialogues(
            self.spec.recipe,
            people,
            self._list_questions(given),
            per_question=self.pairing.characters_per_question,
            seed=self.pairing.pairing_seed,
        )

    def plan_keys(self, given: Rows) -> pl.DataFrame:
        """Return the keys alone, which need no texts."""
        people = given.frame(self.characters).select("key", "persona_key").sort("key")
        return plan_pairs(
            self.spec.recipe,
            people["key"].to_list(),
            people["persona_key"].to_list(),
            self._list_questions(given)["key"].sort().to_list(),
            per_question=self.pairing.characters_per_question,
            seed=self.pairing.pairing_seed,
        )

    def maker(self) -> RowMaker[Any]:
        """Return the strategy's player."""
        teacher = self.context.model_label(self.role)
        return self.strategy.make_player(self.config, self._prompt, teacher)

    def _list_questions(self, given: Rows) -> pl.DataFrame:
        """Return the instructions that can be played, with the columns of their record."""
        schema = arrow_schema(Instruction)
        found = given.frames(self.instructions, schema.names)
        if not found.height:
            return cast(pl.DataFrame, pl.from_arrow(schema.empty_table()))
        return found.filter(_ANSWERED) if self.strategy.needs_answers else found

    @property
    def _prompt(self) -> PromptTemplate:
        where = f"dialogues.{self.strategy.name}.prompt"
        return PromptTemplate.load(require_path(self.config.prompt, where))


@dataclass(frozen=True, kw_only=True, eq=False)
class TakenDialogues(SetNode):
    """Dialogues that people bring, of the run's characters.

    ``sampled`` says that the run has only a part of the characters, so that rows of others do not
    count.
    """

    kind = "dialogues"
    stage = "dialogues"
    version = 3
    record = Dialogue
    row_kind = _DIALOGUE

    config: DialogueConfig
    source: Source
    characters: Node
    sampled: bool

    @property
    def parameters(self) -> Mapping[str, str]:
        """Say that nobody played them here."""
        return {"strategy": "given"}

    def identity(self) -> Mapping[str, Any]:
        """Say that nobody played them here."""
        return {"taken": True}

    def sources(self) -> Sequence[str]:
        """Return the digests of the brought files."""
        return digest_dialogue_source(self.source)

    def gather(self, given: Rows) -> SetOutput:
        """Take the dialogues of the run's characters; too few raise :class:`YieldError`."""
        people = given.read(self.characters, Character)
        plays = take_dialogues(self.source, people, self.spec.recipe)
        check_brought_yield(
            f"dialogues.source ({self.source.path})",
            self.config.min_yield,
            accepted=len(plays.accepted),
            rejected=plays.rejected,
            apart=(NO_CHARACTER,) if self.sampled else (),
        )
        return SetOutput(plays.accepted, plays.rejected)


def require_cast(per_question: int, characters: int) -> None:
    """Raise :class:`ConfigError` where there are too few characters to answer one question."""
    if characters < per_question:
        what = f"{per_question} asked for, and there are {characters} characters at most"
        todo = "take more personas, or fewer characters a question"
        raise ConfigError(Problem("dialogues.characters_per_question", what, todo))
