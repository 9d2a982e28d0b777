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
from flows.evaluation import list_waiting, plan_evaluation
from flows.plan.planning import draw_plan
from flows.plan.table import print_plan
from flows.recipe.graph import Graph, build_graph
from flows.recipe.machine_checks import check_machine
from flows.recipe.opening import open_context, prepare
from flows.recipe.settings import Settings, dump_settings
from flows.recipe.stages import Started
from flows.runs.history import RunRecord, note_end, record_run
from flows.synthesis import synthesise
from flows.training import train
from infra.context import Listener, Listeners, RunContext
from infra.generation.reruns import write_reruns
from infra.orchestration.events import StageMonitor
from infra.orchestration.tasks import PrefectListener, publish_plan, publish_report
from infra.store.manifests import Manifest, NodeRef, is_done, read_manifest
from tasks.export.task import export_folder
from tasks.publishing.task import check_hub, publish_run
from tasks.reporting.task import write_report
from tasks.training.task import check_training


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
    guard = BudgetGuard(settings)
    listeners = Listeners(listener, PrefectListener(), StageMonitor(), guard)
    with open_context(settings, listeners) as context:
        listeners.run_started(settings.run.name, context)
        reruns = request_reruns(settings, context, refresh, retry_rejects)
        graph = build_graph(settings, context, reruns.apply)
        if refresh or retry_rejects:
            write_reruns(context.storage, reruns)
        kept, made_with = context.storage, context.provenance()
        with record_run(kept, settings, graph.nodes(), provenance=made_with, until=until) as record:
            check_outside(settings, context, graph, until)
            with show_plan(settings, context, graph), guard.explain_stop():
                references = start_nodes(context, settings, graph, until).collect()
            close_reruns(settings, context)
            result = write_run(context, settings, graph, references, record)
    return result


@contextmanager
def show_plan(settings: Settings, context: RunContext, graph: Graph) -> Iterator[None]:
    """Publish, beside the block, what is to be made and what it will cost, if anything is."""

    def publish() -> None:
        try:
            publish_plan(print_plan(draw_plan(settings)))
        except Exception as error:  # a plan is for people to look at; the run goes on without it
            with suppress(Exception):
                publish_plan(f"no plan: {error}")

    if all(is_done(context.storage, node) for node in graph.nodes()):
        yield
        return
    copied = contextvars.copy_context()
    planner = threading.Thread(target=copied.run, args=(publish,), name="plan")
    planner.start()
    try:
        yield
    finally:
        planner.join()


def start_nodes(context: RunContext, settings: Settings, graph: Graph, until: str) -> Started:
    """Start every node up to a stage; what needs no tuned model is asked before training."""
    started = synthesise(context, settings, graph, until)
    evaluation = plan_evaluation(context, settings, graph, started, until)
    if evaluation is not None:
        evaluation.ask_before_training()
    ask_for_approval(context, settings, graph, started, until)
    waiting = list(list_waiting(started).values())
    later = evaluation.list_asked_later() if evaluation is not None else ()
    started = train(context, settings, graph, started, until, after=waiting, asked_later=later)
    if evaluation is not None:
        evaluation.ask_after_training()
    return report(context, settings, graph, started, until)


def check_outside(settings: Settings, context: RunContext, graph: Graph, until: str) -> None:
    """Look at the machine, people, model and hub that this run comes to, before it starts."""
    check_machine(settings, context, graph, until)
    if needs_approval(context, settings, graph, until):
        check_approval(context)
    published = graph.publish
    reached = Started().reached(until, "report")
    if published and reached and not is_done(context.storage, published):
        check_hub(settings.publish)
    node = graph.encoding
    if settings.training is None or node is None or not Started().reached(until, "encoding"):
        return
    if not is_done(context.storage, node):
        check_training(settings.training, context)


def report(
    context: RunContext, settings: Settings, graph: Graph, started: Started, until: str
) -> Started:
    """Start the node that shows what all the others did, and what pushes it, if it is to be."""
    if started.reached(until, "report"):
        started["report"] = write_report.submit(
            context,
            graph.report,
            settings.retry,
            settings.report,
            list(started.values()),
            dump_settings(settings),
        )
        if graph.publish is not None:
            started["publish"] = publish_run.submit(
                context,
                graph.publish,
                settings.retry,
                settings.publish,
                started["export"],
                started.get("training"),
                settings.run.name,
            )
    return started


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
        dataset=context.storage.url(export_folder(graph.export)) if "export" in references else "",
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
        engines_started=dict(context.pool.starts),
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
        page = context.storage.read_bytes(str(manifests["report"].facts["page"]))
        context.storage.write_bytes(f"{folder}/report.html", page)
        publish_report(str(manifests["report"].facts["summary"]), result.report)
    context.storage.write_bytes(f"{folder}/config.yaml", dump_settings(settings).encode())
    context.storage.write_bytes(f"{folder}/summary.json", json.dumps(summary, indent=1).encode())
    done = list(manifests.values())
    note_end(context.storage, record, "finished", manifests=done, scores=result.scores)
    return result
