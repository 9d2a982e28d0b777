"""Keeps on record in the store which requests lie in which batch of a vendor.

A record is written before a batch is sent, when its file is there, and when it runs. A run that
was killed finds its batches so and fetches them; nothing is paid twice. Records stay as long as
vendors keep what batches brought back: rows that are asked for again meanwhile cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.engines.endpoint.wire import EndpointSettings
from infra.store.fingerprints import hash_parts
from infra.store.storage import Storage

FOLDER = "batches"
KEPT = timedelta(days=30)
_SUFFIX = ".json"


class BatchRecord(BaseModel):
    """What is known of one batch.

    Attributes:
        name: Ours; the vendor's metadata hold it too.
        address: Of the API, without a secret.
        digest: Of the requests' file.
        requests: Their names (``infra.engines.batch.wire.name_request``).
        file_id: The vendor's name of the file, once it was taken.
        batch_id: The vendor's name of the batch, once it was made.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    address: str
    model: str
    made_at: datetime
    digest: str
    requests: tuple[str, ...]
    file_id: str = ""
    batch_id: str = ""

    @property
    def age_s(self) -> float:
        """Return how long ago it was written first."""
        return (datetime.now(UTC) - self.made_at).total_seconds()


class BatchJournal:
    """Records of one model at one endpoint; of two that hold a request the newer counts."""

    def __init__(self, storage: Storage, settings: EndpointSettings) -> None:
        self._storage = storage
        # Not as stages name their folders, so that nobody takes a record for a manifest.
        mark = hash_parts(settings.address, settings.model)[:16]
        self._folder = f"{FOLDER}/endpoint-{mark}"
        self._holders: dict[str, BatchRecord] = {}

    def read(self) -> None:
        """Read what earlier runs left; what vendors keep no longer is removed."""
        records = []
        for stat in self._storage.list(self._folder, _SUFFIX):
            try:
                record = BatchRecord.model_validate_json(self._storage.read_bytes(stat.path))
            except (ValidationError, FileNotFoundError):
                continue
            if record.age_s > KEPT.total_seconds():
                self._storage.remove(stat.path)
            else:
                records.append(record)
        for record in sorted(records, key=lambda record: record.made_at):
            self._hold(record)

    def find(self, request: str) -> BatchRecord | None:
        """Return the batch that holds a request."""
        return self._holders.get(request)

    def forget(self, requests: Iterable[str]) -> None:
        """Let requests be asked anew: their batch did not answer them."""
        for request in requests:
            self._holders.pop(request, None)

    def write(self, record: BatchRecord) -> None:
        """Put a record into the store, or a newer state of it in its place."""
        self._storage.write_bytes(self._path(record), record.model_dump_json().encode())
        self._hold(record)

    def remove(self, record: BatchRecord) -> None:
        """Take a record out: there is no such batch."""
        self._storage.remove(self._path(record))
        self.forget(
            request
            for request in record.requests
            if (held := self._holders.get(request)) is not None and held.name == record.name
        )

    def _hold(self, record: BatchRecord) -> None:
        self._holders.update(dict.fromkeys(record.requests, record))

    def _path(self, record: BatchRecord) -> str:
        return f"{self._folder}/batch-{record.name}{_SUFFIX}"
