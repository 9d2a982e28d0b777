"""Offers the node that writes a character for every persona."""

from __future__ import annotations

import polars as pl

from infra.bench import Bench, model_identity
from infra.fingerprints import row_key
from infra.manifests import NodeRef, NodeSpec
from infra.orchestration import node_task
from infra.paths import require_path
from infra.prompts import PromptTemplate
from infra.row_store import parents_digest
from infra.set_store import read_set
from infra.stage_runner import run_row_stage
from tasks.characters.config import CharacterConfig
from tasks.characters.writing import CharacterWriter

VERSION = 1


def describe_characters(config: CharacterConfig, bench: Bench, personas: NodeSpec) -> NodeSpec:
    """Name the node from its knobs, its prompt's content, its model and the personas."""
    model = bench.models[config.model]
    return NodeSpec.build(
        "characters",
        VERSION,
        identity={
            **config.knob_values("identity"),
            "prompt": load_prompt(config).source,
            "model": model_identity(model),
        },
        selection={**config.knob_values("selection"), **model.knob_values("selection")},
        upstream=[personas],
    )


@node_task("characters")
def write_characters(
    bench: Bench, node: NodeSpec, config: CharacterConfig, personas: NodeRef
) -> NodeRef:
    """Write the eight-field profile of every persona."""
    planned = plan_characters(node.recipe, read_set(bench.storage, personas, "accepted"))
    maker = CharacterWriter(load_prompt(config), config.structured, config.language)
    stage = bench.row_stage(node, model=config.model, maker=maker, planned=planned, sampling=config)
    return run_row_stage(stage, bench.runner_context())


def plan_characters(recipe: str, personas: pl.DataFrame) -> pl.DataFrame:
    """Return the planned rows: one character a persona, keyed by lineage."""
    keys = personas["key"].to_list()
    texts = personas["persona"].to_list()
    return pl.DataFrame(
        {
            "key": [row_key(recipe, [key]) for key in keys],
            "parents_digest": [parents_digest(text) for text in texts],
            "group": keys,
            "persona_key": keys,
            "persona": texts,
        }
    )


def load_prompt(config: CharacterConfig) -> PromptTemplate:
    """Read the prompt file the config names."""
    return PromptTemplate.load(require_path(config.prompt, "characters.prompt"))
