"""Builds a store that holds a finished export and a finished model, both small."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.models.exported import publish_export
from infra.store.manifests import NodeRef, NodeSpec
from infra.store.set_store import write_set_manifest
from infra.store.storage import Storage
from tests.unit.export.worlds import export_world
from tests.unit.infra.models.test_exported_models import build_export

EXPORT = NodeSpec.build("export", 1, identity={"name": "x"}, selection={})
TRAINING = NodeSpec.build("training", 1, identity={"epochs": 3}, selection={}, upstream=[EXPORT])
CARD = "---\nlicense: apache-2.0\n---\n# Tiny\n"
WEIGHTS = bytes(range(256)) * 20


@dataclass(frozen=True)
class Exported:
    """Is what a run leaves for publishing."""

    storage: Storage
    export: NodeRef
    training: NodeRef


def make_exported(storage: Storage, scratch: Path) -> Exported:
    written = export_world(storage)
    export = write_set_manifest(
        storage,
        EXPORT,
        written.files,
        accepted=written.dialogue_rows,
        reasons={},
        provenance={},
        seconds=1.0,
        facts={"folder": "export/x"},
    )
    folder = f"{TRAINING.folder}/{TRAINING.fingerprint}"
    local = build_export(scratch / "model", weights=WEIGHTS, card=CARD)
    training = write_set_manifest(
        storage,
        TRAINING,
        publish_export(storage, folder, local),
        accepted=1,
        reasons={},
        provenance={},
        seconds=1.0,
        facts={"export": folder},
    )
    return Exported(storage, export, training)
