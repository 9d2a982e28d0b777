"""Offers the node that writes a character for every persona, or takes those that are given."""

from __future__ import annotations

import time

from infra.context import RunContext
from infra.generation.stage_runner import run_row_stage
from infra.input.row_input import Source
from infra.orchestration.tasks import node_task
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.manifests import NodeRef, NodeSpec
from infra.store.reading import read_accepted
from infra.store.set_store import read_set, write_set
from tasks.characters.config import CharacterConfig
from tasks.characters.sources import (
    APART,
    digest_character_source,
    find_record,
    take_characters,
)
from tasks.characters.writing import CharacterWriter
from tasks.persona_rows import plan_persona_rows
from tasks.records import Persona, Rejection
from tasks.rejections import check_brought_yield

VERSION = 3
TAKE_VERSION = 3


def describe_characters(
    config: CharacterConfig, context: RunContext, personas: NodeSpec
) -> NodeSpec:
    """Name the node from its knobs, its prompt's content, its model and the personas."""
    if config.rows is not None:
        return NodeSpec.build(
            "characters",
            TAKE_VERSION,
            identity={"taken": True},
            selection={},
            upstream=[personas],
            sources=digest_character_source(config.rows),
        )
    prompt = load_prompt(config).source
    return context.name_row_stage("characters", VERSION, config, prompt, [personas])


@node_task("characters")
def write_characters(
    context: RunContext, node: NodeSpec, config: CharacterConfig, personas: NodeRef
) -> NodeRef:
    """Write the eight-field profile of every persona, or take those that the config names."""
    if config.rows is not None:
        return _take_characters(context, node, config.rows, config.min_yield, personas)
    planned = plan_persona_rows(node.recipe, read_set(context.storage, personas, "accepted"))
    maker = CharacterWriter(
        load_prompt(config),
        config.structured,
        config.language,
        config.check_quality,
        config.max_field_chars,
    )
    stage = context.row_stage(
        node, model=config.model, maker=maker, planned=planned, sampling=config
    )
    return run_row_stage(stage, context.runner_context())


def _take_characters(
    context: RunContext, node: NodeSpec, source: Source, min_yield: float, personas: NodeRef
) -> NodeRef:
    began = time.monotonic()
    known = read_accepted(context.storage, personas, Persona)
    cast = take_characters(source, known, node.recipe)
    check_brought_yield(
        f"characters.source ({source.path})",
        min_yield,
        accepted=len(cast.accepted),
        rejected=cast.rejected,
        apart=APART,
    )
    record, accepted = find_record(cast)
    return write_set(
        context.storage,
        node,
        accepted,
        cast.rejected,
        records=(record, Rejection),
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
    )


def load_prompt(config: CharacterConfig) -> PromptTemplate:
    """Read the prompt file the config names."""
    return PromptTemplate.load(require_path(config.prompt, "characters.prompt"))
