"""Closes a run that ended well: its result, its summary, and the pages of its folder."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict

from flows.recipe.graph import Graph
from flows.recipe.settings import Settings, dump_settings
from flows.runs.history import RunRecord, note_end
from infra.context import RunContext
from infra.orchestration.tasks import publish_report
from infra.store.manifests import Manifest, NodeRef, read_manifest
from infra.store.storage import Storage
from tasks.export.nodes import Export
from tasks.reporting.page import PAIRS_FILE


class StageCounts(BaseModel):
    """Counts of a node's rows: planned = accepted + rejected; made now, or reused."""

    model_config = ConfigDict(frozen=True)

    planned: int
    accepted: int
    rejected: int


class RunResult(BaseModel):
    """What a run came to; printed as the closing JSON line."""

    model_config = ConfigDict(frozen=True)

    run: str
    report: str
    dataset: str
    model: str
    scores: dict[str, float]
    counts: dict[str, StageCounts]
    engines_started: dict[str, int]


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


def copy_pages(storage: Storage, report: Manifest, folder: str) -> None:
    """Copy the report, and the page of pairs if there is one, to the folder of a run."""
    for fact, name in (("page", "report.html"), ("pairs", PAIRS_FILE)):
        if fact in report.facts:
            storage.write_bytes(f"{folder}/{name}", storage.read_bytes(str(report.facts[fact])))


def write_run(
    context: RunContext,
    settings: Settings,
    graph: Graph,
    references: dict[str, NodeRef],
    record: RunRecord,
) -> RunResult:
    """Write the resolved config and the summary of a run, and return its result."""
    folder = f"runs/{settings.run.name}"
    manifests = {
        name: read_manifest(context.storage, reference.manifest)
        for name, reference in references.items()
    }
    result = RunResult(
        run=settings.run.name,
        report=context.storage.url(f"{folder}/report.html") if "report" in references else "",
        dataset="".join(context.storage.url(node.folder) for node in graph.find(Export)),
        model=context.storage.url(str(manifests["training"].facts["export"]))
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
        engines_started=context.count_starts(),
    )
    summary = {
        **result.model_dump(),
        "provenance": context.provenance(),
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
        copy_pages(context.storage, manifests["report"], folder)
        publish_report(str(manifests["report"].facts["summary"]), result.report)
    context.storage.write_bytes(f"{folder}/config.yaml", dump_settings(settings).encode())
    context.storage.commit(f"{folder}/summary.json", json.dumps(summary, indent=1).encode())
    done = list(manifests.values())
    note_end(context.storage, record, "finished", manifests=done, scores=result.scores)
    return result
