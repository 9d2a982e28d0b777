"""Finds the nodes of a run by name and reads what they hold; an absent node holds nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import polars as pl

from infra.store.manifests import Manifest, NodeRef, read_manifest, read_tables
from infra.store.reading import read_accepted_frame, read_rejected_frame
from infra.store.set_store import revive
from infra.store.storage import Storage

R = TypeVar("R")


class RunNodes:
    """What a run has made, node by node, in the order the flow gave."""

    def __init__(self, storage: Storage, stages: Sequence[NodeRef]) -> None:
        self.storage = storage
        self._references = {reference.stage: reference for reference in stages}
        self.manifests: dict[str, Manifest] = {
            stage: read_manifest(storage, reference.manifest)
            for stage, reference in self._references.items()
        }

    def find(self, stage: str) -> Manifest | None:
        """Return the manifest of a node, or ``None`` if the run has no such node."""
        return self.manifests.get(stage)

    def list_stages(self, *prefixes: str) -> list[str]:
        """Return the nodes whose names begin so; a prefix without ``_`` is a whole name."""
        return [
            stage
            for stage in self.manifests
            if any(
                stage.startswith(prefix) if prefix.endswith("_") else stage == prefix
                for prefix in prefixes
            )
        ]

    def read_frame(self, *prefixes: str) -> pl.DataFrame:
        """Return the accepted rows of all nodes of a kind in one frame; empty without any.

        Rows of a row stage carry columns of the stage beside their record's; :meth:`revive` and
        whoever asks for a column by name do not see them.
        """
        frames = [
            read_accepted_frame(self.storage, self._references[stage])
            for stage in self.list_stages(*prefixes)
        ]
        filled = [frame for frame in frames if frame.height]
        if not filled:
            return pl.DataFrame()
        common = [name for name in filled[0].columns if all(name in frame for frame in filled)]
        return pl.concat([frame.select(common) for frame in filled], how="vertical_relaxed")

    def read_rows(self, record: type[R], *prefixes: str) -> list[R]:
        """Return the accepted rows of all nodes of a kind as records."""
        return revive(record, self.read_frame(*prefixes))

    def read_part(self, stage: str, holds: str, record: type[R]) -> list[R]:
        """Return the rows of one part of a set node; none if node or part is absent."""
        manifest = self.find(stage)
        if manifest is None:
            return []
        parts = [part for part in manifest.parts if part.holds == holds]
        return revive(record, read_tables(self.storage, parts))

    def read_columns(self, stage: str, *columns: str) -> pl.DataFrame:
        """Return keys and some columns of a node's accepted rows; empty if the node is absent."""
        reference = self._references.get(stage)
        if reference is None:
            return pl.DataFrame()
        return read_accepted_frame(self.storage, reference, columns)

    def read_rejects(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Return the rejected rows of every node that has some: key, reason and detail."""
        for stage, reference in self._references.items():
            if reference.rejected:
                yield stage, read_rejected_frame(self.storage, reference)
