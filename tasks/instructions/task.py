"""Offers the nodes that read instructions, and that let the teacher guess new ones."""

from __future__ import annotations

import time

import polars as pl

from infra.context import RunContext
from infra.generation.stage_runner import run_row_stage
from infra.orchestration.tasks import node_task
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.manifests import NodeRef, NodeSpec
from infra.store.set_store import read_set, write_set
from tasks.instructions.config import InstructionConfig, InstructionSynthesisConfig
from tasks.instructions.guessing import InstructionGuesser
from tasks.instructions.selection import select_instructions
from tasks.instructions.sources import digest_instruction_sources
from tasks.instructions.synthesis import choose_personas
from tasks.persona_rows import plan_persona_rows
from tasks.records import Instruction, Rejection

IMPORT_VERSION = 3
GUESS_VERSION = 1


def describe_instructions(config: InstructionConfig) -> NodeSpec:
    """Name the reading node from its knobs and the content of its files."""
    without_synthesis = config.model_copy(update={"synthesis": InstructionSynthesisConfig()})
    return NodeSpec.build(
        "instructions",
        IMPORT_VERSION,
        identity={},
        selection=without_synthesis.knob_values("selection"),
        sources=digest_instruction_sources(config),
    )


@node_task("instructions")
def import_instructions(context: RunContext, node: NodeSpec, config: InstructionConfig) -> NodeRef:
    """Read every data set of questions, and reject what is unusable or twice there."""
    began = time.monotonic()
    chosen = select_instructions(config)
    return write_set(
        context.storage,
        node,
        chosen.accepted,
        chosen.rejected,
        records=(Instruction, Rejection),
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        facts={"notes": list(chosen.notes)},
        may_be_empty=config.synthesis.count > 0,
    )


def describe_guesses(
    config: InstructionSynthesisConfig, context: RunContext, personas: NodeSpec
) -> NodeSpec:
    """Name the guessing node from its knobs, its prompt's content, its model and the personas."""
    prompt = _load_prompt(config).source
    return context.name_row_stage("guesses", GUESS_VERSION, config, prompt, [personas])


@node_task("guesses")
def guess_instructions(
    context: RunContext, node: NodeSpec, config: InstructionSynthesisConfig, personas: NodeRef
) -> NodeRef:
    """Let the teacher guess a prompt for each of the chosen personas."""
    maker = InstructionGuesser(_load_prompt(config), config.language)
    stage = context.row_stage(
        node,
        model=config.model,
        maker=maker,
        planned=plan_guesses(node.recipe, read_set(context.storage, personas, "accepted"), config),
        sampling=config,
    )
    return run_row_stage(stage, context.runner_context())


def plan_guesses(
    recipe: str, personas: pl.DataFrame, config: InstructionSynthesisConfig
) -> pl.DataFrame:
    """Return the planned rows: one guess for each persona that is asked."""
    chosen = set(choose_personas(personas["key"].to_list(), config.count, config.seed))
    asked = personas.filter(pl.col("key").is_in(chosen))
    return plan_persona_rows(recipe, asked)


def _load_prompt(config: InstructionSynthesisConfig) -> PromptTemplate:
    return PromptTemplate.load(require_path(config.prompt, "instructions.synthesis.prompt"))
