"""Checks that a plan over files of the paper's size says the paper's counts (section 3.2)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from flows.plan.planning import draw_plan
from flows.recipe.opening import prepare

ALPACA, PH_INSTRUCT = 51_010, 50_000
LIMA_SINGLE, LIMA_MULTI, LIMA_USER_TURNS = 1_000, 30, 1_074
PERSONAS = 50


def test_paper_counts_are_planned(tmp_path: Path) -> None:
    turns = _spread(LIMA_USER_TURNS - LIMA_SINGLE, LIMA_MULTI)
    lima = [
        {"conversations": [text for k in range(n) for text in (f"Why {i} {k}?", f"So {i} {k}.")]}
        for i, n in enumerate([1] * LIMA_SINGLE + turns)
    ]
    files: dict[str, list[dict[str, Any]]] = {
        "lima.jsonl": lima,
        "alpaca.jsonl": [
            {"instruction": f"Name {n}.", "input": "", "output": f"It is {n}."}
            for n in range(ALPACA)
        ],
        "instruction.jsonl": [
            {"input persona": f"P{n}", "synthesized text": f"User prompt: Help me with {n}."}
            for n in range(PH_INSTRUCT)
        ],
        "personas.jsonl": [
            {"persona": f"A keeper of {n} bees who lives by the sea"} for n in range(PERSONAS)
        ],
    }
    for name, rows in files.items():
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "storage": {"root": str(tmp_path / "store")},
        "models": {"teacher": {"engine": "scripted", "model": "x"}},
        "personas": {"source": str(tmp_path / "personas.jsonl"), "near_duplicate_similarity": None},
        "instructions": {"sources": [str(tmp_path / name) for name in list(files)[:3]]},
        "dialogues": {"rewrite": {}},
    }
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(config))
    plan = draw_plan(prepare(tmp_path / "paper.yaml"))
    assert plan.questions == 102_084
    assert plan.pairs == 306_252
    planned = {node.node: node.rows for node in plan.nodes}
    assert planned["dialogues_generate"] == 306_252
    assert planned["dialogues_rewrite"] == 3 * (LIMA_USER_TURNS + ALPACA)
    assert planned["characters"] == PERSONAS


def _spread(total: int, parts: int) -> list[int]:
    """Return how many user turns each multi-turn conversation has."""
    return [total // parts + (index < total % parts) for index in range(parts)]
