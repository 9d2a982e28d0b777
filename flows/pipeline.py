"""Runs the whole pipeline as one Prefect flow: one call, one process, one result."""

from __future__ import annotations

import contextvars
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from prefect import flow
from pydantic import BaseModel, ConfigDict

from flows.control.approval import ask_for_approval, check_approval, needs_approval
from flows.control.budget import BudgetGuard
from flows.control.display import current_watcher
from flows.control.rerun import check_reruns, close_reruns, request_reruns
from flows.execute import Execution
from flows.plan.planning import draw_plan
from flows.plan.table import print_plan
from flows.recipe.graph import Graph, build_graph
from flows.recipe.machine_checks import check_machine
from flows.recipe.opening import open_context, prepare
from flows.recipe.scoring import build_scores, prepare_scoring
from flows.recipe.settings import Settings, dump_settings
from flows.runs.history import RunRecord, note_end, record_run
from infra.context import Listener, Listeners, RunContext
from infra.generation.reruns import write_reruns
from infra.orchestration.events import StageMonitor
from infra.orchestration.tasks import PrefectListener, publish_plan, publish_report
from infra.store.manifests import Manifest, NodeRef, read_manifest
from infra.store.storage import Storage
from tasks.dialogues.nodes import Dialogues, require_cast
from tasks.export.nodes import Export
from tasks.personas.nodes import Personas
from tasks.publishing.nodes import Publication, check_hub
from tasks.reporting.page import PAIRS_FILE
from tasks.training.nodes import Encoding, Training, check_training


class StageCounts(BaseModel):
    """Counts of a node's rows: planned = accepted + rejected; made now, or reused."""

    model_config = ConfigDict(frozen=True)

    planned: int
    accepted: int
    rejected: int


class RunResult(BaseModel):
    """What a run came to; printed as the closing JSON line."""

    model_config = ConfigDict(frozen=True)

    run: str
    report: str
    dataset: str
    model: str
    scores: dict[str, float]
    counts: dict[str, StageCounts]
    engines_started: dict[str, int]


@flow(name="opencharacter", flow_run_name="{config}")
def opencharacter(
    config: str = "configs/demo.yaml",
    overrides: Sequence[str] = (),
    until: str = "report",
    first: str = "personas",
    refresh: Sequence[str] = (),
    retry_rejects: Sequence[str] = (),
) -> RunResult:
    """Go from personas to a fine-tuned model and its report, as the configuration says.

    Args:
        config: YAML file, in the working folder or packaged.
        overrides: Keys to change, each as ``a.b=c``; the value is YAML.
        until: Last stage to run.
        first: First stage that may be made; what comes before it must be in the store.
        refresh: Stages or nodes to make anew.
        retry_rejects: Stages or nodes whose rejected rows are asked again.
    """
    return run_pipeline(
        prepare(config, overrides),
        current_watcher(),
        until,
        first=first,
        refresh=refresh,
        retry_rejects=retry_rejects,
    )


def run_pipeline(
    settings: Settings,
    listener: Listener,
    until: str = "report",
    *,
    first: str = "personas",
    refresh: Sequence[str] = (),
    retry_rejects: Sequence[str] = (),
) -> RunResult:
    """Run the nodes inside the current flow run and write the run's folder."""
    check_reruns(settings, first, until, refresh, retry_rejects)
    with open_run(settings, listener) as (context, guard):
        reruns = request_reruns(settings, context, refresh, retry_rejects)
        graph = build_graph(settings, context, reruns, until)
        if refresh or retry_rejects:
            write_reruns(context.storage, reruns)
        kept, made_with = context.storage, context.provenance()
        with record_run(kept, settings, graph.specs(), provenance=made_with, until=until) as record:
            check_outside(settings, context, graph)
            with show_plan(settings, graph), guard.explain_stop():
                references = start_nodes(context, settings, graph).collect()
            close_reruns(settings, context)
            return write_run(context, settings, graph, references, record)


@flow(name="evaluate", flow_run_name="{config}")
def evaluate(config: str, models: Sequence[str] = (), overrides: Sequence[str] = ()) -> RunResult:
    """Score models that are there already; no training data are made.

    Args:
        config: YAML file, in the working folder or packaged; it needs no personas of its own.
        models: Roles, ``tuned``, or folders and GGUF files; those of the configuration if none.
        overrides: Keys to change, each as ``a.b=c``; the value is YAML.
    """
    settings = prepare_scoring(config, models, overrides)
    with open_run(settings, current_watcher()) as (context, guard):
        graph, notes = build_scores(settings, context)
        for note in notes:
            context.listener.node_note("evaluate", note)
        kept, made_with = context.storage, context.provenance()
        with record_run(kept, settings, graph.specs(), provenance=made_with) as record:
            check_outside(settings, context, graph)
            with guard.explain_stop():
                references = start_nodes(context, settings, graph).collect()
            return write_run(context, settings, graph, references, record)


@contextmanager
def open_run(settings: Settings, listener: Listener) -> Iterator[tuple[RunContext, BudgetGuard]]:
    """Open what a run works with, watched by all who should know of it."""
    guard = BudgetGuard(settings)
    listeners = Listeners(listener, PrefectListener(), StageMonitor(), guard)
    with open_context(settings, listeners) as context:
        listeners.run_started(settings.run.name, context)
        yield context, guard


