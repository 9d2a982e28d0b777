"""Writes, opens and collates rows of token ids: Arrow streams that are memory-mapped.

A row is one packed sequence, ``[tokens]`` without padding:

* ``input_ids``: the token ids of its documents, one after another;
* ``labels``: the same where a token carries loss, else -100;
* ``position_ids``: 0, 1, 2, … anew for every document, which alone tells where one ends.

Models of transformers build the block-diagonal causal mask from ``position_ids`` when they get no
``attention_mask`` (``masking_utils.find_packed_sequence_indices``, under sdpa, eager and flex).
Flash attention does so for one row a batch only: give it :func:`collate_flat`.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from infra.errors import StorageError
from infra.models.node_cache import find_kept, hold, make_room
from infra.paths import user_cache
from infra.store.manifests import PartRef
from infra.store.storage import FileStat, Storage, digest_input, is_remote

IGNORED = -100
"""The label of a token without loss, as PyTorch's cross entropy leaves it out."""

SCHEMA = pa.schema(
    [pa.field(name, pa.list_(pa.int32())) for name in ("input_ids", "labels", "position_ids")]
)
_BATCH_TOKENS = 1 << 20

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class TokenDocument:
    """One document of a row: token ids and labels, both ``[tokens]``, int32."""

    input_ids: Ids
    labels: Ids


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Counts of a file's content; ``trained_tokens`` carry loss, ``tokens`` are all but padding."""

    documents: int = 0
    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    longest_row: int = 0

    def padding_share(self, max_length: int) -> float:
        """Return the share that padding has when every row is filled up to ``max_length``."""
        room = self.rows * max_length
        return 1 - self.tokens / room if room else 0.0


class TokenFileWriter:
    """Writer of rows to an Arrow stream in bounded memory; the file appears whole, at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        self._sink: Any = None
        self._stream: Any = None
        self._waiting: list[tuple[Ids, Ids, Ids]] = []
        self._waiting_tokens = 0
        self.counts = TokenCounts()

    def __enter__(self) -> TokenFileWriter:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._sink = pa.OSFile(str(self._temporary), "wb")
        self._stream = pa.ipc.new_stream(self._sink, SCHEMA)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._flush()
            self._stream.close()
            self._sink.close()
            if kind is None:
                self._temporary.replace(self._path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def write(self, documents: Sequence[TokenDocument]) -> None:
        """Append one row that holds these documents."""
        ids = np.concatenate([item.input_ids for item in documents])
        labels = np.concatenate([item.labels for item in documents])
        places = np.concatenate(
            [np.arange(len(item.input_ids), dtype=np.int32) for item in documents]
        )
        self._waiting.append((ids, labels, places))
        self._waiting_tokens += len(ids)
        before = self.counts
        self.counts = TokenCounts(
            documents=before.documents + len(documents),
            rows=before.rows + 1,
            tokens=before.tokens + len(ids),
            trained_tokens=before.trained_tokens + int((labels != IGNORED).sum()),
            longest_row=max(before.longest_row, len(ids)),
        )
        if self._waiting_tokens >= _BATCH_TOKENS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        ends = np.cumsum([0, *(len(row[0]) for row in self._waiting)], dtype=np.int32)
        columns = [
            pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate(column)))
            for column in zip(*self._waiting, strict=True)
        ]
        self._stream.write_batch(pa.record_batch(columns, schema=SCHEMA))
        self._waiting, self._waiting_tokens = [], 0


class TokenFile:
    """Arrow stream whose single rows are read through a memory map, without copying the file."""

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as source:
            batches = pa.ipc.open_stream(source).read_all().to_batches()
        self._batches = [
            [(_values(batch.column(name)), _offsets(batch.column(name))) for name in SCHEMA.names]
            for batch in batches
        ]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in batches)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, row: int) -> TokenDocument:
        """Return a row as one document."""
        found = int(np.searchsorted(self._starts, row, side="right")) - 1
        place = row - int(self._starts[found])
        (ids, offsets), (labels, _), _ = self._batches[found]
        start, end = int(offsets[place]), int(offsets[place + 1])
        return TokenDocument(ids[start:end], labels[start:end])


def open_rows(path: Path) -> Any:
    """Open a file as a memory-mapped ``datasets.Dataset`` whose rows are NumPy arrays."""
    import datasets

    return datasets.Dataset.from_file(str(path)).with_format("numpy")


def collate(rows: Sequence[Mapping[str, Any]], pad_id: int) -> dict[str, Any]:
    """Pad rows to the longest: int64 tensors ``[batch, longest]``, and no attention mask.

    Padding is a document of its own: its labels are -100 and its positions begin at 0, so no
    token of the rows sees it.
    """
    import torch

    longest = max(len(row["input_ids"]) for row in rows)
    places = np.arange(longest, dtype=np.int64)
    ids = np.full((len(rows), longest), pad_id, dtype=np.int64)
    labels = np.full((len(rows), longest), IGNORED, dtype=np.int64)
    positions = np.empty((len(rows), longest), dtype=np.int64)
    for number, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[number, :length] = row["input_ids"]
        labels[number, :length] = row["labels"]
        positions[number, :length] = row["position_ids"]
        positions[number, length:] = places[: longest - length]
    return {
        "input_ids": torch.from_numpy(ids),
        "labels": torch.from_numpy(labels),
        "position_ids": torch.from_numpy(positions),
    }


def collate_flat(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay rows end to end as one: int64 tensors ``[1, tokens]``, without any padding.

    Flash attention reads document boundaries from ``position_ids`` in batches of one row only;
    in larger ones it would let documents see each other.
    """
    import torch

    return {
        name: torch.from_numpy(
            np.concatenate([np.asarray(row[name], dtype=np.int64) for row in rows])[None]
        )
        for name in SCHEMA.names
    }


def fetch_part(storage: Storage, part: PartRef, cache: Path | None = None) -> Path:
    """Return a local path of a node's file; a remote one is copied once a machine, by digest.

    ``cache`` is the user's own if it is left out. Ranks that ask at the same time wait for the one
    that copies. Raises :class:`StorageError` when what arrives is not what the manifest names.
    """
    if not is_remote(storage.root):
        return Path(storage.url(part.path))
    return _fetch(storage, part, cache or user_cache("tokens"))


def _fetch(storage: Storage, part: PartRef, cache: Path) -> Path:
    folder = cache / part.digest
    target = folder / part.path.rsplit("/", 1)[-1]
    if find_kept(folder) and target.is_file():
        return target
    hold(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go when a rank dies
        if target.is_file():
            return target
        temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        make_room(part.size)
        try:
            storage.download(part.path, temporary)
            digest = digest_input(FileStat(str(temporary), part.size, ""))
            if digest != part.digest:
                raise StorageError(
                    f"{storage.url(part.path)} is not the file that its manifest names: digest "
                    f"{digest}, not {part.digest}. Run the node again with --refresh."
                )
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    return target


def _values(column: Any) -> Ids:
    values: Ids = column.values.to_numpy()
    return values


def _offsets(column: Any) -> Ids:
    offsets: Ids = column.offsets.to_numpy()
    return offsets
