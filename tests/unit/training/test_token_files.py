"""Proves that token rows come back as written, whole files only, and batches are padded right."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from infra.errors import StorageError
from infra.store.manifests import PartRef, write_file
from infra.store.storage import Storage
from tasks.training.rows import token_files
from tasks.training.rows.token_files import (
    TokenCounts,
    TokenDocument,
    TokenFile,
    TokenFileWriter,
    collate,
    collate_flat,
    fetch_part,
    open_rows,
)


def make_document(*ids: int, prompt: int = 1) -> TokenDocument:
    values = np.array(ids, dtype=np.int32)
    labels = values.copy()
    labels[:prompt] = -100
    return TokenDocument(values, labels)


ROWS = (
    (make_document(1, 2, 3), make_document(4, 5)),
    (make_document(6, 7, 8, 9, prompt=3),),
    (make_document(1), make_document(2), make_document(3)),
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    with TokenFileWriter(tmp_path / "new" / "rows.arrow") as writer:
        for row in ROWS:
            writer.write(row)
    return tmp_path / "new" / "rows.arrow"


def test_rows_are_opened_as_a_memory_mapped_data_set(written: Path) -> None:
    rows = open_rows(written)
    assert rows.column_names == ["input_ids", "labels", "position_ids"]
    assert len(rows) == 3
    assert rows[0]["input_ids"].tolist() == [1, 2, 3, 4, 5]
    assert rows[0]["labels"].tolist() == [-100, 2, 3, -100, 5]
    assert rows[0]["position_ids"].tolist() == [0, 1, 2, 0, 1]
    assert rows[2]["position_ids"].tolist() == [0, 0, 0]
    assert rows.cache_files == [{"filename": str(written)}]


def test_counts_add_up(tmp_path: Path) -> None:
    with TokenFileWriter(tmp_path / "rows.arrow") as writer:
        for row in ROWS:
            writer.write(row)
    assert writer.counts == TokenCounts(
        documents=6, rows=3, tokens=12, trained_tokens=4, longest_row=5
    )
    assert writer.counts.padding_share(6) == pytest.approx(1 - 12 / 18)
    assert TokenCounts().padding_share(6) == 0


def test_rows_are_read_singly_across_record_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_files, "_BATCH_TOKENS", 6)
    with TokenFileWriter(tmp_path / "rows.arrow") as writer:
        for row in ROWS:
            writer.write(row)
    file = TokenFile(tmp_path / "rows.arrow")
    assert len(file) == 3
    assert len(file._batches) == 2
    for place in (2, 0, 1):
        ids = np.concatenate([item.input_ids for item in ROWS[place]])
        labels = np.concatenate([item.labels for item in ROWS[place]])
        np.testing.assert_array_equal(file.read(place).input_ids, ids)
        np.testing.assert_array_equal(file.read(place).labels, labels)


def test_no_rows_make_an_empty_data_set(tmp_path: Path) -> None:
    with TokenFileWriter(tmp_path / "rows.arrow"):
        pass
    assert len(open_rows(tmp_path / "rows.arrow")) == 0
    assert len(TokenFile(tmp_path / "rows.arrow")) == 0


def test_a_broken_off_file_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), TokenFileWriter(tmp_path / "rows.arrow") as writer:
        writer.write(ROWS[0])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.torch
def test_batches_are_padded_by_a_document_of_padding(written: Path) -> None:
    rows = open_rows(written)
    batch = collate([rows[0], rows[2]], pad_id=99)
    assert sorted(batch) == ["input_ids", "labels", "position_ids"]
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, 99, 99]]
    assert batch["labels"].tolist() == [[-100, 2, 3, -100, 5], [-100] * 5]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1], [0, 0, 0, 0, 1]]
    assert {str(tensor.dtype) for tensor in batch.values()} == {"torch.int64"}


@pytest.mark.torch
def test_rows_laid_end_to_end_need_no_padding(written: Path) -> None:
    rows = open_rows(written)
    batch = collate_flat([rows[0], rows[1]])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9]]
    assert batch["labels"].tolist() == [[-100, 2, 3, -100, 5, -100, -100, -100, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0, 1, 2, 3]]


class RemoteStorage(Storage):
    """Stands for a bucket: its address is remote, and its objects lie in a local folder."""

    def __init__(self, folder: Path, *, wait_s: float = 0.0) -> None:
        super().__init__("s3://bucket/root")
        self.inner = Storage(str(folder))
        self.wait_s = wait_s
        self.downloads = 0

    def download(self, path: str, local: Path) -> None:
        self.downloads += 1
        time.sleep(self.wait_s)
        self.inner.download(path, local)


def put(folder: Path, data: bytes) -> PartRef:
    return write_file(Storage(str(folder)), "encoding/recipe/train.arrow", data)


def test_a_local_part_is_read_where_it_lies(tmp_path: Path) -> None:
    part = put(tmp_path, b"rows")
    found = fetch_part(Storage(str(tmp_path)), part, tmp_path / "cache")
    assert found == tmp_path / "encoding" / "recipe" / "train.arrow"
    assert not (tmp_path / "cache").exists()


def test_a_remote_part_is_copied_once(tmp_path: Path) -> None:
    part = put(tmp_path / "bucket", b"rows")
    storage = RemoteStorage(tmp_path / "bucket")
    first = fetch_part(storage, part, tmp_path / "cache")
    assert first.read_bytes() == b"rows"
    assert fetch_part(storage, part, tmp_path / "cache") == first
    assert storage.downloads == 1
    other = put(tmp_path / "bucket", b"other rows")
    assert fetch_part(storage, other, tmp_path / "cache").read_bytes() == b"other rows"
    assert first.read_bytes() == b"rows"


def test_a_copy_in_a_cache_that_cannot_be_written_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = put(tmp_path / "bucket", b"rows")
    storage = RemoteStorage(tmp_path / "bucket")
    first = fetch_part(storage, part, tmp_path / "cache")

    def refuse(path: Path, *_: object) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert fetch_part(storage, part, tmp_path / "cache") == first


def test_ranks_that_ask_together_share_one_copy(tmp_path: Path) -> None:
    part = put(tmp_path / "bucket", b"rows")
    storage = RemoteStorage(tmp_path / "bucket", wait_s=0.2)
    found: list[Path] = []
    ranks = [
        threading.Thread(target=lambda: found.append(fetch_part(storage, part, tmp_path / "cache")))
        for _ in range(4)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    assert storage.downloads == 1
    assert [path.read_bytes() for path in found] == [b"rows"] * 4


def test_what_is_not_the_manifests_file_is_refused_and_not_kept(tmp_path: Path) -> None:
    part = put(tmp_path / "bucket", b"rows")
    put(tmp_path / "bucket", b"ruin")
    storage = RemoteStorage(tmp_path / "bucket")
    with pytest.raises(StorageError, match="not the file that its manifest names"):
        fetch_part(storage, part, tmp_path / "cache")
    assert os.listdir(tmp_path / "cache" / part.digest) == [".lock"]  # noqa: PTH208
    put(tmp_path / "bucket", b"rows")
    assert fetch_part(storage, part, tmp_path / "cache").read_bytes() == b"rows"
