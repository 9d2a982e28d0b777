"""Finishes a training: exports the weights, checks the export, and writes its card.

What training left is not believed: the exported folder is loaded anew and must give the loss of
the last evaluation, and the engine that will serve it must load it and end its answers.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.context import RunContext, context_length
from infra.engines.config import ModelConfig
from infra.generation.cluster_jobs import run_on_cluster
from infra.models.exported import digest_file, publish_export, seal_export, withdraw_export
from infra.models.folders import peek_model
from infra.paths import require_path
from infra.rendering.encoder import PromptEncoder, load_tokenizer
from infra.store.manifests import (
    Manifest,
    NodeRef,
    NodeSpec,
    PartRef,
    digest_bytes,
    read_manifest,
    refer_to_file,
)
from infra.store.storage import Storage, is_remote
from infra.temporary_folders import temporary_folder
from tasks.records import Example
from tasks.training.config import TrainingConfig
from tasks.training.curves import draw_curves
from tasks.training.model.card import (
    DataFacts,
    ModelCardFacts,
    ResultFacts,
    describe_settings,
    describe_stage,
    render_model_card,
)
from tasks.training.model.export import ExportPlan, assemble_export
from tasks.training.model.export_checks import (
    EndingFacts,
    LossFacts,
    check_endings,
    check_loss,
    measure_endings,
    measure_export,
)
from tasks.training.model.export_errors import ExportError
from tasks.training.model.export_weights import WrittenWeights
from tasks.training.model.gguf_checks import check_gguf
from tasks.training.model.gguf_export import GgufPlan, name_gguf, write_gguf
from tasks.training.origins import Origins, Upstream
from tasks.training.ranks.job import TrainJob, TrainOutcome
from tasks.training.ranks.metrics import read_metrics
from tasks.training.ranks.samples import Probe, Sample, choose_probes, load_samples
from tasks.training.rows.templates import ChatFormat, choose_format

_CARD, _CURVES = "README.md", "curves.png"
_ENDING_PROBES = 32


_RELOAD = "export_check"
"""Names the progress of the reload: under the training's own name it would pay for all ranks."""


@dataclass(frozen=True)
class Finishing:
    """Training that is over, with what its export needs to know."""

    context: RunContext
    role: str
    node: NodeSpec
    job: TrainJob
    outcome: TrainOutcome
    funnel: Sequence[NodeRef]
    origins: Origins


@dataclass(frozen=True, slots=True)
class Finished:
    """Checked export: its files, and what the manifest tells of it."""

    parts: tuple[PartRef, ...]
    facts: dict[str, Any]


def finish_model(finishing: Finishing, encoded: Manifest, examples: Sequence[Example]) -> Finished:
    """Export, check and describe the trained model; nothing is declared done that is not sound.

    The export is checked where it will stay, for the engine may run on another machine; one that
    fails is withdrawn. Raises what :mod:`tasks.training.model.export_errors` names when the export
    is not what was trained.
    """
    context, job, node = finishing.context, finishing.job, finishing.node
    storage = context.storage
    chat = choose_chat(job)
    path = f"{node.folder}/{node.fingerprint}"
    tuned = serve_as(context, job, storage.url(path))
    probes = choose_ending_probes(job, chat, examples)
    if probes:
        context.pool.get_ready(tuned)
    written, parts = _export(finishing, chat, path)
    context.add_model(finishing.role, tuned)
    try:
        reloaded = _check_reload(finishing, tuned)
        endings = _check_serving(finishing, probes)
    except ExportError:
        withdraw_export(storage, path)
        raise
    facts = _describe(finishing, encoded, written.parameters, chat, reloaded, endings)
    template = require_path(job.config.card, "training.card").read_text(encoding="utf-8")
    storage.write_bytes(f"{path}/{_CARD}", render_model_card(facts, template).encode())
    records = [asdict(record) for record in read_metrics(storage, job.metrics)]
    storage.write_bytes(f"{path}/{_CURVES}", draw_curves(records, "png"))
    curves = draw_curves(records, "svg")
    storage.write_bytes(f"{path}.curves.svg", curves)
    told = refer_to_file(storage, f"{path}.curves.svg", digest_bytes(curves), 0, "file")
    return Finished(
        parts=(*parts, told),
        facts={
            "export": path,
            "base": context.model_label(job.config.model),
            "curves": f"{path}.curves.svg",
            "metrics": job.metrics,
            "samples": job.samples if job.probes else None,
            "parameters": written.parameters,
            "template": chat.name,
            "loss_reloaded": reloaded.loss if reloaded else None,
            "answers_ended": endings.share if endings else None,
            "answers_asked": endings.asked if endings else 0,
            **asdict(finishing.outcome),
        },
    )


