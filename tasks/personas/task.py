"""Offers the node that reads, cleans and samples personas."""

from __future__ import annotations

import time

from infra.context import RunContext
from infra.orchestration.tasks import node_task
from infra.store.manifests import NodeRef, NodeSpec
from infra.store.set_store import write_set
from tasks.personas.config import PersonaConfig
from tasks.personas.selection import select_personas as choose_personas
from tasks.personas.sources import digest_persona_sources, read_persona_rows
from tasks.records import Persona, Rejection

VERSION = 2


def describe_personas(config: PersonaConfig) -> NodeSpec:
    """Name the node from its knobs and the content of its files."""
    return NodeSpec.build(
        "personas",
        VERSION,
        identity=config.knob_values("identity"),
        selection=config.knob_values("selection"),
        sources=digest_persona_sources(config),
    )


@node_task("personas")
def select_personas(context: RunContext, node: NodeSpec, config: PersonaConfig) -> NodeRef:
    """Read every persona, reject what is unusable or twice there, and sample M."""
    began = time.monotonic()
    chosen = choose_personas(read_persona_rows(config), config)
    return write_set(
        context.storage,
        node,
        chosen.accepted,
        chosen.rejected,
        records=(Persona, Rejection),
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
    )
