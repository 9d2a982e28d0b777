"""Proves that a damaged file costs what it held and nothing else, and is named and kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from infra.errors import DamagedFile, StoreVersionError
from infra.store.damaged_files import find_damage, fix_node, set_aside_named
from infra.store.manifests import NodeSpec, find_sound_manifest, read_manifest, refer_to
from infra.store.reading import read_accepted_frame
from infra.store.row_store import (
    commit_chunk,
    compact_chunks,
    encode_rows,
    merge_chunks,
    read_committed,
    read_part_rejects,
)
from infra.store.storage import Storage
from tests.unit.infra.nodes import Note, make_row, reject_row
from tests.unit.infra.stores import commit_notes, damage, write_notes, write_training

NODE = NodeSpec.build("notes", 1, identity={"prompt": "p"}, selection={"max_attempts": 3})
OTHER = NodeSpec.build("notes", 1, identity={"prompt": "p"}, selection={"max_attempts": 2})


def cut(storage: Storage, path: str) -> None:
    storage.write_bytes(path, storage.read_bytes(path)[:-9])


def empty(storage: Storage, path: str) -> None:
    storage.write_bytes(path, b"")


def flip(storage: Storage, path: str) -> None:
    """Change a byte in the middle: a Parquet file often reads well with it."""
    data = bytearray(storage.read_bytes(path))
    data[len(data) // 2] ^= 1
    storage.write_bytes(path, bytes(data))


def swap(storage: Storage, first: str, second: str) -> None:
    """Rename two files to each other's name: their times go with them."""
    storage.move(first, f"{first}.away")
    storage.move(second, first)
    storage.move(f"{first}.away", second)


SPOILERS = {"flipped": flip, "last byte": damage, "cut": cut, "emptied": empty}
Spoil = Callable[[Storage, str], None]


def read_keys(storage: Storage) -> set[str]:
    return set(read_committed(storage, NODE.folder)["key"])


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_only_the_rows_of_a_damaged_part_are_to_be_made(storage: Storage, spoil: Spoil) -> None:
    first = write_notes(storage, NODE, "a", "b", made=["a", "b"])
    write_notes(storage, OTHER, "a", "b", "c", made=["c"])
    (part,) = first.parts
    spoil(storage, part.path)
    assert find_sound_manifest(storage, NODE.manifest_path) is None

    assert list(find_damage(storage, NODE)) == [part.path]
    (line,) = fix_node(storage, NODE)

    assert part.path in line
    assert "made anew" in line
    assert storage.stat(f"{part.path}.damaged") is not None
    assert read_keys(storage) == {"c"}
    assert not storage.list(NODE.folder, f"{part.path}")


@pytest.mark.parametrize("spoil", [cut, empty], ids=["cut", "emptied"])
def test_a_chunk_that_no_manifest_names_is_named_too(storage: Storage, spoil: Spoil) -> None:
    path = commit_notes(storage, NODE, "a")
    commit_notes(storage, NODE, "b")
    spoil(storage, path)

    with pytest.raises(DamagedFile, match="is damaged") as caught:
        read_committed(storage, NODE.folder)

    assert caught.value.path == path
    damaged: list[DamagedFile] = []
    assert set(read_committed(storage, NODE.folder, damaged)["key"]) == {"b"}
    assert [one.path for one in damaged] == [path]
    set_aside_named(storage, caught.value)
    assert read_keys(storage) == {"b"}


def test_a_flipped_byte_is_seen_before_a_chunk_is_merged(storage: Storage) -> None:
    paths = [commit_notes(storage, NODE, *(f"{name}{n}" for n in range(40))) for name in "ab"]
    data = bytearray(storage.read_bytes(paths[0]))
    found = 0
    for place in range(4, len(data) - 8, 37):
        data[place] ^= 1
        storage.write_bytes(paths[0], bytes(data))
        try:
            merge_chunks(storage, NODE.folder, paths)
        except DamagedFile as error:
            assert error.path == paths[0]
            found += 1
        else:  # in what nobody reads, such as the name of who wrote the file
            break
        data[place] ^= 1
    assert found >= 5


def find_footer(whole: bytes) -> int:
    return len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")


def flip_each(
    storage: Storage, path: str, read: Callable[[], object], *, footer: bool = False
) -> tuple[int, int]:
    """Flip bytes one after another; return how often, and how often the reader named the file.

    What stands in the footer has no checksum of its own.
    """
    whole = storage.read_bytes(path)
    file = Path(storage.url(path))
    times = file.stat()
    end = len(whole) if footer else find_footer(whole)
    flips = found = 0
    for place in range(4, end, 7):
        data = bytearray(whole)
        data[place] ^= 1
        storage.write_bytes(path, bytes(data))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a failing disk would
        flips += 1
        try:
            read()
        except DamagedFile as error:
            assert error.path == path
            found += 1
    storage.write_bytes(path, whole)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return flips, found


def test_a_flipped_byte_of_a_key_is_seen_where_keys_are_read(storage: Storage) -> None:
    names = [f"a{n}" for n in range(40)]
    path = commit_notes(storage, NODE, *names)
    seen: list[set[str]] = []

    flips, found = flip_each(storage, path, lambda: seen.append(read_keys(storage)))

    assert found >= 40
    assert seen == [set(names)] * (flips - found)


def test_a_flipped_byte_of_a_footer_ends_no_process(storage: Storage) -> None:
    """Arrow aborts at some of them when it is asked where a column lies."""
    path = commit_notes(storage, NODE, *(f"a{n}" for n in range(40)))
    whole = storage.read_bytes(path)
    schema = find_footer(whole)
    for place in range(schema, schema + 300):
        data = bytearray(whole)
        data[place] ^= 1
        storage.write_bytes(path, bytes(data))
        with suppress(DamagedFile):
            read_keys(storage)
    storage.write_bytes(path, whole)


