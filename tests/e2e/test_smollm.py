"""Runs a real language model from its GGUF file to a data set of real English."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from infra.models.folders import fetch_model
from infra.rendering.encoder import load_tokenizer
from tests.e2e.processes import (
    await_no_leftovers,
    closing_line,
    run_command,
    running_pids,
)
from tests.e2e.scripted import read_parts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

MODEL = Path("data/models/SmolLM2-135M-Instruct.Q4_1.gguf")
LONGEST_S = 900.0
SMALLER = (
    *("--until", "export"),
    *("--set", "personas.sample=6", "--set", "instructions.limit=3"),
)
"""Without its training: a few steps on a few rows neither gain nor prove anything. The demo's test
kills its runs; here one goes through."""


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


def test_a_run_on_real_english_ends_in_a_data_set(home: Path, prefect_server: str) -> None:
    before, store = running_pids(), home / "store"
    command = ["run", "configs/smollm.yaml", "--set", f"storage.root={store}", *SMALLER]
    env = {"PREFECT_API_URL": prefect_server, "HF_HUB_OFFLINE": "1"}
    result = closing_line(run_command(command, env, timeout_s=LONGEST_S))
    await_no_leftovers(before)
    for name, counts in result["counts"].items():
        assert counts["planned"] == counts["accepted"] + counts["rejected"], name
    rows = read_parts(store, "dialogues_generate")
    planned = result["counts"]["dialogues_generate"]["planned"]
    assert rows["key"].n_unique() == rows.height == planned
    check_english(Path(result["dataset"]))


def check_english(dataset: Path) -> None:
    """The teacher says something, and of different questions something different."""
    lines = (dataset / "synthetic_dialogue.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["character_answer"] for line in lines]
    common = {"i", "the", "a", "to", "and", "of", "my", "is", "in", "that", "it"}
    words = pl.Series([word.lower().strip(".,!?") for answer in answers for word in answer.split()])
    assert len(set(answers)) == len(answers) >= 4
    assert words.is_in(common).mean() > 0.2  # type: ignore[operator]