def choose_chat(job: TrainJob) -> ChatFormat:
    """Return the chat format that the job's base model is trained in."""
    return choose_format(load_tokenizer(job.base, job.revision), job.config.template)


def choose_ending_probes(
    job: TrainJob, chat: ChatFormat, examples: Sequence[Example], characters: int = _ENDING_PROBES
) -> tuple[Probe, ...]:
    """Choose one question each to up to 32 held-out characters, rendered as they will be served."""
    tokenizer = load_tokenizer(job.base, job.revision)
    encoder = PromptEncoder.from_tokenizer(tokenizer, chat.serving_template)
    return choose_probes(
        examples,
        encoder.encode,
        characters=characters,
        seed=job.config.seed,
        max_prompt_tokens=max(1, job.config.max_length - job.config.samples.max_new_tokens),
    )


def serve_as(context: RunContext, job: TrainJob, address: str) -> ModelConfig:
    """Run the export as the base model is run: it has the same shape."""
    return context.models[job.config.model].run_export(address)


def _export(
    finishing: Finishing, chat: ChatFormat, path: str
) -> tuple[WrittenWeights, tuple[PartRef, ...]]:
    """Put the export where it stays, sealed; what people read of it comes later."""
    job, storage = finishing.job, finishing.context.storage
    plan = ExportPlan(str(peek_model(job.base)), job.revision, chat, job.config.export_dtype)
    with _open_scratch(storage, path) as scratch:
        target = scratch / "export"
        written = assemble_export(_fetch_weights(finishing, scratch), target, plan)
        gguf = _write_gguf(finishing, target)
        digest = digest_file(gguf) if gguf is not None else ""
        seal_export(
            target,
            fingerprint=finishing.node.fingerprint,
            base=job.base_identity,
            dtype=job.config.export_dtype,
            parameters=written.parameters,
            template=chat.name,
            beside=(_CARD, _CURVES, *((gguf.name,) if gguf is not None else ())),
        )
        parts = publish_export(storage, path, target)
    if gguf is not None:
        beside = refer_to_file(storage, f"{path}/{gguf.name}", digest, 0, "file")
        parts = (*parts, beside)
    return written, parts


def _write_gguf(finishing: Finishing, folder: Path) -> Path | None:
    """Write and check the GGUF file of an export, if one is wanted."""
    config = finishing.job.config
    if config.gguf == "none":
        return None
    plan = GgufPlan(config.gguf, _name_model(finishing), config.licence)
    path = write_gguf(folder, plan)
    check_gguf(path, folder)
    return path


def _name_model(finishing: Finishing) -> str:
    label = finishing.context.model_label(finishing.job.config.model)
    return f"{finishing.origins.name}-{label}"


@contextmanager
def _open_scratch(storage: Storage, path: str) -> Iterator[Path]:
    """Make a folder beside where an export goes, and remove it.

    A system's own folder for such things may be small, and lies on another disk.
    """
    if is_remote(storage.root):
        with temporary_folder("finishing") as name:
            yield name
        return
    target = Path(storage.url(path))
    scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    scratch.mkdir(parents=True)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch_weights(finishing: Finishing, scratch: Path) -> Path:
    storage, final = finishing.context.storage, finishing.outcome.final
    local = Path(storage.url(final))
    if local.is_dir():
        return local
    target = scratch / "trained"
    target.mkdir()
    for path in storage.walk(final):
        storage.download(path, target / path.rsplit("/", 1)[-1])
    return target


