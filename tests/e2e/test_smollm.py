"""Runs a real language model from its GGUF file to a data set of real English, killed once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import polars as pl
import pytest

from infra.models.folders import fetch_model
from infra.rendering.encoder import load_tokenizer
from tests.e2e.processes import (
    await_no_leftovers,
    closing_line,
    count_parts,
    run_command,
    run_until,
    running_pids,
)
from tests.e2e.scripted import read_parts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

MODEL = Path("data/models/SmolLM2-135M-Instruct.Q4_1.gguf")
LONGEST_S = 900.0
SMALLER = (
    *("--until", "export"),
    *("--set", "personas.sample=6", "--set", "instructions.limit=3"),
    # Chunks of two seconds, as a small cut of the run has only seconds to be killed in.
    *("--set", "runner.chunk_seconds=2"),
)
"""Without its training: a few steps on a few rows neither gain nor prove anything."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Prefect home and a store of this module's own."""
    if not MODEL.is_file():
        pytest.fail(f"{MODEL} is not there: run `make smollm` first, as `make e2e` does")
    return tmp_path_factory.mktemp("smollm")


def test_the_file_becomes_a_folder_with_the_models_own_tokens(home: Path) -> None:
    tokenizer = load_tokenizer(fetch_model(str(MODEL)))
    # The model learnt every digit as a token of its own, which GGUF says by a name only.
    ids = tokenizer("In 1987 there were 45.", add_special_tokens=False)["input_ids"]
    assert [token.strip("Ġ") for token in tokenizer.convert_ids_to_tokens(ids)] == [
        *("In", "", "1", "9", "8", "7", "there", "were", "", "4", "5", "."),
    ]
    assert tokenizer.eos_token == "<|im_end|>"


def test_a_run_on_real_english_is_killed_goes_on_and_ends_in_a_data_set(home: Path) -> None:
    before, store = running_pids(), home / "store"
    command = ["run", "configs/smollm.yaml", "--set", f"storage.root={store}", *SMALLER]
    env = {"PREFECT_HOME": str(home / "prefect"), "HF_HUB_OFFLINE": "1"}

    def mid_dialogues() -> bool:
        return count_parts(store, "dialogues_generate") >= 1

    code = run_until(command, env, mid_dialogues, signal.SIGKILL, LONGEST_S)
    assert code == -signal.SIGKILL
    await_no_leftovers(before)
    kept = read_parts(store, "dialogues_generate")
    assert kept.height

    done = run_command(command, env, timeout_s=LONGEST_S)
    result = closing_line(done)
    await_no_leftovers(before)
    for name, counts in result["counts"].items():
        assert counts["planned"] == counts["accepted"] + counts["rejected"], name
    rows = read_parts(store, "dialogues_generate")
    assert rows.join(kept, on="key", how="semi").sort("key").equals(kept.sort("key"))
    assert (
        rows["key"].n_unique() == rows.height == result["counts"]["dialogues_generate"]["planned"]
    )
    check_english(Path(result["dataset"]))

    cached = closing_line(run_command(command, env, timeout_s=LONGEST_S))
    assert (cached["counts"], cached["engines_started"]) == (result["counts"], {})


def check_english(dataset: Path) -> None:
    """The teacher says something, and of different questions something different."""
    lines = (dataset / "synthetic_dialogue.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["character_answer"] for line in lines]
    common = {"i", "the", "a", "to", "and", "of", "my", "is", "in", "that", "it"}
    words = pl.Series([word.lower().strip(".,!?") for answer in answers for word in answer.split()])
    assert len(set(answers)) == len(answers) >= 4
    assert words.is_in(common).mean() > 0.2  # type: ignore[operator]
