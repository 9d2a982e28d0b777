"""Reads the rows of nodes for nodes: one way for a run, and for a plan of what is not made yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

import polars as pl

from infra.store.manifests import NodeRef
from infra.store.reading import read_accepted, read_accepted_frame, read_frames
from infra.store.storage import Storage

R = TypeVar("R")


class Done(Protocol):
    """Node whose rows can be read."""

    @property
    def reference(self) -> NodeRef:
        """Return where its rows lie."""
        ...


class Rows(Protocol):
    """Reader of the accepted rows of nodes, sorted by key."""

    def read(self, node: Done, record: type[R]) -> list[R]:
        """Return a node's rows as records."""
        ...

    def frame(self, node: Done) -> pl.DataFrame:
        """Return a node's rows as a frame."""
        ...

    def frames(self, nodes: Sequence[Done], columns: Sequence[str] = ()) -> pl.DataFrame:
        """Return the rows of several nodes of one record: their common columns."""
        ...


class StoredRows:
    """Reader of rows from the store: every node asked for is done."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def read(self, node: Done, record: type[R]) -> list[R]:
        """Return a node's rows as records."""
        return read_accepted(self._storage, node.reference, record)

    def frame(self, node: Done) -> pl.DataFrame:
        """Return a node's rows as a frame."""
        return read_accepted_frame(self._storage, node.reference)

    def frames(self, nodes: Sequence[Done], columns: Sequence[str] = ()) -> pl.DataFrame:
        """Return the rows of several nodes of one record: their common columns."""
        return read_frames(self._storage, [node.reference for node in nodes], columns)
