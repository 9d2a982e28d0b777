"""Asks a person before training whether the rows are worth it: in the Prefect UI or a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flows.plan.planning import draw_plan
from flows.plan.table import print_plan
from flows.recipe.graph import Graph
from flows.recipe.settings import Settings
from infra.context import RunContext
from infra.errors import ConfigError, InterruptedRun, Problem
from infra.orchestration.tasks import can_pause, pause_for_approval
from infra.store.manifests import NodeRef, read_manifest
from infra.store.reading import read_accepted
from tasks.records import Example
from tasks.training.nodes import Training

_SHOWN = 8
_CELL_CHARS = 300
_DAY_S = 24 * 3600
_REFUSED = (
    "training was not approved; the rows are kept. Change what they lack, or run again and approve"
)


def needs_approval(settings: Settings, graph: Graph) -> bool:
    """Tell whether this run will ask: it is to, and there is a training to be done."""
    asked = settings.run.approve_before_training
    return asked and any(training.find() is None for training in graph.find(Training))


def check_approval(context: RunContext) -> None:
    """Raise :class:`ConfigError` if there is nobody to ask."""
    if not context.listener.can_approve() and not can_pause():
        todo = "run it on a terminal, or as a deployment of a Prefect server; or set it to false"
        raise ConfigError(Problem("run.approve_before_training", "there is nobody to ask", todo))


def ask_for_approval(context: RunContext, settings: Settings, training: Training) -> None:
    """Show the rows of a training with the plan, and go on only if a person says so.

    People take their time, so engines leave first. Raises :class:`InterruptedRun` on a no.
    """
    context.close_engines()
    examples = training.examples.reference
    text = "\n".join(describe_rows(context, examples, print_plan(draw_plan(settings))))
    began = time.monotonic()
    try:
        agreed = _ask(context, text)
    finally:
        context.waited_s += time.monotonic() - began
    if not agreed:
        raise InterruptedRun(_REFUSED)


def _ask(context: RunContext, text: str) -> bool:
    if context.listener.can_approve():
        return context.listener.approve(text)
    return pause_for_approval(text, _DAY_S, context.stop)


def describe_rows(context: RunContext, curation: NodeRef, plan: str) -> Iterator[str]:
    """Yield, in Markdown, the plan, what curation kept and left out, and a few rows."""
    manifest = read_manifest(context.storage, curation.manifest)
    yield from ("## Train on these rows?", "", "```text", plan, "```", "")
    yield f"{manifest.counts.accepted:,} examples, {manifest.counts.rejected:,} left out"
    yield from (f"- {reason}: {rows:,}" for reason, rows in manifest.reasons.items())
    yield from ("", "| user | in character |", "|---|---|")
    for example in read_accepted(context.storage, curation, Example)[:_SHOWN]:
        turns = {turn.role: turn.content for turn in example.messages}
        yield f"| {_cell(turns.get('user', ''))} | {_cell(turns.get('assistant', ''))} |"


def _cell(text: str) -> str:
    short = text if len(text) <= _CELL_CHARS else text[:_CELL_CHARS] + "…"
    return " ".join(short.split()).replace("|", "\\|").replace("<", "&lt;")
