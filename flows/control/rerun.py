"""Says which nodes a run makes again, and which it only takes from the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings
from flows.recipe.stages import STAGES, reaches
from infra.context import Quiet, RunContext
from infra.errors import ConfigError, Problem
from infra.generation.reruns import Reruns, has_rejects, read_reruns, write_reruns
from infra.nodes.node import Node, RowNode
from infra.store.manifests import is_done

_LATER = "name a later stage with --until, or leave it out"
REFRESH, RETRY = "--refresh", "--retry-rejects"


def check_reruns(
    settings: Settings,
    first: str,
    until: str,
    refresh: Sequence[str] = (),
    retry_rejects: Sequence[str] = (),
) -> None:
    """Raise :class:`ConfigError` for requests that contradict each other, or cannot be met.

    Nothing is written down: that is for the run itself, once it has begun.
    """
    for option, stage in (("--from", first), ("--until", until)):
        if stage not in STAGES:
            todo = f"one of {', '.join(STAGES)}"
            raise ConfigError(Problem(f"{option} {stage}", "is no stage of a run", todo))
    if STAGES.index(first) > STAGES.index(until):
        what = f"comes after the last stage to run, {until}: nothing would be made"
        raise ConfigError(Problem(f"--from {first}", what, "leave one out, or change their order"))
    if not refresh and not retry_rejects and first == STAGES[0]:
        return
    with open_context(settings, Quiet()) as context:
        reruns = request_reruns(settings, context, refresh, retry_rejects)
        graph = build_graph(settings, context, reruns)
        late = [
            Problem(f"{option} {request}", f"comes after the last stage to run, {until}", _LATER)
            for option, requests in ((REFRESH, refresh), (RETRY, retry_rejects))
            for request in requests
            if not any(reaches(until, node.stage) for node in pick(request, graph))
        ]
        if late:
            raise ConfigError(*late)
        check_start(context, graph, first)


def request_reruns(
    settings: Settings, context: RunContext, refresh: Sequence[str], retry_rejects: Sequence[str]
) -> Reruns:
    """Return the store's reruns with nodes to be made anew, or their rejects asked again.

    Only nodes that are done now are marked. A request stays open until a run ends well; till then
    the same request changes nothing, so that a run can be interrupted and started again as it was.
    Raises :class:`ConfigError` for a name that no node of the run has.
    """
    reruns = kept = read_reruns(context.storage)
    if not refresh and not retry_rejects:
        return kept
    graph = build_graph(settings, context, kept)
    rows = [node for node in graph if isinstance(node, RowNode)]
    problems = [
        *_check_names(REFRESH, refresh, "no node of this run", list(graph)),
        *_check_names(RETRY, retry_rejects, "no node of this run that asks a model", rows),
    ]
    if problems:
        raise ConfigError(*problems)
    requests = [(REFRESH, node) for request in refresh for node in pick(request, graph)]
    requests += [(RETRY, node) for request in retry_rejects for node in pick(request, rows)]
    for option, node in requests:
        # Marking a node gives those below it other names, so each is looked up anew.
        plain = build_graph(settings, context, reruns)[node.name].described
        ready = is_done if option == REFRESH else has_rejects
        if kept.is_open(option, plain) or not ready(context.storage, node.spec):
            reruns = reruns.open(option, plain)
            continue
        marked = reruns.refresh(plain) if option == REFRESH else reruns.retry(plain)
        reruns = marked.open(option, plain)
    return reruns


def close_reruns(settings: Settings, context: RunContext) -> None:
    """Forget the requests of a run that ended well: the same words mean once more from now on."""
    kept = read_reruns(context.storage)
    if kept.requests:
        plain = [node.described for node in build_graph(settings, context, kept)]
        write_reruns(context.storage, kept.close(plain))


def check_start(context: RunContext, graph: Graph, first: str) -> None:
    """Raise :class:`ConfigError` if a node of a stage before ``first`` is not done."""
    missing = [
        node
        for node in graph
        if node.stage != first and reaches(first, node.stage) and node.find() is None
    ]
    if missing:
        what = f"not done yet with this configuration: {', '.join(node.name for node in missing)}"
        todo = f"leave --from out, or begin at {missing[0].stage}; `plan` says why"
        raise ConfigError(Problem(f"--from {first}", what, todo))


def pick(name: str, nodes: Iterable[Node]) -> list[Node]:
    """Return the nodes that a name means: one node, or all of a stage; in the order given."""
    return [node for node in nodes if name in (node.name, node.stage)]


def _check_names(
    option: str, names: Sequence[str], what: str, nodes: Sequence[Node]
) -> list[Problem]:
    todo = f"it has: {', '.join(node.name for node in nodes)}"
    return [Problem(f"{option} {name}", what, todo) for name in names if not pick(name, nodes)]
