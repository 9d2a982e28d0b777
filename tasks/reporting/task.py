"""Offers the node that writes the report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from infra.bench import Bench
from infra.manifests import Manifest, NodeRef, NodeSpec, read_manifest, write_file
from infra.orchestration import node_task
from infra.paths import require_path
from infra.reading import read_accepted, read_rejected_frame
from infra.set_store import write_set_manifest
from tasks.records import Character, Dialogue
from tasks.reporting.config import ReportConfig
from tasks.reporting.page import (
    RejectGroup,
    ReportFacts,
    ShownDialogue,
    ShownSample,
    StageLine,
    TrainingLine,
    render_report,
    spread,
)

VERSION = 1


def describe_report(config: ReportConfig, upstream: Sequence[NodeSpec]) -> NodeSpec:
    """Name the node from its knobs, its template's content and what it shows."""
    return NodeSpec.build(
        "report",
        VERSION,
        identity={**config.knob_values("identity"), "template": _read_template(config)},
        selection=config.knob_values("selection"),
        upstream=upstream,
    )


@node_task("report")
def write_report(
    bench: Bench,
    node: NodeSpec,
    config: ReportConfig,
    stages: Sequence[NodeRef],
    characters: NodeRef,
    dialogues: Sequence[NodeRef],
) -> NodeRef:
    """Write the page of a run from the manifests and rows of its nodes."""
    began = time.monotonic()
    manifests = [read_manifest(bench.storage, reference.manifest) for reference in stages]
    facts = ReportFacts(
        title=config.title,
        fingerprint=node.fingerprint,
        demo_teacher=bench.uses_demo_models(),
        models=tuple(
            f"{role}: {bench.model_label(role)} ({model.engine})"
            for role, model in sorted(bench.models.items())
        ),
        versions=tuple(bench.versions().items()),
        stages=tuple(_describe_stage(manifest) for manifest in manifests),
        rejects=tuple(_list_rejects(bench, stages, config.rejects)),
        dialogues=tuple(_choose_dialogues(bench, characters, dialogues, config.dialogues)),
        training=next(
            (_describe_training(bench, found) for found in manifests if found.stage == "training"),
            None,
        ),
    )
    page = render_report(facts, _read_template(config)).encode()
    path = f"{node.folder}/{node.fingerprint}.html"
    return write_set_manifest(
        bench.storage,
        node,
        [write_file(bench.storage, path, page)],
        accepted=1,
        reasons={},
        provenance=bench.provenance(),
        seconds=time.monotonic() - began,
        facts={"page": path},
    )


def _read_template(config: ReportConfig) -> str:
    return require_path(config.template, "report.template").read_text(encoding="utf-8")


def _describe_stage(manifest: Manifest) -> StageLine:
    counts, usage = manifest.counts, manifest.usage
    return StageLine(
        name=manifest.stage.replace("_", " "),
        planned=counts.planned,
        accepted=counts.accepted,
        rejected=counts.rejected,
        requests=usage.requests,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        completion_tokens=usage.completion_tokens,
        seconds=usage.seconds,
    )


def _describe_training(bench: Bench, manifest: Manifest) -> TrainingLine:
    facts = manifest.facts
    curves = bench.storage.read_bytes(str(facts["curves"])).decode()
    return TrainingLine(
        base=str(facts["base"]),
        model=bench.storage.url(str(facts["export"])),
        steps=int(facts["steps"]),
        epochs=float(facts["epochs"]),
        tokens=int(facts["tokens"]),
        seconds=float(facts["seconds"]),
        ranks=int(facts["ranks"]),
        loss_before=facts["eval_loss_before"],
        loss_after=facts["eval_loss_after"],
        answers_ended=facts["answers_ended"],
        answers_asked=int(facts["answers_asked"]),
        # Drawn by us from numbers alone; the XML header has no place inside a page.
        curves=Markup(curves[curves.index("<svg") :]),
        samples=tuple(_read_samples(bench, facts.get("samples"), int(facts["steps"]))),
    )


def _read_samples(bench: Bench, path: str | None, step: int) -> Iterator[ShownSample]:
    if path is None:
        return
    for line in bench.storage.read_bytes(path).decode().split("\n"):
        if line and (sample := json.loads(line))["step"] == step:
            yield ShownSample(sample["question"], sample["answer"])


def _list_rejects(bench: Bench, stages: Sequence[NodeRef], each: int) -> Iterator[RejectGroup]:
    for reference in stages:
        if not reference.rejected:
            continue
        frame = read_rejected_frame(bench.storage, reference)
        for (reason,), group in frame.group_by("reason", maintain_order=True):
            examples = tuple(str(text)[:600] for text in group["detail"].head(each).to_list())
            yield RejectGroup(reference.stage, str(reason), group.height, examples)


def _choose_dialogues(
    bench: Bench, characters: NodeRef, dialogues: Sequence[NodeRef], count: int
) -> Iterator[ShownDialogue]:
    cast = {item.key: item for item in read_accepted(bench.storage, characters, Character)}
    for reference in dialogues:
        played = read_accepted(bench.storage, reference, Dialogue)
        for item in spread(played, count // max(len(dialogues), 1)):
            actor = cast[item.character_key]
            yield ShownDialogue(
                key=item.key,
                strategy=item.strategy,
                corpus=item.corpus,
                name=actor.name,
                persona=actor.persona,
                profile=actor.profile,
                turns=item.turns,
            )
