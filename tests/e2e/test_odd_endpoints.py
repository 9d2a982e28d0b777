"""Runs the pipeline against an odd endpoint: it ends well, or early with what to set."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.cluster.ports import find_port
from infra.errors import RequestFailed
from tests.e2e.odd_endpoint import SECRET, OddEndpoint, serve_oddities
from tests.e2e.scripted import ScriptedWorld, read_parts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

EARLY_S = 60.0
"""For Ray's worker as well; the endpoint's own part is its patience."""


@pytest.fixture(scope="module")
def server() -> Iterator[OddEndpoint]:
    with serve_oddities() as running:
        yield running


def teacher(address: str, model: str) -> str:
    return (
        f"models.teacher={{engine: endpoint, model: {model}, base_url: '{address}', patience_s: 2}}"
    )


@pytest.fixture
def small(tmp_path: Path, prefect_server: str, ray_cluster: None) -> ScriptedWorld:
    return ScriptedWorld.make(tmp_path, personas=6, questions=4)


@pytest.mark.parametrize(
    "model",
    ["strict", "without-system", "dirty", "uncounted", "thinks", "talks", "leaves-open"],
)
def test_a_run_in_a_dialect_ends_well(
    small: ScriptedWorld, server: OddEndpoint, model: str
) -> None:
    result = small.run(teacher(server.address, model))
    counts = result.counts["characters"]
    assert (counts.planned, counts.rejected) == (6, 0)
    assert all(one.planned == one.accepted + one.rejected for one in result.counts.values())
    summary = json.loads((small.root / "runs" / result.run / "summary.json").read_text())
    told = summary["endpoints"].get("characters", {})
    assert ("dialect" in told) == (model in ("strict", "without-system"))
    assert ("usage" in told) == (model == "uncounted")
    assert summary["usage"]["characters"]["completion_tokens"] > 0
    for stage in ("characters", "dialogues_generate", "dialogues_rewrite"):
        text = read_parts(small.root, stage).write_ndjson()
        assert SECRET not in text and "<think>" not in text and "\\u0000" not in text


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("page", "no chat completion.*It works!"),
        ("broken", "HTTP 500.*assertion of ours"),
        ("thinks-only", "reasoning and no text.*max_new_tokens"),
        ("calls-tools", "held no text \\(finish_reason tool_calls\\)"),
        ("upstream", "HTTP 529.*the upstream is overloaded.*patience_s"),
        ("nobody", "nobody answers at.* is up"),
    ],
)
def test_a_run_that_cannot_go_on_ends_early(
    small: ScriptedWorld, server: OddEndpoint, model: str, words: str
) -> None:
    nowhere = f"http://127.0.0.1:{find_port()}/v1"
    address = nowhere if model == "nobody" else server.address
    began = time.monotonic()
    with pytest.raises(RequestFailed, match=words) as caught:
        small.run(teacher(address, model))
    assert caught.value.fatal
    assert time.monotonic() - began < EARLY_S
