"""Offers the node that pushes a run's data set and model to a hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.errors import ConfigError, Problem, StorageError
from infra.nodes.node import JobNode, JobOutput, Node
from infra.nodes.rows import Rows
from infra.secrets.secrets import read_secret
from infra.store.manifests import write_file
from infra.store.storage import FileStat, Storage, digest_input, is_remote
from infra.temporary_folders import temporary_folder
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Publication(JobNode):
    """Push of a run's data set and model, or the list of what would be pushed.

    A dry run is a node of its own; ``run_name`` is for the commit's message.
    """

    kind = "publish"
    stage = "report"
    version = 1
    record = ParcelFile

    config: PublishConfig
    export: Node
    training: Node | None
    run_name: str

    def identity(self) -> Mapping[str, Any]:
        """Return where it pushes to, and how."""
        return self.config.knob_values("identity")

    def selection(self) -> Mapping[str, Any]:
        """Return what it pushes."""
        return self.config.knob_values("selection")

    def upstream(self) -> Sequence[Node]:
        """Return what is pushed."""
        dataset = [self.export] if self.config.dataset is not None else []
        trained = self.config.model is not None and self.training is not None
        return [*dataset, *([self.training] if trained and self.training else [])]

    def reads(self) -> Sequence[Node]:
        """Return what is pushed, and the model in any case: nothing leaves before a run is done."""
        return [self.export, *([self.training] if self.training else [])]

    def run(self, given: Rows) -> JobOutput:
        """Push the data set and the model, or write down what would be pushed."""
        storage, config = self.context.storage, self.config
        parcels = self._pack()
        text = describe_parcels(parcels, endpoint=config.endpoint, private=config.private)
        pushed: dict[str, Pushed] = {}
        if not config.dry_run:
            hub = Hub(config.endpoint, read_secret(config.token), config.timeout_s)
            message = f"Publish run {self.run_name} (node {self.spec.fingerprint[:12]})"
            for parcel in parcels:
                with _opening(storage) as fetch:
                    pushed[parcel.kind] = hub.push(
                        parcel, fetch, message=message, private=config.private
                    )
        listing = f"{self.spec.folder}/{self.spec.fingerprint}.md"
        return JobOutput(
            [write_file(storage, listing, text.encode())],
            sum(len(parcel.files) for parcel in parcels),
            facts={
                "dry_run": config.dry_run,
                "listing": listing,
                **{parcel.kind: _tell(parcel, pushed.get(parcel.kind)) for parcel in parcels},
            },
        )

    def _pack(self) -> list[Parcel]:
        storage, parcels = self.context.storage, []
        if self.config.dataset is not None:
            parcels.append(pack_dataset(storage, self.config.dataset, self.export.manifest))
        if self.config.model is not None and self.training is not None:
            parcels.append(pack_model(storage, self.config.model, self.training.manifest))
        return parcels


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


def _list_targets(config: PublishConfig) -> list[tuple[Kind, str]]:
    named: dict[Kind, str | None] = {"dataset": config.dataset, "model": config.model}
    return [(kind, name) for kind, name in named.items() if name is not None]


@contextmanager
def _opening(storage: Storage) -> Iterator[Fetch]:
    """Lend a function that gives files one at a time, checked against their manifests."""
    with temporary_folder("publish") as scratch:

        @contextmanager
        def fetch(file: ParcelFile) -> Iterator[Path]:
            if not is_remote(storage.root):
                yield _check(storage, file, Path(storage.url(file.path)))
                return
            local = scratch / "file"
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
