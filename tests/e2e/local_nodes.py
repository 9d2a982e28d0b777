"""Starts several Ray nodes on this machine, as Ray's own tests do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tests.e2e.hidden_folders import hide

_MEMORY = 100 * 2**20
_TRIES = 3
"""A node that has not shown up after 30 s, which Ray fixes, is given up with its cluster."""


@contextmanager
def local_nodes(
    head_cpus: int, others: Sequence[dict[str, Any]], **head: Any
) -> Iterator[tuple[Any, list[Any]]]:
    """Yield a cluster and its nodes but the head, each with these arguments; end all of it.

    ``hidden`` among a node's arguments is a folder whose content it does not see, ``lacks`` is how
    variables begin that are not in its environment.
    """
    import ray

    head |= {"num_cpus": head_cpus, "object_store_memory": _MEMORY}
    cluster, nodes = _start(head, others, tries=_TRIES)
    try:
        yield cluster, nodes
    finally:
        ray.shutdown()
        cluster.shutdown()


def _start(
    head: dict[str, Any], others: Sequence[dict[str, Any]], tries: int
) -> tuple[Any, list[Any]]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        nodes = [_add(cluster, **given) for given in others]
        cluster.wait_for_nodes()
    except BaseException as error:
        cluster.shutdown()
        if tries == 1 or not isinstance(error, Exception):
            raise
        return _start(head, others, tries - 1)
    return cluster, nodes


def _add(cluster: Any, *, hidden: str | None = None, lacks: str | None = None, **given: Any) -> Any:
    with hide(Path(hidden)) if hidden is not None else nullcontext(), _without(lacks):
        return cluster.add_node(object_store_memory=_MEMORY, **given)


@contextmanager
def _without(beginning: str | None) -> Iterator[None]:
    """Have no variables in the environment that begin like this."""
    taken = {
        name: os.environ[name] for name in os.environ if beginning and name.startswith(beginning)
    }
    for name in taken:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(taken)
