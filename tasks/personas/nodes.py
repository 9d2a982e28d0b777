"""Offers the node that reads, cleans and samples personas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from infra.nodes.node import SetNode, SetOutput
from infra.nodes.row_kind import RowKind
from infra.nodes.rows import Rows
from tasks.personas.config import PersonaConfig
from tasks.personas.selection import select_personas
from tasks.personas.sources import digest_persona_sources, read_persona_rows
from tasks.records import Persona


@dataclass(frozen=True, kw_only=True, eq=False)
class Personas(SetNode):
    """Personas of a run: read, cleaned, each once, and of those a sample of M."""

    kind = "personas"
    stage = "personas"
    version = 2
    record = Persona
    row_kind = RowKind("persona", pl.col("persona"))

    config: PersonaConfig

    def sources(self) -> Sequence[str]:
        """Return the digests of the persona files."""
        return digest_persona_sources(self.config)

    def gather(self, given: Rows) -> SetOutput:
        """Read every persona, reject what is unusable or twice there, and sample M."""
        chosen = select_personas(read_persona_rows(self.config), self.config)
        return SetOutput(chosen.accepted, chosen.rejected)
