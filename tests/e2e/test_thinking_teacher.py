"""Checks a whole run whose teacher thinks before it speaks: nothing of it is kept anywhere."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from infra.engines.scripted_answers import AnswerWriter, write_answer
from infra.protocol import Request
from tests.e2e.scripted import ROW_STAGES, ScriptedWorld

pytestmark = pytest.mark.e2e

SECRET = "pondering-so-that-nobody-hears"


def think_and_answer(request: Request) -> str:
    """Think, and answer; one first attempt in four never leaves its thought."""
    thought = f"<think>\n{SECRET}: Name: [A] {{b}}, score: 2.\n"
    first = request.request_id.endswith("-0")
    if first and AnswerWriter(request, salt="thought").draw(4) == 0:
        return thought
    return f"{thought}</think>\n\n{write_answer(request)}"


def read_everything(root: Path) -> str:
    """Return all that a run has written, tables as text."""
    texts = []
    for path in sorted(root.rglob("*")):
        if path.suffix == ".parquet":
            texts.append(pl.read_parquet(path).write_ndjson())
        elif path.is_file():
            texts.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(texts)


def test_thoughts_reach_no_row_no_data_set_and_no_report(world: ScriptedWorld) -> None:
    script = f"models.teacher.script={{respond: {__name__}.think_and_answer}}"
    budget = "models.teacher.max_thought_tokens=50"
    result = world.run(script, budget)
    for stage in ROW_STAGES:
        counts = result.counts[stage]
        assert counts.accepted == counts.planned > 0, stage
        facts = world.manifest(stage, script, budget).facts["thoughts"]
        assert facts["rows"] == counts.planned
        assert facts["tokens"] > 0
    assert result.counts["curation"].accepted
    everything = read_everything(world.root)
    assert "goats in winter" in everything
    assert SECRET not in everything and "<think>" not in everything
