"""Writes small stores of row and set nodes, finished, unfinished and damaged."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from infra.store.manifests import Counts, Manifest, NodeSpec, open_store, write_file, write_manifest
from infra.store.row_store import (
    commit_chunk,
    compact_chunks,
    encode_rows,
    read_rows,
    take_planned,
    write_members,
)
from infra.store.storage import Storage

from .nodes import Note, make_manifest, make_plan, make_row


def name_node(
    stage: str, prompt: str = "p", limit: int = 1, upstream: Sequence[NodeSpec] = ()
) -> NodeSpec:
    """Name a node: ``prompt`` makes another recipe, ``limit`` another node of the same."""
    return NodeSpec.build(
        stage, 1, identity={"prompt": prompt}, selection={"limit": limit}, upstream=upstream
    )


def commit_notes(storage: Storage, node: NodeSpec, *keys: str) -> str:
    """Commit rows as an interrupted run leaves them: a chunk part without a manifest."""
    rows = encode_rows(Note, [make_row(key) for key in keys])
    return commit_chunk(storage, node.folder, rows).path


def write_notes(storage: Storage, node: NodeSpec, *keys: str, made: Sequence[str]) -> Manifest:
    """Finish a row node of ``keys``, of which ``made`` are made now."""
    open_store(storage)
    if made:
        commit_notes(storage, node, *made)
    planned = make_plan(*keys)
    parts, _ = take_planned(storage, compact_chunks(storage, node.folder), planned)
    path = f"{node.folder}/{node.fingerprint}.members.parquet"
    return _finish(storage, make_manifest(parts, write_members(storage, path, planned), node), keys)


def write_training(storage: Storage, node: NodeSpec) -> Manifest:
    """Finish a set node as training does: an export, a log beside it, and a checkpoint."""
    open_store(storage)
    base = f"{node.folder}/{node.fingerprint}"
    storage.write_bytes(f"{base}.metrics.jsonl", b"{}\n")
    storage.write_bytes(f"{base}.checkpoints/step-00000050/whole.json", b"{}")
    storage.write_bytes(f"{base}.checkpoints/final/model.safetensors", b"trained")
    parts = [
        write_file(storage, f"{base}/model.safetensors", b"exported"),
        write_file(storage, f"{node.folder}/part-{node.fingerprint}-accepted.parquet", b"rows"),
    ]
    return _finish(storage, make_manifest(parts, node=node), ["one"])


def read_notes(storage: Storage, manifest: Manifest) -> list[str]:
    return read_rows(storage, manifest)["key"].to_list()


def damage(storage: Storage, path: str) -> None:
    """Change the last byte of a file and nothing else."""
    data = storage.read_bytes(path)
    storage.write_bytes(path, data[:-1] + bytes([data[-1] ^ 1]))


def copy_store(storage: Storage, folder: Path) -> Storage:
    shutil.copytree(storage.root, folder)
    return Storage(str(folder))


def _finish(storage: Storage, draft: Manifest, rows: Sequence[str]) -> Manifest:
    count = len(rows)
    counts = Counts(planned=count, accepted=count, rejected=0, made=count, reused=0)
    manifest = draft.model_copy(update={"counts": counts})
    write_manifest(storage, manifest)
    return manifest
