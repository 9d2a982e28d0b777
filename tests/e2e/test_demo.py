"""Runs the demo as a user would: real vLLM on real Ray under a real Prefect, killed and resumed."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from infra.models.exported import verify_export
from tests.e2e.prefect_homes import DATABASE
from tests.e2e.processes import (
    await_no_leftovers,
    closing_line,
    count_parts,
    run_command,
    run_until,
    running_pids,
)
from tests.e2e.scripted import ROW_STAGES, read_parts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

LONGEST_S = 600.0
"""How long a run may take on a machine that does other things as well."""

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALLER = (
    *("--set", "personas.sample=90", "--set", "instructions.limit=36"),
    *("--set", "instructions.synthesis.count=12", "--set", "training.epochs=1"),
    *("--set", "training.max_examples=64"),
    *("--set", "evaluation.questions.personas=6"),
    *("--set", "evaluation.attribution.max_examples=16"),
    *("--set", "evaluation.models=[base, tuned, control]"),
)
"""A cut of the demo, with a second model that learns under other characters' profiles."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Prefect home and a store of this module's own, so that the runs build on each other."""
    return tmp_path_factory.mktemp("demo")


def run_demo(home: Path, *more: str, store: str = "store") -> list[str]:
    root = f"storage.root={home / store}"
    return ["run", "configs/demo.yaml", "--set", root, *more]


def calibrate_less(home: Path) -> str:
    """Return the demo's judges, measured on every eighth of the rows with known scores."""
    judges = yaml.safe_load(Path("configs/demo.yaml").read_text())["evaluation"]["judges"]
    known = (Path("configs") / judges[0]["calibration"]).read_text().splitlines(keepends=True)
    fewer = home / "calibration.jsonl"
    fewer.write_text("".join(known[::8]))
    return f"evaluation.judges={json.dumps([{**judges[0], 'calibration': str(fewer)}])}"


def environment(home: Path) -> dict[str, str]:
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str(home / "cache"),
    }


def test_the_demo_is_killed_resumed_loses_its_engine_finishes_and_is_cached(home: Path) -> None:
    before = running_pids()
    store = home / "store"
    command = run_demo(home, *SMALLER, "--set", calibrate_less(home))

    def mid_dialogues() -> bool:
        return count_parts(store, "dialogues_generate") >= 3

    def count_dialogues() -> int:
        return sum(count_parts(store, f"dialogues_{name}") for name in ("generate", "rewrite"))

    code = run_until(command, environment(home), mid_dialogues, signal.SIGKILL, LONGEST_S)
    assert code == -signal.SIGKILL
    await_no_leftovers(before)
    kept = {name: read_parts(store, name) for name in ROW_STAGES if (store / name).is_dir()}
    assert kept["characters"].height == kept["characters"]["key"].n_unique()

    parts = count_dialogues()
    result = run_and_kill_engine(command, environment(home), lambda: count_dialogues() > parts)
    await_no_leftovers(before)
    # A trained model is started by the check of its own export; four engines take turns, so each
    # may give way once and come again, and the teacher's was killed once besides.
    most = {"teacher": 3, "base": 2, "tuned": 2, "control": 2}
    started = result["engines_started"]
    assert started.keys() == most.keys()
    assert all(started[name] <= most[name] for name in most), started
    for name, counts in result["counts"].items():
        assert counts["planned"] == counts["accepted"] + counts["rejected"], name
    for name in ROW_STAGES:
        rows = read_parts(store, name)
        assert rows["key"].n_unique() == rows.height == result["counts"][name]["planned"]
        if name in kept:
            again = rows.join(kept[name], on="key", how="semi").sort("key")
            assert again.equals(kept[name].sort("key")), name
    check_characters(read_parts(store, "characters"))
    check_export(home, Path(result["dataset"]), result["counts"]["curation"]["accepted"])
    page = Path(result["report"]).read_text()
    assert "three million parameters" in page
    check_model(Path(result["model"]), result["scores"], page)
    check_control(result, page)

    assert read_artifacts(home, "progress-dialogues-generate")[-1] == 100
    logs = read_artifacts(home, "engine-teacher-0")
    assert "LlamaForCausalLM" in logs[0] and "EngineCore" in logs[-1]

    began = time.monotonic()
    cached = closing_line(run_command(command, environment(home)))
    print(f"rerun: {time.monotonic() - began:.1f} s")
    assert cached["counts"] == result["counts"]
    assert cached["engines_started"] == {}


