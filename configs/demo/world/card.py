"""Writes the model card of the demo models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_CARD = """---
license: apache-2.0
library_name: transformers
language: en
tags: [demo, role-play, synthetic]
---

# The demo's models: `teacher` and `base`

Two Llamas of 3.05 million parameters, made from nothing by `make demo-models` on text from a small
grammar of characters (`configs/demo/world`). **They prove the machinery of OpenCharacter, not the
quality of anything**: outside their small world they answer in the world's own words. The teacher
is a model and nothing else; no template stands behind it.

- `teacher` writes character profiles (JSON or lines), answers in voice, rewrites dialogues, guesses
  prompts, and scores answers from 1 to 5, all from the prompts in `configs/prompts`.
- `base` answers politely and ignores who it is told to be. It is the student before training.

Data, text and weights are this project's own work, under Apache-2.0. No other data was used.

## Measures

On people and questions that no lesson showed, temperature 0.7, no grammar to hold the answer up.

| teacher | share |
|---|---|
{teacher}

| base | share |
|---|---|
{base}
"""


def write_card(path: Path, measures: Mapping[str, Mapping[str, float]]) -> None:
    """Write the card with the measures of both models."""
    tables = {
        name: "\n".join(f"| {measure} | {value:.3f} |" for measure, value in found.items())
        for name, found in measures.items()
    }
    path.write_text(_CARD.format(**tables), encoding="utf-8")