def _check_reload(finishing: Finishing, tuned: ModelConfig) -> LossFacts | None:
    """Load the export anew, where the ranks were, and compare its loss with their last."""
    job, expected = finishing.job, finishing.outcome.eval_loss_after
    if job.validation is None or expected is None:
        return None
    context = finishing.context
    found = run_on_cluster(
        context.pool,
        measure_export,
        tuned.model,
        context.storage,
        job.validation,
        stage=_RELOAD,
        listener=context.listener,
        stop=context.stop,
    )
    check_loss(found, expected)
    return found


def _check_serving(finishing: Finishing, probes: Sequence[Probe]) -> EndingFacts | None:
    """Load the export in the engine that will serve it; it must end its answers by itself.

    The engine stays open for the stages that ask the model.
    """
    if not probes:
        return None
    context, role, job = finishing.context, finishing.role, finishing.job
    try:
        with context.pool.use(role):
            found = asyncio.run(
                measure_endings(
                    context.pool.engine(role),
                    [probe.token_ids for probe in probes],
                    max_new_tokens=job.config.samples.max_new_tokens,
                    seed=job.config.seed,
                    temperature=job.config.samples.temperature,
                )
            )
        check_endings(found)
    except BaseException:
        context.pool.close_model(role)
        raise
    return found


def _describe(
    finishing: Finishing,
    encoded: Manifest,
    parameters: int,
    chat: ChatFormat,
    reloaded: LossFacts | None,
    endings: EndingFacts | None,
) -> ModelCardFacts:
    context, job, outcome = finishing.context, finishing.job, finishing.outcome
    config: TrainingConfig = job.config
    base = context.models[config.model]
    train, validation = encoded.facts["train"], encoded.facts["validation"]
    base_row = Upstream(
        context.model_label(config.model), "base model", read_licence(peek_model(base.model))
    )
    manifests = [read_manifest(context.storage, node.manifest) for node in finishing.funnel]
    return ModelCardFacts(
        name=_name_model(finishing),
        run=finishing.node.fingerprint[:12],
        licence=config.licence,
        demo=context.uses_demo_models(),
        dtype=config.export_dtype,
        parameters=parameters,
        context_tokens=context_length(base),
        chat_format=chat.name,
        upstream=(base_row, *finishing.origins.upstream),
        stages=tuple(describe_stage(manifest) for manifest in (*manifests, encoded)),
        data=DataFacts(
            train_examples=train["examples"],
            validation_examples=validation["examples"],
            train_tokens=train["tokens"],
            trained_tokens=train["trained_tokens"],
            validation_tokens=validation["tokens"],
            packed_rows=train["rows"] if config.packing else None,
        ),
        settings=describe_settings(config),
        results=ResultFacts(
            loss_before=outcome.eval_loss_before,
            loss_after=outcome.eval_loss_after,
            loss_reloaded=reloaded.loss if reloaded else None,
            steps=outcome.steps,
            tokens=outcome.tokens,
            seconds=outcome.seconds,
            hardware=f"{outcome.ranks} ranks",
            answers_ended=endings.share if endings else None,
            answers_asked=endings.asked if endings else 0,
        ),
        samples=_read_samples(finishing),
        curves=_CURVES,
        gguf=name_gguf(config.gguf) if config.gguf != "none" else None,
        lora=config.lora is not None,
    )


def _read_samples(finishing: Finishing) -> tuple[Sample, ...]:
    job = finishing.job
    if not job.probes:
        return ()
    try:
        text = finishing.context.storage.read_bytes(job.samples).decode()
    except FileNotFoundError:
        return ()
    return tuple(item for item in load_samples(text) if item.step == finishing.outcome.steps)


def read_licence(folder: Path) -> str | None:
    """Return the licence that a model folder's own card names in its front matter, if any."""
    import yaml

    for card in (folder / "README.md", folder.parent / "README.md"):
        if not card.is_file():
            continue
        _, _, rest = card.read_text(encoding="utf-8", errors="replace").partition("---\n")
        front, _, _ = rest.partition("\n---")
        try:
            found = yaml.safe_load(front)
        except yaml.YAMLError:
            continue
        if isinstance(found, dict) and isinstance(found.get("license"), str):
            return str(found["license"])
    return None
