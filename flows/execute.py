"""Runs the nodes of a graph: each when what it reads is done, what has no place beside it later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prefect.futures import PrefectFuture

from flows.recipe.graph import Graph
from infra.nodes.node import Node
from infra.orchestration.retries import RetryConfig
from infra.orchestration.tasks import await_node, submit_node
from infra.store.manifests import NodeRef


class Execution:
    """Execution of a graph: the nodes that were started, by name, in order."""

    def __init__(self, graph: Graph, retry: RetryConfig) -> None:
        self._graph = graph
        self._retry = retry
        self._started: dict[str, PrefectFuture[NodeRef]] = {}

    def start(self, nodes: Iterable[Node]) -> None:
        """Start nodes, upstream first; those that are started already go on.

        What trains waits for all that asks models and does not need it: engines have no place
        beside ranks, and would have to start once more behind them. For the same reason what asks
        models waits for every training that was started before it, whether it needs it or not.
        """
        for node in nodes:
            if node.name in self._started:
                continue
            awaited = [read.name for read in node.reads()]
            if node.use == "ranks":
                awaited += [one.name for one in self._list_asking_before(node)]
            elif node.use == "models":
                awaited += [one.name for one in self._graph if one.use == "ranks"]
            after = [
                self._started[name] for name in dict.fromkeys(awaited) if name in self._started
            ]
            self._started[node.name] = submit_node(node, self._retry, after)

    def start_before(self, node: Node) -> None:
        """Start all that does not need a node."""
        self.start(one for one in self._graph if node not in trace(one))

    def settle(self, node: Node) -> bool:
        """Wait for a node that is started; tell whether it is done well."""
        future = self._started[node.name]
        future.wait()
        return future.state.is_completed()

    def collect(self) -> dict[str, NodeRef]:
        """Wait for every node; raise the error of the first that failed, upstream first."""
        for future in self._started.values():
            future.wait()
        return {name: await_node(future) for name, future in self._started.items()}

    def _list_asking_before(self, node: Node) -> Iterator[Node]:
        for one in self._graph:
            if one.use == "models" and node not in trace(one):
                yield one


def trace(node: Node) -> set[Node]:
    """Return a node and all that it reads, to the first."""
    found: set[Node] = set()
    open_nodes = [node]
    while open_nodes:
        one = open_nodes.pop()
        if one not in found:
            found.add(one)
            open_nodes += one.reads()
    return found