def test_no_digest_vouches_for_a_part_that_was_damaged_before(storage: Storage) -> None:
    names = [f"a{n}" for n in range(40)]
    merge_chunks(storage, NODE.folder, [commit_notes(storage, NODE, *names)])
    (part,) = compact_chunks(storage, NODE.folder)
    rows = pq.read_table(storage.url(part.path)).to_pylist()
    unharmed: list[object] = []

    def describe() -> None:
        compact_chunks(storage, NODE.folder)
        unharmed.append(pq.read_table(storage.url(part.path)).to_pylist())

    flips, found = flip_each(storage, part.path, describe)
    assert found >= 60
    assert unharmed == [rows] * (flips - found)

    write_notes(storage, NODE, *names, made=[])
    flips, found = flip_each(storage, part.path, describe, footer=True)
    assert found == flips


def test_a_part_that_was_made_again_of_rows_that_read_otherwise_is_no_damage(
    storage: Storage,
) -> None:
    """Endpoints answer otherwise the second time; the part's name follows from its keys alone."""
    (part,) = write_notes(storage, NODE, "a", "b", made=["a", "b"]).parts
    storage.remove(part.path)
    commit_chunk(storage, NODE.folder, encode_rows(Note, [make_row(k, text="new") for k in "ab"]))
    (again,) = compact_chunks(storage, NODE.folder)
    assert again.path == part.path and again.digest != part.digest


def test_an_edited_manifest_is_no_proof_and_its_rows_stay(storage: Storage) -> None:
    manifest = write_notes(storage, NODE, "a", "b", made=["a", "b"])
    text = storage.read_bytes(NODE.manifest_path).decode()
    storage.write_bytes(NODE.manifest_path, text.replace('"accepted": 2', '"accepted": 1').encode())
    with pytest.raises(StoreVersionError, match="was edited since it was written"):
        read_manifest(storage, NODE.manifest_path)
    assert find_sound_manifest(storage, NODE.manifest_path) is None

    (line,) = fix_node(storage, NODE)

    assert f"{NODE.manifest_path} is not the manifest that was written: set aside as" in line
    assert read_keys(storage) == {"a", "b"}
    assert write_notes(storage, NODE, "a", "b", made=[]).parts == manifest.parts


def test_swapped_manifests_and_swapped_parts_are_no_proof(storage: Storage) -> None:
    first = write_notes(storage, NODE, "a", made=["a"])
    write_notes(storage, OTHER, "a", "b", made=["b"])
    paths = [NODE.manifest_path, OTHER.manifest_path]
    swap(storage, *paths)
    for path in paths:
        with pytest.raises(StoreVersionError, match="is the manifest of"):
            read_manifest(storage, path)
    swap(storage, *paths)
    assert find_sound_manifest(storage, NODE.manifest_path) == first

    parts = [part.path for part in read_manifest(storage, OTHER.manifest_path).parts]
    swap(storage, *parts)
    assert sorted(find_damage(storage, NODE)) == sorted(parts)
    assert len(fix_node(storage, OTHER)) == 2
    assert read_keys(storage) == set()


def test_a_manifest_of_before_holds_no_digest_of_itself(storage: Storage) -> None:
    manifest = write_notes(storage, NODE, "a", made=["a"])
    storage.write_bytes(NODE.manifest_path, manifest.model_dump_json(indent=1).encode())
    assert find_sound_manifest(storage, NODE.manifest_path) == manifest


def test_what_a_manifest_names_is_read_only_as_it_was_written(storage: Storage) -> None:
    manifest = write_notes(storage, NODE, "a", made=["a"])
    path = manifest.parts[0].path
    flip(storage, path)
    reference = read_manifest(storage, NODE.manifest_path)
    assert reference == manifest
    with pytest.raises(DamagedFile, match="is not as it was written") as caught:
        read_accepted_frame(storage, refer_to(manifest))
    assert path in str(caught.value)


def test_a_part_that_is_gone_is_named_and_needs_no_setting_aside(storage: Storage) -> None:
    manifest = write_notes(storage, NODE, "a", made=["a"])
    storage.remove(manifest.parts[0].path)
    with pytest.raises(DamagedFile, match="is gone") as caught:
        read_accepted_frame(storage, refer_to(manifest))
    assert "made anew" in set_aside_named(storage, caught.value)
    (line,) = fix_node(storage, NODE)
    assert "is gone" in line


def test_a_manifest_that_is_none_any_more_is_set_aside(storage: Storage) -> None:
    write_notes(storage, NODE, "a", made=["a"])
    cut(storage, NODE.manifest_path)
    (line,) = fix_node(storage, NODE)
    assert "is not the manifest that was written" in line
    assert read_keys(storage) == {"a"}


def test_a_node_that_is_made_whole_says_what_of_it_is_damaged(storage: Storage) -> None:
    node = NodeSpec.build("training", 1, identity={}, selection={})
    manifest = write_training(storage, node)
    damage(storage, manifest.parts[0].path)
    (line,) = fix_node(storage, node)
    assert manifest.parts[0].path in line
    assert "training is made anew" in line
    assert storage.stat(manifest.parts[0].path) is not None


def test_rejects_of_an_unfinished_stage_are_read(storage: Storage) -> None:
    from infra.store.row_store import commit_chunk, encode_rows

    commit_chunk(storage, NODE.folder, encode_rows(Note, [reject_row("b"), reject_row("a")]))
    found = read_part_rejects(storage, NODE.folder)
    assert found["key"].to_list() == ["a", "b"]
    assert found["reason"].to_list() == ["empty", "empty"]
