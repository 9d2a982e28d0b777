"""Says what a run would make and reuse, why, and what it would cost, without starting anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from flows.plan.costs import CostEstimator
from flows.plan.foreseen import ForeseenRows
from flows.plan.own_rows import describe_inputs, is_made_up, warn_of_losses
from flows.plan.past_rates import Measured
from flows.plan.table import NodePlan, Plan, Totals
from flows.recipe.checks import check_settings, list_asked_roles
from flows.recipe.evaluation_checks import note_prompts
from flows.recipe.graph import Graph, build_graph
from flows.recipe.model_templates import note_models
from flows.recipe.opening import open_context, pass_on_licences, resolve_settings
from flows.recipe.placeholders import stand_in
from flows.recipe.retired_models import warn_of_retirements
from flows.recipe.settings import Settings, load_settings
from flows.recipe.thinking import describe_thinking
from infra.context import Quiet, RunContext
from infra.engines.model_facts import find_model_facts
from infra.errors import ConfigError, DamagedFile
from infra.generation.reruns import count_rounds
from infra.nodes.node import Node, RowNode
from infra.store.damaged_files import find_damage
from infra.store.manifests import NodeSpec
from infra.store.row_store import read_committed
from infra.store.storage import Storage
from tasks.characters.nodes import TakenCharacters
from tasks.dialogues.nodes import Dialogues, TakenDialogues, require_cast
from tasks.records import Character

LATER = "known once its questions are written"


def plan_run(config: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Plan a configuration on this machine as it is: no network, no keys, no downloaded inputs.

    Raises :class:`~infra.errors.ConfigError` for all else that would keep a run from starting.
    """
    settings = resolve_settings(load_settings(config, overrides))
    with stand_in(settings) as (ready, notes):
        check_settings(ready)
        return draw_plan(pass_on_licences(ready), notes)


def draw_plan(settings: Settings, notes: Sequence[str] = ()) -> Plan:
    """Plan a run. Row stages whose inputs are not made yet are planned by lineage.

    Their keys are known before their texts are; only rejections can still change them.
    """
    with open_context(settings, Quiet()) as context:
        return draw_graph_plan(settings, context, build_graph(settings, context), notes)


def draw_graph_plan(
    settings: Settings, context: RunContext, graph: Graph, notes: Sequence[str] = ()
) -> Plan:
    """Plan the nodes of a graph."""
    given, measured = ForeseenRows(context.storage), Measured(context.storage)
    people, asked, cast = (
        sum(len(given.read(node, node.record)) for node in graph if node.stage == stage)
        for stage in ("personas", "instructions", "characters")
    )
    warnings = (*warn_of_losses(settings, graph, given), *warn_of_retirements(settings))
    each = settings.dialogues.characters_per_question
    if graph.find(Dialogues) and not is_made_up(settings.personas.source):
        require_cast(each, cast)
    estimator = CostEstimator(settings, graph, given, measured)
    nodes, damaged = [], list[str]()
    for node in graph:
        drawn = _plan_node(node, given, measured, damaged)
        cost = estimator.estimate_rows(node, drawn.make)
        nodes.append(drawn.model_copy(update={"cost": cost}))
    training = estimator.estimate_training({node.node: node.rows for node in nodes})
    if refused := list(estimator.list_refusals()):
        raise ConfigError(*refused)
    told = note_models(settings, list_asked_roles(settings))
    return Plan(
        run=settings.run.name,
        root=context.storage.root,
        personas=people,
        questions=asked,
        pairs=asked * min(each, cast),
        nodes=tuple(nodes),
        training=training,
        disk=estimator.estimate_disk([node.cost for node in nodes], training),
        totals=Totals.add_up(nodes, training),
        models={role: find_model_facts(item) for role, item in settings.models.items()},
        inputs=tuple(describe_inputs(settings)),
        warnings=(*warnings, *damaged),
        notes=(
            *notes,
            *given.notes,
            *note_prompts(settings),
            *describe_thinking(settings),
            *told,
        ),
    )


def _plan_node(node: Node, given: ForeseenRows, measured: Measured, damaged: list[str]) -> NodePlan:
    storage, spec, manifest = node.context.storage, node.spec, given.find(node)
    if manifest is not None:
        rows = manifest.counts.planned
        return NodePlan(node=node.name, rows=rows, make=0, reuse=rows, why="cached")
    why = _explain(spec, measured)
    wrong = find_damage(storage, spec)
    damaged += [f"{path} {what}: a run makes anew what it held" for path, what in wrong.items()]
    if not isinstance(node, RowNode):
        taken = isinstance(node, TakenCharacters | TakenDialogues)
        rows = len(given.read(node, node.record)) if taken else 0
        return NodePlan(node=node.name, rows=rows, make=rows, reuse=0, why=f"made whole: {why}")
    keys = _fit_pairing(node, given).plan_keys(given)
    if not given.is_certain(node):
        rows = keys.height
        return NodePlan(node=node.name, rows=rows, make=rows, reuse=0, why=LATER, about=True)
    committed, unread = _read_committed(storage, spec, wrong)
    damaged += unread
    settled = _list_settled(committed, count_rounds(spec))
    reuse = keys.join(settled, on="key", how="semi").height
    return NodePlan(
        node=node.name, rows=keys.height, make=keys.height - reuse, reuse=reuse, why=why
    )


def _fit_pairing(node: RowNode, given: ForeseenRows) -> RowNode:
    """Let a question have no more characters than there are, where a plan made them up."""
    if not isinstance(node, Dialogues):
        return node
    cast = len(given.read(node.characters, Character))
    most = min(node.pairing.characters_per_question, cast)
    return replace(node, pairing=node.pairing.model_copy(update={"characters_per_question": most}))


def _read_committed(
    storage: Storage, node: NodeSpec, wrong: Mapping[str, str]
) -> tuple[pl.DataFrame, list[str]]:
    """Return what is committed of a node as a run will find it, and lines on what is damaged."""
    broken: list[DamagedFile] = []
    committed = read_committed(storage, node.folder, broken, leave_out=wrong)
    lines = [
        f"{one.path} {one.why}: a run sets it aside and makes anew what it held"
        for one in broken
        if one.path not in wrong
    ]
    return committed, lines


def _list_settled(committed: pl.DataFrame, rounds: int) -> pl.DataFrame:
    """Return the keys that are not asked again: accepted, or rejected in every round."""
    asked = committed.group_by("key").agg(
        accepted=(pl.col("status") == "accepted").any(), times=pl.len()
    )
    return asked.filter(pl.col("accepted") | (pl.col("times") > rounds)).select("key")


def _explain(node: NodeSpec, measured: Measured) -> str:
    """Say what changed since the stage's latest manifest, or that there is none."""
    latest = measured.find_latest(node.stage)
    if latest is None:
        return "never made here"
    changed = [
        *_differ(latest.identity, node.identity),
        *_differ(latest.selection, node.selection),
        *(f"upstream {name}" for name in _differ(latest.upstream, node.upstream)),
    ]
    return "changed: " + ", ".join(changed) if changed else "its files are gone or changed"


def _differ(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
