"""Runs the whole pipeline as one Prefect flow: one call, one process, one result."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial

from prefect import flow

from flows.control.approval import ask_for_approval, check_approval, needs_approval
from flows.control.budget import BudgetGuard
from flows.control.display import current_watcher
from flows.control.rerun import check_reruns, close_reruns, request_reruns
from flows.control.stopping import stop_on_sigterm
from flows.execute import Execution
from flows.plan.planning import draw_plan
from flows.plan.table import print_plan
from flows.recipe.graph import Graph, build_graph
from flows.recipe.machine_checks import check_machine
from flows.recipe.opening import open_context, prepare
from flows.recipe.scoring import build_scores, prepare_scoring
from flows.recipe.settings import Settings
from flows.runs.closing import RunResult, write_run
from flows.runs.history import record_run
from infra.context import Listener, Listeners, RunContext
from infra.generation.reruns import write_reruns
from infra.locking.root_lock import hold_root
from infra.orchestration.events import StageMonitor
from infra.orchestration.tasks import PrefectListener, publish_plan
from tasks.dialogues.nodes import Dialogues, require_cast
from tasks.personas.nodes import Personas
from tasks.publishing.nodes import Publication, check_hub
from tasks.training.nodes import Encoding, Training, check_training


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
        close = partial(close_reruns, settings, context)
        return make_graph(settings, context, graph, guard, until, foresee=True, close=close)


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
        return make_graph(settings, context, graph, guard)


def make_graph(
    settings: Settings,
    context: RunContext,
    graph: Graph,
    guard: BudgetGuard,
    until: str = "report",
    *,
    foresee: bool = False,
    close: Callable[[], None] = lambda: None,
) -> RunResult:
    """Make every node of a graph, on the record, and write the run's folder.

    ``foresee`` publishes the plan of the configuration beside it; ``close`` is called once all
    nodes are made.
    """
    kept, made_with = context.storage, context.provenance()
    with record_run(kept, settings, graph.specs(), provenance=made_with, until=until) as record:
        check_outside(settings, context, graph)
        shown = show_plan(settings, graph) if foresee else nullcontext()
        with shown, guard.explain_stop():
            references = start_nodes(context, settings, graph).collect()
        close()
        return write_run(context, settings, graph, references, record)


@contextmanager
def open_run(settings: Settings, listener: Listener) -> Iterator[tuple[RunContext, BudgetGuard]]:
    """Open what a run works with, watched by all who should know of it.

    One run writes below a root at a time: others wait here, until the engines of the first are
    gone as well.
    """
    guard = BudgetGuard(settings)
    listeners = Listeners(listener, PrefectListener(), StageMonitor(), guard)
    with ExitStack() as held, open_context(settings, listeners) as context:
        name = settings.run.name
        held.enter_context(stop_on_sigterm(context.stop))
        listeners.run_started(name, context)
        began = time.monotonic()
        held.enter_context(
            hold_root(
                context.storage,
                f"run {name}",
                settings.run.other_runs,
                note=partial(listeners.node_note, name),
                stop=context.stop,
            )
        )
        context.waited_s += time.monotonic() - began
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