@contextmanager
def show_plan(settings: Settings, graph: Graph) -> Iterator[None]:
    """Publish, beside the block, what is to be made and what it will cost, if anything is."""

    def publish() -> None:
        try:
            publish_plan(print_plan(draw_plan(settings)))
        except Exception as error:  # a plan is for people to look at; the run goes on without it
            with suppress(Exception):
                publish_plan(f"no plan: {error}")

    if all(node.find() for node in graph):
        yield
        return
    copied = contextvars.copy_context()
    planner = threading.Thread(target=copied.run, args=(publish,), name="plan")
    planner.start()
    try:
        yield
    finally:
        planner.join()


def start_nodes(context: RunContext, settings: Settings, graph: Graph) -> Execution:
    """Start every node of a graph; what needs no tuned model is asked before training."""
    execution = Execution(graph, settings.retry)
    if graph.find(Dialogues):
        require_personas(execution, settings, graph)
    training = graph.find_one(Training)
    if training is not None:
        execution.start_before(training)
        if needs_approval(settings, graph):
            execution.collect()
            ask_for_approval(context, settings, training)
    execution.start(graph)
    return execution


def require_personas(execution: Execution, settings: Settings, graph: Graph) -> None:
    """Raise :class:`ConfigError` before a model is asked, if there are too few for a question."""
    for personas in graph.find(Personas):
        execution.start([personas])
        if execution.settle(personas):  # else its own error is the one to tell
            each = settings.dialogues.characters_per_question
            require_cast(each, personas.manifest.counts.accepted)


def check_outside(settings: Settings, context: RunContext, graph: Graph) -> None:
    """Look at the machine, people, model and hub that this run comes to, before it starts."""
    check_machine(settings, context, graph)
    if needs_approval(settings, graph):
        check_approval(context)
    published = graph.find_one(Publication)
    if published is not None and published.find() is None:
        check_hub(settings.publish)
    encodings = [encoding for encoding in graph.find(Encoding) if encoding.find() is None]
    if encodings:
        check_training(encodings[0].config, context)


def score_run(manifests: dict[str, Manifest]) -> dict[str, float]:
    """Return the figures that the closing line shows."""
    scores: dict[str, float] = {}
    if "training" in manifests:
        facts = manifests["training"].facts
        wanted = {"eval_loss_base": "eval_loss_before", "eval_loss_tuned": "eval_loss_after"}
        scores |= {
            name: round(float(facts[fact]), 6)
            for name, fact in wanted.items()
            if facts.get(fact) is not None
        }
    if "scores" in manifests:
        scores |= manifests["scores"].facts["headline"]
    return scores


def copy_pages(storage: Storage, report: Manifest, folder: str) -> None:
    """Copy the report, and the page of pairs if there is one, to the folder of a run."""
    for fact, name in (("page", "report.html"), ("pairs", PAIRS_FILE)):
        if fact in report.facts:
            storage.write_bytes(f"{folder}/{name}", storage.read_bytes(str(report.facts[fact])))


def write_run(
    context: RunContext,
    settings: Settings,
    graph: Graph,
    references: dict[str, NodeRef],
    record: RunRecord,
) -> RunResult:
    """Write the resolved config and the summary of a run, and return its result."""
    folder = f"runs/{settings.run.name}"
    manifests = {
        name: read_manifest(context.storage, reference.manifest)
        for name, reference in references.items()
    }
    result = RunResult(
        run=settings.run.name,
        report=context.storage.url(f"{folder}/report.html") if "report" in references else "",
        dataset="".join(context.storage.url(node.folder) for node in graph.find(Export)),
        model=context.storage.url(str(manifests["training"].facts["export"]))
        if "training" in manifests
        else "",
        scores=score_run(manifests),
        counts={
            name: StageCounts(
                planned=manifest.counts.planned,
                accepted=manifest.counts.accepted,
                rejected=manifest.counts.rejected,
            )
            for name, manifest in manifests.items()
        },
        engines_started=context.count_starts(),
    )
    summary = {
        **result.model_dump(),
        "provenance": context.provenance(),
        "manifests": {name: reference.manifest for name, reference in references.items()},
        "rejects": {name: manifest.reasons for name, manifest in manifests.items()},
        "usage": {name: manifest.usage.model_dump() for name, manifest in manifests.items()},
        "endpoints": {
            name: manifest.facts["endpoint"]
            for name, manifest in manifests.items()
            if "endpoint" in manifest.facts
        },
    }
    if "report" in references:
        copy_pages(context.storage, manifests["report"], folder)
        publish_report(str(manifests["report"].facts["summary"]), result.report)
    context.storage.write_bytes(f"{folder}/config.yaml", dump_settings(settings).encode())
    context.storage.write_bytes(f"{folder}/summary.json", json.dumps(summary, indent=1).encode())
    done = list(manifests.values())
    note_end(context.storage, record, "finished", manifests=done, scores=result.scores)
    return result
