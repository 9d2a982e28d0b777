"""Offers the node that turns dialogues into SFT examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.errors import YieldError
from infra.nodes.node import Node, SetNode, SetOutput
from infra.nodes.row_kind import RowKind, take_turn
from infra.nodes.rows import Rows
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from tasks.curation.config import CurationConfig
from tasks.curation.inputs import digest_inputs, load_inputs
from tasks.records import Example


@dataclass(frozen=True, kw_only=True, eq=False)
class Curation(SetNode):
    """SFT examples: the dialogues that pass the filters, each once, split by persona.

    ``benchmark`` is the folder of static questions that the run evaluates on, if it has any.
    """

    kind = "curation"
    stage = "curation"
    version = 3
    record = Example
    row_kind = RowKind("example", take_turn("messages", 1), ("dialogue",), ("dialogue_key",))

    config: CurationConfig
    dialogues: Sequence[Node]
    characters: Node
    instructions: Sequence[Node]
    benchmark: str | None = None

    def identity(self) -> Mapping[str, Any]:
        """Return its knobs and its prompt's content."""
        return {**self.config.knob_values("identity"), "prompt": self._prompt.source}

    def sources(self) -> Sequence[str]:
        """Return the digests of the files that filters read."""
        return digest_inputs(self.config, self.benchmark)

    def vet(self, given: Rows) -> None:
        """Raise :class:`YieldError` where dialogues miss a bound that they are held to."""
        from tasks.curation.data_tests import COLUMNS, check_dialogues

        if self.config.data_tests.asks():
            check_dialogues(given.frames(self.dialogues, COLUMNS), self.config)

    def gather(self, given: Rows) -> SetOutput:
        """Filter, deduplicate and split dialogues; too few left raise :class:`YieldError`."""
        from tasks.curation.curate import DIALOGUE_COLUMNS, INSTRUCTION_COLUMNS, curate

        self.vet(given)
        curated = curate(
            given.frames(self.dialogues, DIALOGUE_COLUMNS),
            given.frame(self.characters),
            given.frames(self.instructions, INSTRUCTION_COLUMNS),
            config=self.config,
            template=self._prompt,
            recipe=self.spec.recipe,
            inputs=load_inputs(self.config, self.benchmark),
        )
        share = len(curated.examples) / max(curated.planned, 1)
        if share < self.config.min_yield:
            raise YieldError(
                f"curation: {share:.0%} of {curated.planned} dialogues left, below its min_yield"
                f" of {self.config.min_yield:.0%}. Rejected: {curated.reasons}. Fix the teacher or"
                " the filters."
            )
        funnel = [[step.reason, step.rejected, step.left] for step in curated.funnel]
        return SetOutput(curated.examples, curated.rejections, facts={"funnel": funnel})

    @property
    def _prompt(self) -> PromptTemplate:
        return PromptTemplate.load(require_path(self.config.prompt, "curation.prompt"))
