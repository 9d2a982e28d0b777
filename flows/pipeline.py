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
from flows.control.budget import Treasurer
from flows.control.display import current_watcher
from flows.control.rerun import check_wishes, close_wishes, wish_remakes
from flows.evaluation import list_waiting, plan_evaluation
from flows.plan.planning import draw_plan
from flows.plan.table import print_plan
from flows.recipe.graph import Graph, draw_graph
from flows.recipe.machine_checks import check_machine
from flows.recipe.opening import open_bench, prepare
from flows.recipe.settings import Settings, dump_settings
from flows.recipe.stages import Started
from flows.runs.history import RunRecord, note_end, record_run
from flows.synthesis import synthesise
from flows.training import train
from infra.context import Bench, Listener, Listeners
from infra.generation.remaking import write_remakes
from infra.orchestration.events import Watchman
from infra.orchestration.tasks import PrefectListener, publish_plan, publish_report
from infra.store.manifests import Manifest, NodeRef, is_done, read_manifest
from tasks.export.task import export_folder
from tasks.publishing.task import check_hub, publish_run
from tasks.reporting.task import write_report
from tasks.training.task import check_training


class StageCounts(BaseModel):
    """Adds up a node: planned = accepted + rejected; made now, or reused."""

    model_config = ConfigDict(frozen=True)

    planned: int
    accepted: int
    rejected: int


class RunResult(BaseModel):
    """Is what a run came to; printed as the closing JSON line."""

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
    check_wishes(settings, first, until, refresh, retry_rejects)
    treasurer = Treasurer(settings)
    listeners = Listeners(listener, PrefectListener(), Watchman(), treasurer)
    with open_bench(settings, listeners) as bench:
        listeners.run_started(settings.run.name, bench)
        remakes = wish_remakes(settings, bench, refresh, retry_rejects)
        graph = draw_graph(settings, bench, remakes.apply)
        if refresh or retry_rejects:
            write_remakes(bench.storage, remakes)
        kept, made_with = bench.storage, bench.provenance()
        with record_run(kept, settings, graph.nodes(), provenance=made_with, until=until) as record:
            check_outside(settings, bench, graph, until)
            with show_plan(settings, bench, graph), treasurer.explain_stop():
                references = start_nodes(bench, settings, graph, until).collect()
            close_wishes(settings, bench)
            result = write_run(bench, settings, graph, references, record)
    return result


@contextmanager
def show_plan(settings: Settings, bench: Bench, graph: Graph) -> Iterator[None]:
    """Publish, beside the block, what is to be made and what it will cost, if anything is."""

    def publish() -> None:
        try:
            publish_plan(print_plan(draw_plan(settings)))
        except Exception as error:  # a plan is for people to look at; the run goes on without it
            with suppress(Exception):
                publish_plan(f"no plan: {error}")

    if all(is_done(bench.storage, node) for node in graph.nodes()):
        yield
        return
    context = contextvars.copy_context()
    planner = threading.Thread(target=context.run, args=(publish,), name="plan")
    planner.start()
    try:
        yield
    finally:
        planner.join()


def start_nodes(bench: Bench, settings: Settings, graph: Graph, until: str) -> Started:
    """Start every node up to a stage; what needs no tuned model is asked before training."""
    started = synthesise(bench, settings, graph, until)
    evaluation = plan_evaluation(bench, settings, graph, started, until)
    if evaluation is not None:
        evaluation.ask_before_training()
    ask_for_approval(bench, settings, graph, started, until)
    waiting = list(list_waiting(started).values())
    later = evaluation.list_asked_later() if evaluation is not None else ()
    started = train(bench, settings, graph, started, until, after=waiting, asked_later=later)
    if evaluation is not None:
        evaluation.ask_after_training()
    return report(bench, settings, graph, started, until)


def check_outside(settings: Settings, bench: Bench, graph: Graph, until: str) -> None:
    """Look at the machine, people, model and hub that this run comes to, before it starts."""
    check_machine(settings, bench, graph, until)
    if needs_approval(bench, settings, graph, until):
        check_approval(bench)
    published = graph.publish
    reached = Started().reached(until, "report")
    if published and reached and not is_done(bench.storage, published):
        check_hub(settings.publish)
    node = graph.encoding
    if settings.training is None or node is None or not Started().reached(until, "encoding"):
        return
    if not is_done(bench.storage, node):
        check_training(settings.training, bench)


def report(bench: Bench, settings: Settings, graph: Graph, started: Started, until: str) -> Started:
    """Start the node that shows what all the others did, and what pushes it, if it is to be."""
    if started.reached(until, "report"):
        started["report"] = write_report.submit(
            bench,
            graph.report,
            settings.retry,
            settings.report,
            list(started.values()),
            dump_settings(settings),
        )
        if graph.publish is not None:
            started["publish"] = publish_run.submit(
                bench,
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
    bench: Bench,
    settings: Settings,
    graph: Graph,
    references: dict[str, NodeRef],
    record: RunRecord,
) -> RunResult:
    """Write the resolved config and the summary of a run, and return its result."""
    folder = f"runs/{settings.run.name}"
    manifests = {
        name: read_manifest(bench.storage, reference.manifest)
        for name, reference in references.items()
    }
    result = RunResult(
        run=settings.run.name,
        report=bench.storage.url(f"{folder}/report.html") if "report" in references else "",
        dataset=bench.storage.url(export_folder(graph.export)) if "export" in references else "",
        model=bench.storage.url(str(manifests["training"].facts["export"]))
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
        engines_started=dict(bench.pool.starts),
    )
    summary = {
        **result.model_dump(),
        "provenance": bench.provenance(),
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
        page = bench.storage.read_bytes(str(manifests["report"].facts["page"]))
        bench.storage.write_bytes(f"{folder}/report.html", page)
        publish_report(str(manifests["report"].facts["summary"]), result.report)
    bench.storage.write_bytes(f"{folder}/config.yaml", dump_settings(settings).encode())
    bench.storage.write_bytes(f"{folder}/summary.json", json.dumps(summary, indent=1).encode())
    done = list(manifests.values())
    note_end(bench.storage, record, "finished", manifests=done, scores=result.scores)
    return result
