"""Writes a run's answers and verdicts as logs that Inspect shows, one file a model."""

from __future__ import annotations

import re
from collections.abc import Mapping

from flows.look.sheets import read_family
from flows.recipe.graph import build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings
from infra.context import Quiet
from infra.errors import ConfigError, Problem
from infra.store.manifests import NodeRef, read_manifest
from infra.store.storage import Storage
from tasks.evaluation.inspect_logs import render_log
from tasks.records import Answer, Judgement

_BEGINNING = "1970-01-01T00:00:00+00:00"
"""When a node was made that does not say so."""


def write_inspect_logs(settings: Settings, folder: str) -> None:
    """Write ``<folder>/<model>.json`` for every model that answered, and say where they are."""
    with open_context(settings, Quiet()) as context:
        done = build_graph(settings, context).references()
        logs = render_logs(context.storage, done, settings.run.name, context.versions())
    if not logs:
        todo = "`opencharacter run` makes them, `opencharacter plan` says what is missing"
        raise ConfigError(Problem("answers", "there are none yet", todo))
    out = Storage(folder)
    for name, data in logs.items():
        out.write_bytes(name, data)
        print(out.url(name))


def render_logs(
    storage: Storage, done: Mapping[str, NodeRef], run: str, versions: Mapping[str, str]
) -> dict[str, bytes]:
    """Return each model's log by the name of its file; none where nothing was answered."""
    judgements = read_family(storage, done, "judgements", Judgement)
    logs: dict[str, bytes] = {}
    for node, reference in done.items():
        if not node.startswith("answers_"):
            continue
        answers = read_family(storage, {node: reference}, "answers", Answer)
        if answers:
            model = answers[0].model
            made = read_manifest(storage, reference.manifest).provenance.get("made_at")
            name = re.sub(r"[^\w.-]+", "-", model)
            logs[f"{name}.json"] = render_log(
                model,
                answers,
                judgements,
                run=run,
                created=str(made or _BEGINNING),
                versions=versions,
            )
    return logs
