"""Offers the node that turns dialogues into SFT examples."""

from __future__ import annotations

import time
from collections.abc import Sequence

from infra.context import RunContext
from infra.errors import YieldError
from infra.orchestration.tasks import node_task
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.manifests import NodeRef, NodeSpec
from infra.store.reading import read_accepted_frame, read_frames
from infra.store.set_store import write_set
from tasks.curation.config import CurationConfig
from tasks.curation.curate import curate
from tasks.curation.inputs import digest_inputs, load_inputs
from tasks.records import Example, Rejection

VERSION = 3


def describe_curation(config: CurationConfig, upstream: Sequence[NodeSpec]) -> NodeSpec:
    """Name the node from its knobs, its prompt's content, its files and what it reads."""
    return NodeSpec.build(
        "curation",
        VERSION,
        identity={**config.knob_values("identity"), "prompt": _load_prompt(config).source},
        selection=config.knob_values("selection"),
        upstream=upstream,
        sources=digest_inputs(config),
    )


@node_task("curation")
def curate_dialogues(
    context: RunContext,
    node: NodeSpec,
    config: CurationConfig,
    dialogues: Sequence[NodeRef],
    characters: NodeRef,
    instructions: Sequence[NodeRef],
) -> NodeRef:
    """Filter, deduplicate and split dialogues, and write them as SFT rows."""
    began = time.monotonic()
    curated = curate(
        read_frames(context.storage, dialogues),
        read_accepted_frame(context.storage, characters),
        read_frames(context.storage, instructions),
        config=config,
        template=_load_prompt(config),
        recipe=node.recipe,
        inputs=load_inputs(config),
    )
    share = len(curated.examples) / max(curated.planned, 1)
    if share < config.min_yield:
        raise YieldError(
            f"curation: {share:.0%} of {curated.planned} dialogues left, below its min_yield of "
            f"{config.min_yield:.0%}. Rejected: {curated.reasons}. Fix the teacher or the filters."
        )
    return write_set(
        context.storage,
        node,
        curated.examples,
        curated.rejections,
        records=(Example, Rejection),
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        facts={"funnel": [[step.reason, step.rejected, step.left] for step in curated.funnel]},
    )


def _load_prompt(config: CurationConfig) -> PromptTemplate:
    return PromptTemplate.load(require_path(config.prompt, "curation.prompt"))
