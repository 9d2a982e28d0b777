"""Writes models of public shapes with random weights, so that a figure needs no download.

A program too, since whoever makes weights on a GPU holds its memory until it ends.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra.paths import require_path

_HERE = "tests.benchmarks.random_models"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": True,
    },
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "tie_word_embeddings": False,
    },
}
"""Shapes of Llama-3.2-1B and Llama-3.1-8B, and one to try the programs with."""
_VOCABULARY = 128256


def write_model(shape: str, folder: Path, *, weights: bool) -> None:
    """Write a model folder with the demo's tokenizer; without weights it is for dummy loading.

    The embeddings have the real shape's 128,256 rows, of which the tokenizer names a few.
    """
    from transformers import LlamaConfig

    folder.mkdir(parents=True)
    demo = require_path("demo/base", "gpu_check")
    for name in _TOKENIZER:
        shutil.copy(demo / name, folder / name)
    known = json.loads((demo / "config.json").read_text(encoding="utf-8"))
    special = {name: known[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = LlamaConfig(
        **SHAPES[shape],
        **special,
        vocab_size=_VOCABULARY,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 500000.0},
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    config.save_pretrained(folder)
    if weights:
        subprocess.run([sys.executable, "-m", _HERE, str(folder)], check=True)


def main() -> None:
    """Draw the weights of a model folder."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(
            AutoConfig.from_pretrained(folder), dtype=torch.bfloat16
        )
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
