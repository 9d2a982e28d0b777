"""Reads a real language model from the GGUF file that a Python package carries."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.model_folders import fetch_model
from infra.rendering import load_tokenizer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

MODEL = Path("data/models/SmolLM2-135M-Instruct.Q4_1.gguf")


def test_the_file_becomes_a_folder_with_the_models_own_tokens() -> None:
    assert MODEL.is_file(), "run `make smollm` first, as `make e2e` does"
    tokenizer = load_tokenizer(fetch_model(str(MODEL)))
    # The model learnt every digit as a token of its own, which GGUF says by a name only.
    ids = tokenizer("In 1987 there were 45.", add_special_tokens=False)["input_ids"]
    assert [token.strip("Ġ") for token in tokenizer.convert_ids_to_tokens(ids)] == [
        *("In", "", "1", "9", "8", "7", "there", "were", "", "4", "5", "."),
    ]
    assert tokenizer.eos_token == "<|im_end|>"
