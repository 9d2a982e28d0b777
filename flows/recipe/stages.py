"""Names the stages of a run in order, and keeps what was started of them."""

from __future__ import annotations

from prefect.futures import PrefectFuture

from infra.orchestration.tasks import await_node
from infra.store.manifests import NodeRef

STAGES = (
    "personas",
    "instructions",
    "characters",
    "dialogues",
    "curation",
    "export",
    "encoding",
    "training",
    "evaluation",
    "report",
)
"""What `--until` takes; nodes of one stage (two strategies, guesses) start together."""


_STAGE_OF = {"guesses": "instructions", "publish": "report"}


def stage_of(node: str) -> str:
    """Return the stage that a node belongs to, by the node's name."""
    if node in STAGES:
        return node
    if node.startswith("dialogues_"):
        return "dialogues"
    return _STAGE_OF.get(node, "evaluation")


class Started(dict[str, PrefectFuture[NodeRef]]):
    """Futures of the nodes that were started, by node name, in order."""

    def reached(self, until: str, stage: str) -> bool:
        """Tell whether a run that ends with ``until`` comes to a stage."""
        return STAGES.index(until) >= STAGES.index(stage)

    def collect(self) -> dict[str, NodeRef]:
        """Wait for every node; raise the error of the first that failed, upstream first."""
        for future in self.values():
            future.wait()
        return {name: await_node(future) for name, future in self.items()}
