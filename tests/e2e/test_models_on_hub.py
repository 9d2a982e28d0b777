"""Fetches models from a hub on the loopback, each in a process of its own, and bounds the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.hub import TOKEN, Repository, SmallHub, run_hub

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FETCH = "from infra.models.folders import fetch_model; print(fetch_model(sys.argv[1], sys.argv[2]))"
MEASURE = "from infra.models.folders import measure_brought as look; print(look(*sys.argv[1:3]))"
BY_HAND = "import huggingface_hub as hub; hub.snapshot_download(sys.argv[1], revision=sys.argv[2])"
WEIGHTS = b"w" * 300_000
FILES = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": WEIGHTS}
UNREAD = {"pytorch_model.bin": b"p", "consolidated.safetensors": b"c", "model.onnx": b"o"}
TOTAL = sum(map(len, FILES.values()))


@dataclass
class Machine:
    """A machine with the hub's cache and ours in a folder, as its processes see it."""

    hub: SmallHub
    folder: Path

    def start(self, code: str, model: str, commit: str, **more: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "HF_HOME": str(self.folder / "hub"),
            "HF_ENDPOINT": self.hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            **more,
        }
        command = [sys.executable, "-c", f"import sys; {code}", model, commit]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, text=True)

    def run(self, code: str, model: str, commit: str, **more: str) -> str:
        process = self.start(code, model, commit, **more)
        told = process.communicate(timeout=60)[0]
        assert process.returncode == 0
        return told.strip()

    def list_snapshot(self, model: str) -> dict[str, bytes]:
        folder = self.folder / "hub" / "hub" / f"models--{model.replace('/', '--')}"
        return {path.name: path.read_bytes() for path in folder.glob("snapshots/*/*")}


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with run_hub() as hub:
        yield Machine(hub, tmp_path)


def publish(hub: SmallHub, name: str) -> Repository:
    return hub.add("models", name, private=False, **FILES, **UNREAD)


def test_a_model_is_fetched_once_and_only_what_is_loaded(machine: Machine) -> None:
    made = publish(machine.hub, "tester/tiny")
    assert machine.run(MEASURE, "tester/tiny", made.head) == "(0, 1)"
    both = [machine.start(FETCH, "tester/tiny", made.head) for _ in range(2)]
    assert [one.communicate(timeout=60)[0].strip() for one in both] == ["tester/tiny"] * 2
    assert machine.hub.count(f"GET /tester/tiny/resolve/{made.head}/model.safetensors") == 1
    assert machine.list_snapshot("tester/tiny") == {".gitattributes": b"", **FILES}
    assert machine.run(MEASURE, "tester/tiny", made.head) == f"({TOTAL}, {TOTAL})"

    machine.hub.failures["/"] = [503] * 50
    asked = len(machine.hub.requests)
    assert machine.run(FETCH, "tester/tiny", made.head) == "tester/tiny"
    assert len(machine.hub.requests) == asked, "what is whole needs no hub"


def test_what_is_in_use_or_not_ours_stays_when_the_cache_is_full(machine: Machine) -> None:
    made = {name: publish(machine.hub, f"tester/{name}") for name in ("old", "used", "mine", "new")}
    machine.run(BY_HAND, "tester/mine", made["mine"].head)
    machine.run(FETCH, "tester/mine", made["mine"].head)
    machine.run(FETCH, "tester/old", made["old"].head)
    engine = machine.start(
        f"{FETCH}; sys.stdout.flush(); input()", "tester/used", made["used"].head
    )
    assert engine.stdout is not None and engine.stdout.readline().strip() == "tester/used"

    machine.run(FETCH, "tester/new", made["new"].head, OPENCHARACTER_CACHE_GIB="0.0005")

    engine.communicate("go\n", timeout=60)
    there = {name: "model.safetensors" in machine.list_snapshot(f"tester/{name}") for name in made}
    assert there == {"old": False, "used": True, "mine": True, "new": True}


def test_a_hub_that_does_not_answer_is_left_to_who_loads(machine: Machine) -> None:
    assert machine.run(FETCH, "tester/nowhere", "0" * 40) == "tester/nowhere"
    assert machine.run(MEASURE, "tester/nowhere", "0" * 40) == "(0, 1)"
