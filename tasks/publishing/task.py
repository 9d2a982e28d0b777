"""Offers the node that pushes a run's data set and model to a hub."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.context import RunContext
from infra.errors import ConfigError, Problem, StorageError
from infra.orchestration.tasks import node_task
from infra.secrets.secrets import read_secret
from infra.store.manifests import NodeRef, NodeSpec, read_manifest, write_file
from infra.store.set_store import write_set_manifest
from infra.store.storage import FileStat, Storage, digest_input, is_remote
from tasks.publishing.config import PublishConfig
from tasks.publishing.hub import Fetch, Hub, Pushed
from tasks.publishing.parcels import (
    Kind,
    Parcel,
    ParcelFile,
    describe_parcels,
    pack_dataset,
    pack_model,
)

VERSION = 1


def describe_publish(
    config: PublishConfig, export: NodeSpec, training: NodeSpec | None
) -> NodeSpec:
    """Name the node from where it pushes to and what; a dry run is a node of its own."""
    upstream = [export] if config.dataset is not None else []
    if config.model is not None and training is not None:
        upstream.append(training)
    return NodeSpec.build(
        "publish",
        VERSION,
        identity=config.knob_values("identity"),
        selection=config.knob_values("selection"),
        upstream=upstream,
    )


def check_publishing(config: PublishConfig, *, trains: bool) -> None:
    """Raise :class:`ConfigError` for what is wrong without asking the hub."""
    if not config.enabled:
        return
    if config.model is not None and not trains:
        raise ConfigError(
            Problem("publish.model", "this run trains no model", "set publish.model=null")
        )
    if not config.dry_run:
        read_secret(config.token)


def check_hub(config: PublishConfig) -> None:
    """Ask the hub whether a push can succeed: for runs that will push, before anything starts."""
    if config.enabled and not config.dry_run:
        hub = Hub(config.endpoint, read_secret(config.token), config.timeout_s)
        hub.check_access(_list_targets(config), private=config.private)


@node_task("publish")
def publish_run(
    context: RunContext,
    node: NodeSpec,
    config: PublishConfig,
    export: NodeRef,
    training: NodeRef | None,
    run: str,
) -> NodeRef:
    """Push the data set and the model, or write down what would be pushed."""
    began = time.monotonic()
    parcels = pack_parcels(context.storage, config, export, training)
    text = describe_parcels(parcels, endpoint=config.endpoint, private=config.private)
    pushed: dict[str, Pushed] = {}
    if not config.dry_run:
        hub = Hub(config.endpoint, read_secret(config.token), config.timeout_s)
        message = f"Publish run {run} (node {node.fingerprint[:12]})"
        for parcel in parcels:
            with _opening(context.storage) as fetch:
                pushed[parcel.kind] = hub.push(
                    parcel, fetch, message=message, private=config.private
                )
    listing = f"{node.folder}/{node.fingerprint}.md"
    return write_set_manifest(
        context.storage,
        node,
        [write_file(context.storage, listing, text.encode())],
        accepted=sum(len(parcel.files) for parcel in parcels),
        reasons={},
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        facts={
            "dry_run": config.dry_run,
            "listing": listing,
            **{parcel.kind: _tell(parcel, pushed.get(parcel.kind)) for parcel in parcels},
        },
    )


def pack_parcels(
    storage: Storage, config: PublishConfig, export: NodeRef, training: NodeRef | None
) -> list[Parcel]:
    """Pack what the configuration names out of what the run made."""
    parcels = []
    if config.dataset is not None:
        manifest = read_manifest(storage, export.manifest)
        parcels.append(pack_dataset(storage, config.dataset, manifest))
    if config.model is not None and training is not None:
        manifest = read_manifest(storage, training.manifest)
        parcels.append(pack_model(storage, config.model, manifest))
    return parcels


def _list_targets(config: PublishConfig) -> list[tuple[Kind, str]]:
    named: dict[Kind, str | None] = {"dataset": config.dataset, "model": config.model}
    return [(kind, name) for kind, name in named.items() if name is not None]


@contextmanager
def _opening(storage: Storage) -> Iterator[Fetch]:
    """Lend a function that gives files one at a time, checked against their manifests."""
    with TemporaryDirectory(prefix="opencharacter-publish-") as scratch:

        @contextmanager
        def fetch(file: ParcelFile) -> Iterator[Path]:
            if not is_remote(storage.root):
                yield _check(storage, file, Path(storage.url(file.path)))
                return
            local = Path(scratch) / "file"
            try:
                with suppress(FileNotFoundError):  # told below
                    storage.download(file.path, local)
                yield _check(storage, file, local)
            finally:
                local.unlink(missing_ok=True)

        yield fetch


def _check(storage: Storage, file: ParcelFile, local: Path) -> Path:
    if not local.is_file():
        raise StorageError(f"{storage.url(file.path)} is named by its manifest but gone")
    stat = FileStat(str(local), local.stat().st_size, "")
    if file.digest and digest_input(stat) != file.digest:
        raise StorageError(
            f"{storage.url(file.path)} is not what its manifest names; make its node anew"
        )
    return local


def _tell(parcel: Parcel, pushed: Pushed | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "repository": parcel.repository,
        "files": len(parcel.files),
        "bytes": parcel.size,
    }
    return told | ({"commit": pushed.commit, "url": pushed.url} if pushed else {})
