"""Tests that results which Prefect kept under an older address of their class are still read."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from infra.orchestration.tasks import await_node
from infra.store.manifests import NodeRef

KEPT = NodeRef(
    stage="personas", fingerprint="f" * 32, manifest="personas/r/f.json", accepted=3, rejected=1
)


@pytest.mark.parametrize(
    "result",
    [KEPT, {"__class__": "infra.elsewhere.NodeRef", "data": KEPT.model_dump()}],
    ids=["today", "moved"],
)
def test_a_kept_result_is_a_reference_whatever_address_its_class_had(result: object) -> None:
    future: Future[object] = Future()
    future.set_result(result)
    assert await_node(future) == KEPT  # type: ignore[arg-type]
