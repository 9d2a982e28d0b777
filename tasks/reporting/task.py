"""Offers the node that writes the report."""

from __future__ import annotations

import time
from collections.abc import Sequence

from infra.context import RunContext
from infra.orchestration.tasks import node_task
from infra.store.manifests import NodeRef, NodeSpec, write_file
from infra.store.set_store import write_set_manifest
from tasks.reporting.assembly import assemble_report
from tasks.reporting.config import ReportConfig
from tasks.reporting.markdown_summary import summarise_scores
from tasks.reporting.page import read_templates, render_report
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.overview import ModelLine, RunFacts
from tasks.scores import Comparison, Measure

VERSION = 3


def describe_report(config: ReportConfig, upstream: Sequence[NodeSpec]) -> NodeSpec:
    """Name the node from its knobs, its templates' contents and what it shows."""
    templates = read_templates(config.template)
    return NodeSpec.build(
        "report",
        VERSION,
        identity={**config.knob_values("identity"), "template": templates},
        selection=config.knob_values("selection"),
        upstream=upstream,
    )


@node_task("report")
def write_report(
    context: RunContext,
    node: NodeSpec,
    config: ReportConfig,
    stages: Sequence[NodeRef],
    config_text: str = "",
) -> NodeRef:
    """Write the page of a run from whatever nodes it has; ``config_text`` is shown as it is."""
    began = time.monotonic()
    run = _describe_run(context, node, config_text)
    nodes = RunNodes(context.storage, stages)
    facts = assemble_report(nodes, config, run)
    page = render_report(facts, read_templates(config.template)).encode()
    path = f"{node.folder}/{node.fingerprint}.html"
    return write_set_manifest(
        context.storage,
        node,
        [write_file(context.storage, path, page)],
        accepted=1,
        reasons={},
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        facts={"page": path, "summary": _summarise(nodes)},
    )


def _summarise(nodes: RunNodes) -> str:
    return summarise_scores(
        nodes.read_part("scores", "measures", Measure),
        nodes.read_part("scores", "comparisons", Comparison),
    )


def _describe_run(context: RunContext, node: NodeSpec, config_text: str) -> RunFacts:
    return RunFacts(
        fingerprint=node.fingerprint,
        demo=context.uses_demo_models(),
        models=tuple(
            ModelLine(role, context.model_label(role), model.engine)
            for role, model in sorted(context.models.items())
        ),
        versions=tuple(context.versions().items()),
        config_text=config_text,
    )
