"""Says which nodes a run makes again, and which it only takes from the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flows.graph import draw_graph
from flows.settings import Settings
from flows.stages import STAGES, stage_of
from infra.bench import Bench
from infra.errors import ConfigError, Problem
from infra.manifests import NodeSpec
from infra.remaking import Remakes, has_rejects, is_done, read_remakes, write_remakes
from infra.storage import Storage

Mark = Callable[[Remakes, NodeSpec], Remakes]
Ready = Callable[[Storage, NodeSpec], bool]
Found = dict[str, tuple[NodeSpec, NodeSpec]]


def mark_remakes(
    settings: Settings, bench: Bench, refresh: Sequence[str], retry_rejects: Sequence[str]
) -> None:
    """Have nodes made anew, or their rejects asked again, in this run and all later ones.

    A node that is not done yet, because an earlier run with the same wish was interrupted, is
    gone on with. Raises :class:`ConfigError` for a name that no node of the run has.
    """
    nodes = [node.stage for node in draw_graph(settings, bench).nodes()]
    wishes = {"--refresh": refresh, "--retry-rejects": retry_rejects}
    problems = [
        Problem(f"{option} {name}", "no node of this run", f"it has: {', '.join(nodes)}")
        for option, names in wishes.items()
        for name in names
        if not pick(name, nodes)
    ]
    if problems:
        raise ConfigError(*problems)
    for name in refresh:
        _mark(settings, bench, pick(name, nodes), Remakes.refresh, is_done)
    for name in retry_rejects:
        _mark(settings, bench, pick(name, nodes), Remakes.retry, has_rejects)


def check_start(settings: Settings, bench: Bench, first: str) -> None:
    """Raise :class:`ConfigError` if a node of a stage before ``first`` is not done."""
    missing = [
        node.stage
        for node in draw_graph(settings, bench).nodes()
        if STAGES.index(stage_of(node.stage)) < STAGES.index(first)
        and not is_done(bench.storage, node)
    ]
    if missing:
        what = f"not done yet with this configuration: {', '.join(missing)}"
        todo = f"leave --from out, or begin at {stage_of(missing[0])}; `plan` says why"
        raise ConfigError(Problem(f"--from {first}", what, todo))


def pick(name: str, nodes: Sequence[str]) -> list[str]:
    """Return the nodes that a name means: one node, or all of a stage; in the order given."""
    return [name] if name in nodes else [node for node in nodes if stage_of(node) == name]


def _mark(settings: Settings, bench: Bench, nodes: Sequence[str], mark: Mark, ready: Ready) -> None:
    """Mark nodes, upstream first, as marking one gives those below it other names."""
    for name in nodes:
        remakes = read_remakes(bench.storage)
        found: Found = {}

        def note(node: NodeSpec, remakes: Remakes = remakes, found: Found = found) -> NodeSpec:
            made = remakes.apply(node)
            found[node.stage] = node, made
            return made

        draw_graph(settings, bench, note)
        plain, made = found[name]
        if ready(bench.storage, made):
            write_remakes(bench.storage, mark(remakes, plain))
