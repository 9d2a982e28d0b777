"""Says which nodes a run makes again, and which it only takes from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings
from flows.recipe.stages import STAGES, stage_of
from infra.context import Quiet, RunContext
from infra.errors import ConfigError, Problem
from infra.generation.reruns import Reruns, has_rejects, read_reruns, write_reruns
from infra.store.manifests import NodeSpec, is_done

_LATER = "name a later stage with --until, or leave it out"
REFRESH, RETRY = "--refresh", "--retry-rejects"

Drawn = Mapping[str, tuple[NodeSpec, NodeSpec]]
"""Each node by name: as it is described, and as it is made."""


def check_reruns(
    settings: Settings,
    first: str,
    until: str,
    refresh: Sequence[str] = (),
    retry_rejects: Sequence[str] = (),
) -> None:
    """Raise :class:`ConfigError` for wishes that contradict each other, or cannot be met.

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
        graph = build_graph(settings, context, reruns.apply)
        names = [node.stage for node in graph.nodes()]
        late = [
            Problem(f"{option} {wish}", f"comes after the last stage to run, {until}", _LATER)
            for option, wishes in ((REFRESH, refresh), (RETRY, retry_rejects))
            for wish in wishes
            if not _reaches(pick(wish, names), until)
        ]
        if late:
            raise ConfigError(*late)
        check_start(context, graph, first)


def _reaches(nodes: Sequence[str], until: str) -> bool:
    return any(STAGES.index(stage_of(node)) <= STAGES.index(until) for node in nodes)


def request_reruns(
    settings: Settings, context: RunContext, refresh: Sequence[str], retry_rejects: Sequence[str]
) -> Reruns:
    """Return the store's reruns with nodes to be made anew, or their rejects asked again.

    Only nodes that are done now are marked. A wish stays open until a run ends well; till then
    the same wish changes nothing, so that a run can be interrupted and started again as it was.
    Raises :class:`ConfigError` for a name that no node of the run has.
    """
    reruns = kept = read_reruns(context.storage)
    if not refresh and not retry_rejects:
        return kept
    drawn = _draw(settings, context, kept)
    rows = {name: pair for name, pair in drawn.items() if pair[1].by_rows}
    problems = [
        *_check_names(REFRESH, refresh, "no node of this run", drawn),
        *_check_names(RETRY, retry_rejects, "no node of this run that asks a model", rows),
    ]
    if problems:
        raise ConfigError(*problems)
    wishes = [(REFRESH, name) for wish in refresh for name in pick(wish, list(drawn))]
    wishes += [(RETRY, name) for wish in retry_rejects for name in pick(wish, list(rows))]
    for option, name in wishes:
        # Marking a node gives those below it other names, so each is looked up anew.
        plain, _ = _draw(settings, context, reruns)[name]
        ready = is_done if option == REFRESH else has_rejects
        if kept.is_open(option, plain) or not ready(context.storage, drawn[name][1]):
            reruns = reruns.open(option, plain)
            continue
        marked = reruns.refresh(plain) if option == REFRESH else reruns.retry(plain)
        reruns = marked.open(option, plain)
    return reruns


def close_reruns(settings: Settings, context: RunContext) -> None:
    """Forget the wishes of a run that ended well: the same words mean once more from now on."""
    kept = read_reruns(context.storage)
    if kept.wishes:
        plain = [described for described, _ in _draw(settings, context, kept).values()]
        write_reruns(context.storage, kept.close(plain))


def check_start(context: RunContext, graph: Graph, first: str) -> None:
    """Raise :class:`ConfigError` if a node of a stage before ``first`` is not done."""
    missing = [
        node.stage
        for node in graph.nodes()
        if STAGES.index(stage_of(node.stage)) < STAGES.index(first)
        and not is_done(context.storage, node)
    ]
    if missing:
        what = f"not done yet with this configuration: {', '.join(missing)}"
        todo = f"leave --from out, or begin at {stage_of(missing[0])}; `plan` says why"
        raise ConfigError(Problem(f"--from {first}", what, todo))


def pick(name: str, nodes: Sequence[str]) -> list[str]:
    """Return the nodes that a name means: one node, or all of a stage; in the order given."""
    return [node for node in nodes if name in (node, stage_of(node))]


def _check_names(option: str, names: Sequence[str], what: str, drawn: Drawn) -> list[Problem]:
    todo = f"it has: {', '.join(drawn)}"
    return [
        Problem(f"{option} {name}", what, todo) for name in names if not pick(name, list(drawn))
    ]


def _draw(settings: Settings, context: RunContext, reruns: Reruns) -> Drawn:
    found: dict[str, tuple[NodeSpec, NodeSpec]] = {}

    def note(node: NodeSpec) -> NodeSpec:
        made = reruns.apply(node)
        found[node.stage] = node, made
        return made

    build_graph(settings, context, note)
    return found
