"""Offers the nodes of characters: written for every persona, or taken from those given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from infra.generation.stage_worker import RowMaker
from infra.input.row_input import Source
from infra.nodes.node import Node, RowNode, SetNode, SetOutput
from infra.nodes.row_kind import RowKind
from infra.nodes.rows import Rows
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from tasks.characters.config import CharacterConfig
from tasks.characters.sources import APART, digest_character_source, find_record, take_characters
from tasks.characters.writing import CharacterWriter
from tasks.persona_rows import plan_persona_rows
from tasks.records import Character, Persona
from tasks.rejections import check_brought_yield

_CHARACTER = RowKind(
    "character", pl.format("{}: {}", "name", "persona"), ("persona",), ("persona_key",)
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Characters(RowNode):
    """Characters of a run: the eight-field profile of every persona."""

    kind = "characters"
    stage = "characters"
    version = 3
    record = Character
    row_kind = _CHARACTER

    config: CharacterConfig
    personas: Node

    def prompt_source(self) -> str:
        """Return the prompt file's content."""
        return self._prompt.source

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return one row a persona."""
        return plan_persona_rows(self.spec.recipe, given.frame(self.personas))

    def maker(self) -> RowMaker[Any]:
        """Return what writes a profile."""
        config = self.config
        return CharacterWriter(
            self._prompt,
            config.structured,
            config.language,
            config.check_quality,
            config.max_field_chars,
        )

    @property
    def _prompt(self) -> PromptTemplate:
        return PromptTemplate.load(require_path(self.config.prompt, "characters.prompt"))


@dataclass(frozen=True, kw_only=True, eq=False)
class TakenCharacters(SetNode):
    """Characters that people bring, for the run's personas."""

    kind = "characters"
    stage = "characters"
    version = 3
    record = Character
    row_kind = _CHARACTER

    config: CharacterConfig
    source: Source
    personas: Node

    def identity(self) -> Mapping[str, Any]:
        """Say that nobody wrote them here."""
        return {"taken": True}

    def sources(self) -> Sequence[str]:
        """Return the digests of the brought files."""
        return digest_character_source(self.source)

    def gather(self, given: Rows) -> SetOutput:
        """Take the characters of the run's personas; too few raise :class:`YieldError`."""
        cast = take_characters(self.source, given.read(self.personas, Persona), self.spec.recipe)
        check_brought_yield(
            f"characters.source ({self.source.path})",
            self.config.min_yield,
            accepted=len(cast.accepted),
            rejected=cast.rejected,
            apart=APART,
        )
        record, accepted = find_record(cast)
        return SetOutput(accepted, cast.rejected, record=record)
