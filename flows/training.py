"""Chains the training half: SFT rows to token rows to a fine-tuned, exported model."""

from __future__ import annotations

from collections.abc import Sequence

from prefect.futures import PrefectFuture

from flows.recipe.graph import Graph
from flows.recipe.settings import Settings
from flows.recipe.stages import Started
from infra.context import RunContext
from infra.store.manifests import NodeRef
from tasks.training.model.card import Upstream
from tasks.training.model.finishing import Origins
from tasks.training.task import encode_rows, train_model


def train(
    context: RunContext,
    settings: Settings,
    graph: Graph,
    started: Started,
    until: str,
    after: Sequence[PrefectFuture[NodeRef]] = (),
    asked_later: Sequence[str] = (),
) -> Started:
    """Start encoding and training behind the nodes that are started already.

    ``after`` are nodes whose engines must be done before the ranks take their memory,
    ``asked_later`` the models whose engines are asked once more when the ranks are done.
    """
    config, retry = settings.training, settings.retry
    if config is None or graph.encoding is None or graph.training is None:
        return started
    if not started.reached(until, "encoding"):
        return started

    examples = started["curation"]
    encoded = encode_rows.submit(context, graph.encoding, retry, config, examples)
    started["encoding"] = encoded
    if not started.reached(until, "training"):
        return started

    funnel = [started[name] for name in graph.funnel()]
    started["training"] = train_model.submit(
        context,
        graph.training,
        retry,
        config,
        encoded,
        examples,
        funnel,
        list_origins(settings),
        asked_later,
        after=after,
    )
    return started


def list_origins(settings: Settings) -> Origins:
    """Say what the model comes from: teachers and sources, with the licences that are known."""
    known = settings.export.licences
    roles = {settings.characters.model} if settings.characters.source is None else set()
    roles |= {
        strategy.model
        for strategy in (settings.dialogues.generate, settings.dialogues.rewrite)
        if strategy is not None
    }
    if settings.instructions.synthesis.count:
        roles.add(settings.instructions.synthesis.model)
    teachers = [
        Upstream(settings.models[role].model.rstrip("/").rsplit("/", 1)[-1], "teacher")
        for role in sorted(roles)
    ]
    sources = [
        Upstream(name, "personas" if name == "personas" else "instructions", licence)
        for name, licence in sorted(known.items())
    ]
    return Origins(settings.run.name, (*teachers, *sources))
