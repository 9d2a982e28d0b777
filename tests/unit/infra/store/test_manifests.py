"""Proves that a manifest is believed only while its files are what it says."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from infra.errors import StoreVersionError
from infra.store.manifests import (
    STORE_MARKER,
    Manifest,
    NodeSpec,
    PartRef,
    find_sound_manifest,
    open_store,
    read_manifest,
    read_tables,
    refer_to,
    refer_to_file,
    write_file,
    write_manifest,
    write_table,
)
from infra.store.storage import Storage
from tests.unit.infra.nodes import NODE, make_manifest

TABLE = pa.table({"key": ["a", "b"]})


@pytest.fixture
def part(storage: Storage) -> PartRef:
    return write_table(storage, f"{NODE.folder}/part-1.parquet", TABLE)


@pytest.fixture
def written(storage: Storage, part: PartRef) -> Manifest:
    members = write_table(storage, f"{NODE.folder}/x.members.parquet", TABLE, holds="members")
    manifest = make_manifest([part], members)
    write_manifest(storage, manifest)
    return manifest


def find(storage: Storage) -> Manifest | None:
    return find_sound_manifest(storage, NODE.manifest_path)


def test_untouched_files_are_sound(storage: Storage, written: Manifest) -> None:
    assert find(storage) == written


def test_untouched_files_are_not_read_again(
    storage: Storage, written: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = Storage.read_bytes

    def record(self: Storage, path: str) -> bytes:
        read.append(path)
        return real(self, path)

    monkeypatch.setattr(Storage, "read_bytes", record)
    assert find(storage) is not None
    assert read == [written.path]


def test_no_manifest_means_not_done(storage: Storage, part: PartRef) -> None:
    assert find(storage) is None


@pytest.mark.parametrize("which", ["part", "members"])
def test_a_missing_file_means_not_done(storage: Storage, written: Manifest, which: str) -> None:
    assert written.members is not None
    storage.remove(written.members.path if which == "members" else written.parts[0].path)
    assert find(storage) is None


def test_another_size_means_not_done(storage: Storage, part: PartRef, written: Manifest) -> None:
    path = Path(storage.url(part.path))
    stat = path.stat()
    path.write_bytes(path.read_bytes() + b"x")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert find(storage) is None


def test_moved_times_over_the_same_bytes_are_sound(
    storage: Storage, part: PartRef, written: Manifest
) -> None:
    os.utime(storage.url(part.path), (1, 1))
    assert find(storage) == written


def test_changed_bytes_of_the_same_size_mean_not_done(
    storage: Storage, part: PartRef, written: Manifest
) -> None:
    path = Path(storage.url(part.path))
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, (1, 1))
    assert find(storage) is None


def test_a_copied_store_is_still_done(storage: Storage, written: Manifest, tmp_path: Path) -> None:
    copy = Storage(str(tmp_path / "copy"))
    for name in storage.walk(""):
        copy.write_bytes(name, storage.read_bytes(name))
    assert find(copy) == written


def test_a_cut_manifest_means_not_done(storage: Storage, written: Manifest) -> None:
    storage.write_bytes(written.path, storage.read_bytes(written.path)[:-20])
    assert find(storage) is None
    with pytest.raises(StoreVersionError, match="not a manifest"):
        read_manifest(storage, written.path)


def test_a_reference_carries_the_way_to_the_manifest(storage: Storage, written: Manifest) -> None:
    reference = refer_to(written)
    assert read_manifest(storage, reference.manifest) == written
    assert (reference.accepted, reference.rejected) == (2, 0)


def test_a_part_describes_what_was_written(storage: Storage, part: PartRef) -> None:
    stat = storage.stat(part.path)
    assert stat is not None
    assert (part.size, part.token, part.rows) == (stat.size, stat.token, 2)
    with pytest.raises(FileNotFoundError):
        refer_to_file(storage, "none", "digest", 0, "rows")


def test_equal_bytes_have_equal_digests(storage: Storage) -> None:
    one, two, other = (
        write_file(storage, name, data) for name, data in (("1", b"a"), ("2", b"a"), ("3", b"b"))
    )
    assert one.digest == two.digest != other.digest


def test_parts_are_read_in_the_order_given(storage: Storage, part: PartRef) -> None:
    second = write_table(storage, f"{NODE.folder}/part-2.parquet", pa.table({"key": ["c"]}))
    assert read_tables(storage, [second, part])["key"].to_list() == ["c", "a", "b"]
    assert read_tables(storage, []).equals(pl.DataFrame())


def test_a_new_root_is_claimed_and_opened_again(storage: Storage) -> None:
    open_store(storage)
    before = storage.read_bytes(STORE_MARKER)
    open_store(storage)
    assert storage.read_bytes(STORE_MARKER) == before


def test_a_root_of_another_format_is_refused_with_both_numbers(storage: Storage) -> None:
    storage.write_bytes(STORE_MARKER, b'{"format": 99}')
    with pytest.raises(StoreVersionError, match=r"format 99; this version reads format 1\b"):
        open_store(storage)


@pytest.mark.parametrize("marker", [b"", b"[]", b"{}", b"\xff\xfe", b"99"])
def test_a_broken_marker_is_refused_not_overwritten(storage: Storage, marker: bytes) -> None:
    storage.write_bytes(STORE_MARKER, marker)
    with pytest.raises(StoreVersionError, match="store marker"):
        open_store(storage)
    assert storage.read_bytes(STORE_MARKER) == marker


def test_a_node_lies_below_its_stage_and_recipe(storage: Storage, written: Manifest) -> None:
    assert written.path == NODE.manifest_path
    assert NODE.manifest_path == f"notes/{NODE.recipe}/{NODE.fingerprint}.json"


def test_selection_and_sources_move_the_node_and_leave_the_recipe() -> None:
    more = NodeSpec.build("notes", 1, identity={"prompt": "p"}, selection={"limit": 4})
    sourced = NodeSpec.build(
        "notes", 1, identity={"prompt": "p"}, selection={"limit": 3}, sources=["digest"]
    )
    hung = NodeSpec.build(
        "notes", 1, identity={"prompt": "p"}, selection={"limit": 3}, upstream=[more]
    )
    nodes = [NODE, more, sourced, hung]
    assert {node.recipe for node in nodes} == {NODE.recipe}
    assert len({node.fingerprint for node in nodes}) == 4
    assert hung.upstream == {"notes": more.fingerprint}
    assert sourced.selection["sources"] == ["digest"]
