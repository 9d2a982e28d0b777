"""Makes nodes of specs that are there, for tests of what reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

from infra.cluster.session import RayConfig
from infra.context import Quiet, RunContext
from infra.generation.reruns import Reruns
from infra.generation.runner_config import RunnerConfig
from infra.knobs import Knobs
from infra.nodes.node import JobNode, JobOutput
from infra.nodes.rows import Rows
from infra.store.manifests import NodeSpec
from infra.store.storage import Storage


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenNode(JobNode):
    """Node that is what a spec says; nobody makes it."""

    kind = "given"
    stage = "export"
    version = 1
    record = object

    config: Knobs = field(default_factory=Knobs)
    given: NodeSpec

    @property
    def name(self) -> str:
        return self.given.stage

    @property
    def described(self) -> NodeSpec:
        return self.given

    def run(self, given: Rows) -> JobOutput:
        raise AssertionError("nobody makes it")


def open_quiet(storage: Storage) -> RunContext:
    """Return a context of a store, without models."""
    return RunContext(storage, {}, RayConfig(), RunnerConfig(), Quiet())


def give_node(spec: NodeSpec, context: RunContext) -> GivenNode:
    """Return a node that is what a spec says."""
    return GivenNode(context=context, reruns=Reruns(), given=spec)
