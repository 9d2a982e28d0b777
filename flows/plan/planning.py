"""Says what a run would make and reuse, why, and what it would cost, without starting anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from flows.plan.costs import CostEstimator
from flows.plan.evaluation_planning import LATER, plan_evaluation_rows
from flows.plan.own_rows import (
    describe_inputs,
    is_made_up,
    list_own_cast,
    list_own_dialogues,
    warn_of_losses,
)
from flows.plan.past_rates import Measured
from flows.plan.prompt_samples import Known, list_asking, sample_dialogues
from flows.plan.table import NodePlan, Plan, Totals
from flows.recipe.checks import check_settings, list_asked_roles, pass_on_licences, resolve_settings
from flows.recipe.evaluation_graph import EvaluationGraph
from flows.recipe.graph import Graph, build_graph
from flows.recipe.model_templates import note_models
from flows.recipe.opening import open_context
from flows.recipe.placeholders import stand_in
from flows.recipe.retired_models import warn_of_retirements
from flows.recipe.settings import Settings, load_settings
from flows.recipe.thinking import describe_thinking
from infra.context import Quiet, RunContext
from infra.engines.model_facts import find_model_facts
from infra.errors import ConfigError, DamagedFile, Problem
from infra.generation.reruns import count_rounds
from infra.store.damaged_files import find_damage
from infra.store.manifests import Manifest, NodeRef, NodeSpec, find_sound_manifest, refer_to
from infra.store.reading import read_accepted
from infra.store.row_store import read_committed
from tasks.dialogues.planning import plan_pairs
from tasks.dialogues.task import require_cast
from tasks.evaluation.judging.rubrics import TASKS
from tasks.evaluation.questions.sets import Sources, collect_questions
from tasks.instructions.selection import select_instructions
from tasks.instructions.task import plan_guesses
from tasks.persona_rows import plan_persona_rows
from tasks.personas.selection import select_personas
from tasks.personas.sources import read_persona_rows
from tasks.records import Character, EvalQuestion, Instruction, Persona

R = TypeVar("R", Character, Instruction)

Found = Mapping[str, Manifest | None]


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
        graph, measured = build_graph(settings, context), Measured(context.storage)
        found = {node.stage: _find(context, node) for node in graph.nodes()}
        personas = _list_personas(settings, context, found["personas"])
        asked, unread = _list_instructions(settings, context, found.get("instructions"))
        written = _read(context, found["characters"], Character)
        own_cast = list_own_cast(settings, graph, personas)
        cast = written or own_cast.accepted
        own_dialogues = list_own_dialogues(settings, graph, personas, cast)
        warnings = (
            *warn_of_losses(settings, own_cast, own_dialogues),
            *warn_of_retirements(settings),
        )
        known = Known(
            personas=personas,
            instructions=asked,
            guesses=_read(context, found.get("guesses"), Instruction),
            cast=cast,
            dialogues=own_dialogues.accepted,
            questions=_list_questions(settings, context, found),
        )
        planned = _plan_rows(settings, graph, known)
        characters, each = planned["characters"].height, settings.dialogues.characters_per_question
        if settings.dialogues.source is None and not is_made_up(settings.personas.source):
            require_cast(each, characters)
        planned |= plan_evaluation_rows(settings, context, graph.evaluation, found)
        asking = list_asking(settings, graph, known)
        given = sample_dialogues(known)
        estimator = CostEstimator(settings, context, graph, asking, measured, given)
        later = _guess_rows(settings, graph.evaluation, characters)
        nodes = []
        damaged: list[str] = []
        for node in graph.nodes():
            drawn = _plan_node(context, node, found, planned, later, measured, damaged)
            cost = estimator.estimate_rows(node, drawn.make)
            nodes.append(drawn.model_copy(update={"cost": cost}))
        training = estimator.estimate_training({node.node: node.rows for node in nodes}, found)
        if refused := list(estimator.list_refusals()):
            raise ConfigError(*refused)
        questions = len(asked) + planned["guesses"].height
        told = note_models(settings, list_asked_roles(settings))
        return Plan(
            run=settings.run.name,
            root=context.storage.root,
            personas=len(personas),
            questions=questions,
            pairs=questions * min(each, characters),
            nodes=tuple(nodes),
            training=training,
            disk=estimator.estimate_disk([node.cost for node in nodes], training, found),
            totals=Totals.add_up(nodes, training),
            models={role: find_model_facts(item) for role, item in settings.models.items()},
            inputs=tuple(describe_inputs(settings)),
            warnings=(*warnings, *damaged),
            notes=(*notes, *unread, *describe_thinking(settings), *told),
        )


def find_references(context: RunContext, graph: Graph) -> dict[str, NodeRef]:
    """Return the references of the nodes of a graph that are done."""
    found = {node.stage: _find(context, node) for node in graph.nodes()}
    return {stage: refer_to(manifest) for stage, manifest in found.items() if manifest}


def _find(context: RunContext, node: NodeSpec) -> Manifest | None:
    return find_sound_manifest(context.storage, node.manifest_path)


def _read(context: RunContext, manifest: Manifest | None, record: type[R]) -> list[R]:
    return [] if manifest is None else read_accepted(context.storage, refer_to(manifest), record)


def _list_personas(
    settings: Settings, context: RunContext, found: Manifest | None
) -> list[Persona]:
    if found:
        return read_accepted(context.storage, refer_to(found), Persona)
    chosen = select_personas(read_persona_rows(settings.personas), settings.personas)
    if not chosen.accepted:
        reasons = Counter(row.reason for row in chosen.rejected)
        told = ", ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common())
        first = chosen.rejected[0]
        what = f"none of its rows is a persona: {told}; {first.source}: {first.detail[:120]}"
        where = f"personas.source ({settings.personas.source})"
        raise ConfigError(Problem(where, what, "fix it, or the knobs of `personas`"))
    return list(chosen.accepted)


def _list_instructions(
    settings: Settings, context: RunContext, found: Manifest | None
) -> tuple[list[Instruction], Sequence[str]]:
    """Return the questions, and what of their sources is not read, if they are read now."""
    if found:
        return read_accepted(context.storage, refer_to(found), Instruction), ()
    if settings.dialogues.source is not None:
        return [], ()
    chosen = select_instructions(settings.instructions)
    return list(chosen.accepted), chosen.notes


def _list_questions(
    settings: Settings, context: RunContext, found: Found
) -> Sequence[EvalQuestion]:
    """Return the questions of evaluation as far as they are known: made, or in a checkout."""
    manifest, config = found.get("questions"), settings.evaluation
    if manifest is not None:
        return read_accepted(context.storage, refer_to(manifest), EvalQuestion)
    if config is not None and config.questions.suite == "personagym":
        return collect_questions(config.questions, Sources()).questions
    return ()


def _plan_rows(settings: Settings, graph: Graph, known: Known) -> dict[str, pl.DataFrame]:
    """Return the planned keys of every row stage and of rows that are brought.

    Parents that are not made yet are taken as accepted.
    """
    people = pl.DataFrame(
        {
            "key": [row.key for row in known.personas],
            "persona": [row.persona for row in known.personas],
        },
        schema={"key": pl.String, "persona": pl.String},
    )
    characters = (
        pl.DataFrame(
            {
                "key": [one.key for one in known.cast],
                "persona_key": [one.persona_key for one in known.cast],
            }
        )
        if known.cast
        else plan_persona_rows(graph.characters.recipe, people)
    )
    guesses = (
        plan_guesses(graph.guesses.recipe, people, settings.instructions.synthesis)
        if graph.guesses
        else pl.DataFrame(schema={"key": pl.String})
    )
    guessed = [item.key for item in known.guesses] or guesses["key"].to_list()
    planned = {"characters": characters, "guesses": guesses}
    for strategy, node in graph.dialogues.items():
        if not node.by_rows:
            rows = {"key": [item.key for item in known.dialogues]}
            planned[node.stage] = pl.DataFrame(rows, schema={"key": pl.String})
            continue
        keys = [item.key for item in known.instructions if strategy == "generate" or item.answered]
        if strategy == "generate":
            keys += guessed
        planned[node.stage] = plan_pairs(
            node.recipe,
            characters["key"].to_list(),
            characters["persona_key"].to_list(),
            sorted(keys),
            per_question=min(settings.dialogues.characters_per_question, characters.height),
            seed=settings.dialogues.pairing_seed,
        )
    return planned


def _guess_rows(
    settings: Settings, graph: EvaluationGraph | None, characters: int
) -> dict[str, int]:
    """Return about how many rows the nodes of evaluation have whose questions are not written."""
    config = settings.evaluation
    if config is None or graph is None:
        return {}
    asked, share, people = config.questions, settings.curation.validation_share, characters
    if asked.unseen or asked.suite == "held_out":
        least = settings.curation.min_validation_characters if share else 0
        people = min(max(round(characters * share), least), characters)
    people = min(people, asked.personas or people)
    each = asked.per_persona if asked.suite == "held_out" else len(TASKS) * asked.writing.count
    groups = (graph.answers, graph.examples, graph.judgements)
    rows = {node.stage: people * each for group in groups for node in group.values()}
    if graph.settings is not None:
        rows[graph.settings.stage] = people
    if graph.texts is not None:
        rows[graph.texts.stage] = people * len(TASKS)
    return rows


def _plan_node(
    context: RunContext,
    node: NodeSpec,
    found: Found,
    planned: Mapping[str, pl.DataFrame],
    later: Mapping[str, int],
    measured: Measured,
    damaged: list[str],
) -> NodePlan:
    manifest = found[node.stage]
    if manifest is not None:
        rows = manifest.counts.planned
        return NodePlan(node=node.stage, rows=rows, make=0, reuse=rows, why="cached")
    if node.stage not in planned and node.stage in later:
        rows = later[node.stage]
        return NodePlan(node=node.stage, rows=rows, make=rows, reuse=0, why=LATER, about=True)
    why = _explain(node, measured)
    wrong = find_damage(context.storage, node)
    damaged += [f"{path} {what}: a run makes anew what it held" for path, what in wrong.items()]
    if not node.by_rows:
        rows = planned[node.stage].height if node.stage in planned else 0
        return NodePlan(node=node.stage, rows=rows, make=rows, reuse=0, why=f"made whole: {why}")
    if node.stage not in planned:
        return NodePlan(node=node.stage, rows=0, make=0, reuse=0, why=why)
    keys = planned[node.stage].select("key")
    committed, unread = _read_committed(context, node, wrong)
    damaged += unread
    settled = _list_settled(committed, count_rounds(node))
    reuse = keys.join(settled, on="key", how="semi").height
    return NodePlan(
        node=node.stage, rows=keys.height, make=keys.height - reuse, reuse=reuse, why=why
    )


def _read_committed(
    context: RunContext, node: NodeSpec, wrong: Mapping[str, str]
) -> tuple[pl.DataFrame, list[str]]:
    """Return what is committed of a node as a run will find it, and lines on what is damaged."""
    broken: list[DamagedFile] = []
    committed = read_committed(context.storage, node.folder, broken, leave_out=wrong)
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
