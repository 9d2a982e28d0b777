"""Proves that data is vetted before anything is trained on it, whoever made it and when."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.errors import YieldError
from infra.generation.reruns import Reruns
from infra.nodes.rows import Rows, StoredRows
from infra.store.manifests import NodeSpec
from infra.store.storage import Storage
from tasks.training.config import TrainingConfig
from tasks.training.nodes import Training
from tasks.training.origins import Origins
from tests.unit.given_nodes import GivenNode, give_node, open_quiet


@dataclass(frozen=True, kw_only=True, eq=False)
class Unfit(GivenNode):
    """Rows that are there, and miss a bound that came later."""

    def vet(self, given: Rows) -> None:
        raise YieldError("12.5% refuse")


def test_a_training_on_rows_of_an_earlier_run_asks_whether_they_are_fit(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    context = open_quiet(storage)
    spec = NodeSpec.build("curation", 3, identity={}, selection={})
    training = Training(
        context=context,
        reruns=Reruns(),
        config=TrainingConfig(),
        encoding=give_node(NodeSpec.build("encoding", 1, identity={}, selection={}), context),
        examples=Unfit(context=context, reruns=Reruns(), given=spec),
        funnel=[],
        origins=Origins("run", ()),
    )
    # Its token rows are not even there: nothing was read of them.
    with pytest.raises(YieldError, match=r"12\.5% refuse"):
        training.run(StoredRows(storage))
