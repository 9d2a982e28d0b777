"""Says what a node is: one step of the graph, with all that is said of it in one class.

A node's name is its kind and its parameters; its recipe and its fingerprint are hashes of what it
says of itself, so they are known before anything runs. Plan, run, status, lineage and report walk
the nodes of a graph and know none by name.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import polars as pl

from infra.context import AskingConfig, NodeConfig, RunContext, model_identity
from infra.engines.config import ModelConfig
from infra.generation.reruns import Reruns
from infra.nodes.row_kind import RowKind
from infra.nodes.rows import Rows, StoredRows
from infra.store.manifests import (
    Manifest,
    NodeRef,
    NodeSpec,
    PartRef,
    find_sound_manifest,
    read_manifest,
    refer_to,
)
from infra.store.set_store import Rejection, write_set, write_set_manifest

if TYPE_CHECKING:
    from infra.generation.stage_worker import RowMaker

Use = Literal["driver", "models", "ranks"]
"""What a node needs while it is made: this process alone, engines or models on Ray, or the ranks
of a training, beside which no engine has a place."""


NAMED = {"named": True}
"""Metadata of a field whose nodes are read, but change nothing: names and counts are told."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Node(ABC):
    """Step of the graph.

    A subclass's fields are its knobs, as ``config``, and the nodes that it reads, in the order in
    which its fingerprint names them. ``stage`` is what ``--from`` and ``--until`` call it,
    ``version`` counts the changes of its code that change its rows, ``record`` is what its rows
    are, ``row_kind`` what their lineage shows of them: a job has no rows.
    """

    kind: ClassVar[str]
    stage: ClassVar[str]
    version: ClassVar[int]
    record: ClassVar[type[Any]]
    row_kind: ClassVar[RowKind | None] = None
    use: ClassVar[Use] = "driver"

    context: RunContext = field(repr=False)
    reruns: Reruns = field(repr=False)
    config: NodeConfig

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return what tells it from others of its kind, such as the judge and the model."""
        return {}

    @property
    def name(self) -> str:
        """Return the name that people and folders know it by."""
        return "_".join((self.kind, *self.parameters.values()))

    def identity(self) -> Mapping[str, Any]:
        """Return what changes its rows: knobs, prompts, models."""
        return self.config.knob_values("identity")

    def selection(self) -> Mapping[str, Any]:
        """Return what changes which rows it has: knobs."""
        return self.config.knob_values("selection")

    def upstream(self) -> Sequence[Node]:
        """Return the nodes that its rows are made from: those of its fields."""
        return self._list_nodes(named=False)

    def sources(self) -> Sequence[str]:
        """Return the digests of its input files, in any order."""
        return ()

    def reads(self) -> Sequence[Node]:
        """Return the nodes that must be done before it: those above, and those it only names."""
        return (*self.upstream(), *self._list_nodes(named=True))

    def remarks(self) -> Mapping[str, str]:
        """Return what a report has to say of it that stands neither in its rows nor its name."""
        return {}

    def _list_nodes(self, *, named: bool) -> list[Node]:
        found: list[Node] = []
        for one in fields(self):
            if ("named" in one.metadata) == named:
                value = getattr(self, one.name)
                values = value if isinstance(value, list | tuple) else [value]
                found += [node for node in values if isinstance(node, Node)]
        return found

    def vet(self, given: Rows) -> None:
        """Raise :class:`YieldError` where a model should not be trained on it.

        It is asked before every training, for its bounds may have come after it was made.
        """
        return None

    @property
    def engine(self) -> str | None:
        """Return the role whose engine it starts, if it starts one."""
        return None

    @property
    def loads(self) -> str | None:
        """Return the role whose model is loaded on Ray for it, in an engine or without one."""
        return self.engine

    @cached_property
    def described(self) -> NodeSpec:
        """Return the node as it is described, whatever the store has on record of reruns."""
        return NodeSpec.build(
            self.name,
            self.version,
            identity=self.identity(),
            selection=self.selection(),
            upstream=[node.spec for node in self.upstream()],
            sources=self.sources(),
        )

    @cached_property
    def spec(self) -> NodeSpec:
        """Return the node as it is made now."""
        return self.reruns.apply(self.described)

    @property
    def reference(self) -> NodeRef:
        """Return where its rows lie; :class:`FileNotFoundError` before it is made."""
        return refer_to(self.manifest)

    @property
    def manifest(self) -> Manifest:
        """Return its manifest; :class:`FileNotFoundError` before it is made."""
        return read_manifest(self.context.storage, self.spec.manifest_path)

    def find(self) -> Manifest | None:
        """Return its manifest if it is done and its files are there unchanged."""
        return find_sound_manifest(self.context.storage, self.spec.manifest_path)

    @abstractmethod
    def make(self) -> NodeRef:
        """Make it from what is done above, and write its manifest last."""


@dataclass(frozen=True)
class SetOutput:
    """Rows of a set node, what it left out, and what else it has to say.

    ``record`` is what the rows are, where that is more than the node's own.
    """

    accepted: Iterable[Any]
    rejected: Iterable[Rejection]
    record: type[Any] | None = None
    files: Sequence[PartRef] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    may_be_empty: bool = False


class SetNode(Node):
    """Node that is made whole, independent of the order of rows."""

    @abstractmethod
    def gather(self, given: Rows) -> SetOutput:
        """Return its rows from those above."""

    def make(self) -> NodeRef:
        """Gather the rows and write them."""
        began, context = time.monotonic(), self.context
        found = self.gather(StoredRows(context.storage))
        return write_set(
            context.storage,
            self.spec,
            found.accepted,
            found.rejected,
            record=found.record or self.record,
            provenance=context.provenance(),
            seconds=time.monotonic() - began,
            files=found.files,
            facts=found.facts,
            may_be_empty=found.may_be_empty,
        )


@dataclass(frozen=True)
class JobOutput:
    """Files of a job, how many rows they stand for, and what else it has to say."""

    files: Sequence[PartRef]
    accepted: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class JobNode(Node):
    """Node whose output is files: a data set, a model, a page."""

    @abstractmethod
    def run(self, given: Rows) -> JobOutput:
        """Make the files from what is above."""

    def make(self) -> NodeRef:
        """Run the job and write down what it made."""
        began, context = time.monotonic(), self.context
        done = self.run(StoredRows(context.storage))
        return write_set_manifest(
            context.storage,
            self.spec,
            done.files,
            accepted=done.accepted,
            reasons=done.reasons,
            provenance=context.provenance(),
            seconds=time.monotonic() - began,
            facts=done.facts,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class RowNode(Node):
    """Node whose rows are made one by one, by asking a model.

    ``config`` holds its knobs and how it samples, ``role`` is the model that is asked.
    """

    use = "models"

    config: AskingConfig
    role: str

    @property
    def engine(self) -> str | None:
        """Return the role whose engine it starts."""
        return self.role

    @property
    def model(self) -> ModelConfig:
        """Return the configuration of the model that is asked."""
        return self.context.models[self.role]

    @abstractmethod
    def prompt_source(self) -> str:
        """Return all that the prompt is made of, besides the rows."""

    @abstractmethod
    def plan(self, given: Rows) -> pl.DataFrame:
        """Return the planned rows: key, parents_digest, group, and the maker's input record."""

    def plan_keys(self, given: Rows) -> pl.DataFrame:
        """Return the keys of the planned rows, in a column ``key``."""
        return self.plan(given).select("key")

    @abstractmethod
    def maker(self) -> RowMaker[Any]:
        """Return what makes one row of one planned row."""

    @property
    def knobs(self) -> AskingConfig:
        """Return what of its knobs names it."""
        return self.config

    def identify_model(self) -> str:
        """Return what its model is."""
        return model_identity(self.model)

    def identity(self) -> Mapping[str, Any]:
        """Return its knobs, its prompt's content and its model."""
        return {
            **self.knobs.knob_values("identity"),
            "prompt": self.prompt_source(),
            "model": self.identify_model(),
        }

    def selection(self) -> Mapping[str, Any]:
        """Return its knobs and its model's."""
        return {
            **self.knobs.knob_values("selection"),
            **self.model.knob_values("selection"),
        }

    def make(self) -> NodeRef:
        """Ask for every planned row that is not committed yet."""
        from infra.nodes.row_stages import make_rows

        self.open()
        return make_rows(
            self.context,
            self.spec,
            model=self.role,
            maker=self.maker(),
            planned=self.plan(StoredRows(self.context.storage)),
            sampling=self.config,
        )

    def open(self) -> None:
        """Make the model known to the engines, if it was made by this run."""