def read_artifacts(home: Path, key: str) -> list[Any]:
    """Return what Prefect's server would show under a key, oldest first."""
    with closing(sqlite3.connect(home / "prefect" / DATABASE)) as database:
        found = database.execute("SELECT data FROM artifact WHERE key = ? ORDER BY created", (key,))
        return [json.loads(str(text)) for (text,) in found]


def check_characters(rows: pl.DataFrame) -> None:
    accepted = rows.filter(pl.col("status") == "accepted")
    profiles = accepted.select("name", "age", "gender", "race", "birth_place", "appearance")
    assert profiles.n_unique() >= 0.95 * accepted.height
    assert accepted.height >= 0.9 * rows.height


def check_export(home: Path, folder: Path, examples: int) -> None:
    cache = str(home / "cache")
    opened = {
        name: datasets.load_dataset(str(folder), name, cache_dir=cache)
        for name in ("characters", "dialogues", "sft")
    }
    assert sum(len(split) for split in opened["sft"].values()) == examples
    assert set(opened["dialogues"]["train"]["strategy"]) == {"generate", "rewrite"}
    train, held = (
        {row["character_id"] for row in opened["sft"][name]} for name in ("train", "validation")
    )
    assert train and held and not train & held


def check_model(folder: Path, scores: dict[str, float], page: str) -> None:
    """The student learned something of characters it never saw, and the report shows it."""
    assert verify_export(folder).template == "llama3"
    assert scores["eval_loss_tuned"] <= 0.8 * scores["eval_loss_base"]
    assert f"{scores['eval_loss_tuned']:.3f}" in page and "<svg" in page
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card and "curves.png" in card


def check_control(result: dict[str, Any], page: str) -> None:
    """It was asked what the model was asked, and they are compared."""
    asked = [result["counts"][f"answers_{role}"] for role in ("tuned", "control")]
    assert asked[0]["planned"] == asked[1]["planned"] > 0
    assert {"attribution_control", "attribution_tuned_over_control_gain"} <= result["scores"].keys()
    assert "control learned the same answers as tuned" in page


def run_and_kill_engine(
    command: list[str], env: dict[str, str], ready: Callable[[], bool]
) -> dict[str, Any]:
    """Run the command line, kill vLLM's engine core once ``ready``; return the closing line."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *command],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + LONGEST_S
    killed = False
    while process.poll() is None and not killed:
        assert time.monotonic() < deadline
        killed = ready() and kill_engine_core(process.pid)
        time.sleep(0.02)
    out, errors = process.communicate(timeout=LONGEST_S)
    assert killed, "the run ended before its engine could be killed"
    assert process.returncode == 0, errors[-4000:]
    assert "restarting" in errors
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found


def kill_engine_core(owner: int) -> bool:
    """Kill the engine core below a run; tell whether there was one."""
    for process in psutil.Process(owner).children(recursive=True):
        with suppress(psutil.Error):
            if "EngineCore" in " ".join(process.cmdline()):
                parent = " ".join(process.parent().cmdline())
                assert "VLLM::Frontend" in parent  # it is a fork of what a zygote has forked
                process.kill()
                return True
    return False


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no real rows at {REAL}; the demo's own are used")
def test_real_personas_and_instructions_keep_the_structure(home: Path) -> None:
    command = run_demo(
        home,
        *("--set", f"personas.source={REAL / 'personas_persona_hub.jsonl'}"),
        *("--set", f"instructions.sources=[{REAL / 'instructions_alpaca_format.jsonl'}]"),
        *("--set", "personas.sample=20", "--set", "instructions.limit=8"),
        *("--set", "instructions.synthesis.count=3"),
        *("--set", "training=null", "--set", "evaluation=null"),
        store="real",
    )
    result = closing_line(run_command(command, environment(home), timeout_s=LONGEST_S))
    counts = result["counts"]
    for name, found in counts.items():
        assert found["planned"] == found["accepted"] + found["rejected"], name
    assert counts["characters"]["accepted"] >= 0.6 * counts["characters"]["planned"]
    for strategy in ("dialogues_generate", "dialogues_rewrite"):
        assert counts[strategy]["accepted"] >= 0.5 * counts[strategy]["planned"]
