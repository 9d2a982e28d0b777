"""Says what a run would make, what it would reuse and why not, without starting anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from io import StringIO
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from flows.display import Quiet
from flows.evaluation_planning import LATER, list_asking, plan_evaluation_rows
from flows.graph import Graph, draw_graph
from flows.pipeline import open_bench
from flows.settings import Settings
from infra.bench import Bench
from infra.errors import StoreVersionError
from infra.manifests import (
    Manifest,
    NodeRef,
    NodeSpec,
    find_sound_manifest,
    read_manifest,
    refer_to,
)
from infra.reading import read_accepted
from infra.row_store import read_committed
from tasks.dialogues.planning import plan_pairs
from tasks.instructions.selection import select_instructions
from tasks.instructions.task import plan_guesses
from tasks.persona_rows import plan_persona_rows
from tasks.personas.selection import select_personas
from tasks.personas.sources import read_persona_rows
from tasks.records import Instruction, Persona


class NodePlan(BaseModel):
    """Is one node of the plan; ``make + reuse == rows``."""

    model_config = ConfigDict(frozen=True)

    node: str
    rows: int
    make: int
    reuse: int
    why: str


class Plan(BaseModel):
    """Is what a run would do, node by node; ``pairs`` counts (question, character) pairs."""

    model_config = ConfigDict(frozen=True)

    run: str
    root: str
    personas: int
    questions: int
    pairs: int
    nodes: tuple[NodePlan, ...]


def draw_plan(settings: Settings) -> Plan:
    """Plan a run. Row stages whose inputs are not made yet are planned by lineage.

    Their keys are known before their texts are; only rejections can still change them.
    """
    with open_bench(settings, Quiet()) as bench:
        graph = draw_graph(settings, bench)
        found = {node.stage: _find(bench, node) for node in graph.nodes()}
        personas = _list_personas(settings, bench, found["personas"])
        asked = _list_instructions(settings, bench, found["instructions"])
        planned = _plan_rows(settings, graph, personas, asked)
        planned |= plan_evaluation_rows(settings, bench, graph.evaluation, found)
        later = set(list_asking(graph.evaluation)) - planned.keys()
        nodes = [_plan_node(bench, node, found, planned, later) for node in graph.nodes()]
        questions = len(asked) + planned["guesses"].height
        return Plan(
            run=settings.run.name,
            root=bench.storage.root,
            personas=personas.height,
            questions=questions,
            pairs=questions * settings.dialogues.characters_per_question,
            nodes=tuple(nodes),
        )


def print_plan(plan: Plan) -> str:
    """Return the plan as a table for people."""
    table = Table(box=None, pad_edge=False)
    for name in ("node", "rows", "to make", "reused", "why"):
        table.add_column(name, justify="left" if name in ("node", "why") else "right")
    for node in plan.nodes:
        table.add_row(node.node, f"{node.rows:,}", f"{node.make:,}", f"{node.reuse:,}", node.why)
    text = StringIO()
    console = Console(file=text, width=120, highlight=False)
    console.print(f"run {plan.run} → {plan.root}", markup=False)
    console.print(
        f"{plan.personas:,} personas, {plan.questions:,} questions, {plan.pairs:,} pairs\n"
    )
    console.print(table)
    return text.getvalue().rstrip()


def _find(bench: Bench, node: NodeSpec) -> Manifest | None:
    return find_sound_manifest(bench.storage, node.manifest_path)


def _list_personas(settings: Settings, bench: Bench, found: Manifest | None) -> pl.DataFrame:
    rows = (
        read_accepted(bench.storage, refer_to(found), Persona)
        if found
        else select_personas(read_persona_rows(settings.personas), settings.personas).accepted
    )
    return pl.DataFrame(
        {"key": [row.key for row in rows], "persona": [row.persona for row in rows]},
        schema={"key": pl.String, "persona": pl.String},
    )


def _list_instructions(
    settings: Settings, bench: Bench, found: Manifest | None
) -> list[Instruction]:
    if found:
        return read_accepted(bench.storage, refer_to(found), Instruction)
    return list(select_instructions(settings.instructions).accepted)


def _plan_rows(
    settings: Settings, graph: Graph, personas: pl.DataFrame, asked: list[Instruction]
) -> dict[str, pl.DataFrame]:
    """Return the planned keys of every row stage, all parents taken as accepted."""
    characters = plan_persona_rows(graph.characters.recipe, personas)
    guesses = (
        plan_guesses(graph.guesses.recipe, personas, settings.instructions.synthesis)
        if graph.guesses
        else pl.DataFrame(schema={"key": pl.String})
    )
    planned = {"characters": characters, "guesses": guesses}
    for strategy, node in graph.dialogues.items():
        keys = [item.key for item in asked if strategy == "generate" or item.answered]
        if strategy == "generate":
            keys += guesses["key"].to_list()
        planned[node.stage] = plan_pairs(
            node.recipe,
            characters["key"].to_list(),
            characters["persona_key"].to_list(),
            sorted(keys),
            per_question=min(settings.dialogues.characters_per_question, characters.height),
            seed=settings.dialogues.pairing_seed,
        )
    return planned


def _plan_node(
    bench: Bench,
    node: NodeSpec,
    found: Mapping[str, Manifest | None],
    planned: Mapping[str, pl.DataFrame],
    later: Collection[str],
) -> NodePlan:
    manifest = found[node.stage]
    if manifest is not None:
        rows = manifest.counts.planned
        return NodePlan(node=node.stage, rows=rows, make=0, reuse=rows, why="cached")
    why = _explain(bench, node)
    if node.stage in later:
        return NodePlan(node=node.stage, rows=0, make=0, reuse=0, why=LATER)
    if node.stage not in planned:
        return NodePlan(node=node.stage, rows=0, make=0, reuse=0, why=f"made whole: {why}")
    keys = planned[node.stage].select("key")
    committed = read_committed(bench.storage, node.folder).select("key").unique()
    reuse = keys.join(committed, on="key", how="semi").height
    return NodePlan(
        node=node.stage, rows=keys.height, make=keys.height - reuse, reuse=reuse, why=why
    )


def _explain(bench: Bench, node: NodeSpec) -> str:
    """Say what changed since the stage's latest manifest, or that there is none."""
    latest = find_latest(bench, node.stage)
    if latest is None:
        return "never made here"
    changed = [
        *_differ(latest.identity, node.identity),
        *_differ(latest.selection, node.selection),
        *(f"upstream {name}" for name in _differ(latest.upstream, node.upstream)),
    ]
    return "changed: " + ", ".join(changed) if changed else "its files are gone or changed"


def find_latest(bench: Bench, stage: str) -> Manifest | None:
    """Return the manifest of a stage that was made last, by its own record of the time."""
    storage = bench.storage
    manifests: list[Manifest] = []
    for path in storage.walk(stage, ".json"):
        try:
            manifests.append(read_manifest(storage, path))
        except StoreVersionError:
            continue
    return max(manifests, key=lambda item: item.provenance.get("made_at", ""), default=None)


def _differ(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]


def find_references(bench: Bench, graph: Graph) -> dict[str, NodeRef]:
    """Return the references of the nodes of a graph that are done."""
    found = {node.stage: _find(bench, node) for node in graph.nodes()}
    return {stage: refer_to(manifest) for stage, manifest in found.items() if manifest}
