"""Checks that what a run will start has a place on what there is to compute on.

Ray would queue what never fits, without a word, until a timeout. What is checked is what this run
has still to make: engines of nodes that are done, or beyond ``--until``, need no place. Machines of
a cluster are asked as well whether they see what the driver sees.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from flows.recipe.graph import Graph
from flows.recipe.settings import Settings
from infra.cluster.devices import Devices
from infra.cluster.node_checks import Question
from infra.context import RunContext
from infra.engines.config import ModelConfig
from infra.errors import ConfigError, Problem
from infra.generation.engine_pool import CPUS_PER_ENGINE
from infra.secrets.s3_credentials import name_endpoint


def check_machine(settings: Settings, context: RunContext, graph: Graph) -> None:
    """Check this machine now, or the cluster that is to be joined as soon as it is.

    Raises :class:`ConfigError` with everything that has no place.
    """
    todo = [node for node in graph if node.find() is None]
    loaded = {node.loads for node in todo if node.loads is not None}
    if not loaded:
        return
    roles = {node.engine for node in todo if node.engine is not None}
    trains = any(node.use == "ranks" for node in todo)
    note = partial(context.listener.node_note, "cluster")
    context.cluster.probe_at_start(ask_of_nodes(settings, context, loaded), note)
    if not settings.ray.grows:
        context.cluster.check_at_start(partial(_refuse_misfits, settings, roles, trains))


def ask_of_nodes(settings: Settings, context: RunContext, roles: Collection[str]) -> Question:
    """Return what models of these roles need of every machine that they may be loaded on."""
    used = {role: settings.models[role] for role in sorted(roles) if role in settings.models}
    return Question(
        context.storage,
        models={
            role: model.model
            for role, model in used.items()
            if model.engine == "vllm" and Path(model.model).exists()
        },
        endpoints={role: model.base_url for role, model in used.items() if model.base_url},
        store_endpoint=name_endpoint(),
    )


def _refuse_misfits(
    settings: Settings, roles: Collection[str], trains: bool, devices: Devices
) -> None:
    problems = list(find_misfits(settings, roles, trains, devices))
    if problems:
        raise ConfigError(*problems)


def find_misfits(
    settings: Settings, roles: Collection[str], trains: bool, devices: Devices
) -> Iterator[Problem]:
    """Yield what has no place: engines of these roles, and the ranks of a training."""
    for role in sorted(roles):
        if role in settings.models and settings.models[role].engine == "vllm":
            yield from _check_engines(f"models.{role}", settings.models[role], devices)
    if trains and settings.training is not None:
        yield from _check_ranks(settings.training.workers, devices)


def _check_engines(where: str, model: ModelConfig, devices: Devices) -> Iterator[Problem]:
    span, wanted = model.tensor_parallel, model.replicas
    if not devices.on_gpus and devices.build is not None and devices.build.kind != "cpu":
        yield Problem(
            where,
            f"{devices.where} has no GPU that {devices.build} can use",
            "fix the driver (nvidia-smi), install the build for CPUs, or join a cluster"
            " (ray.address)",
        )
        return
    if span > max(1, devices.most_gpus):
        yield Problem(
            f"{where}.tensor_parallel",
            f"one engine spans {span} GPUs of one node, {devices.describe_gpus()}"
            + _explain_cpus(devices),
            f"at most {max(1, devices.most_gpus)}, or join a cluster with larger nodes",
        )
        return
    places = (
        devices.count_places(span)
        if devices.on_gpus
        else sum(int(node.cpus / CPUS_PER_ENGINE) for node in devices.nodes)
    )
    if wanted > max(1, places):
        each = f" of {span} GPUs each" if span > 1 else ""
        what = f"{wanted} engines{each}, {_describe(devices)}"
        yield Problem(f"{where}.replicas", what, f"at most {max(1, places)}")


def _check_ranks(workers: int | str, devices: Devices) -> Iterator[Problem]:
    most = devices.gpus if devices.on_gpus else max(1, devices.cpus)
    if isinstance(workers, str) or workers <= most:
        return
    what = f"{workers} ranks, {_describe(devices)}"
    yield Problem("training.workers", what, f"at most {most}, or auto")


def _describe(devices: Devices) -> str:
    if devices.on_gpus:
        return devices.describe_gpus()
    return f"{devices.where} has {devices.cpus} CPUs{_explain_cpus(devices)}"


def _explain_cpus(devices: Devices) -> str:
    """Say why no GPU counts on this machine, as it may well have some."""
    build = devices.build
    return f"; {build} computes on no GPU" if build is not None and build.kind == "cpu" else ""
