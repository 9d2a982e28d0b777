"""Builds small pipelines with a scripted engine, runs them, and reads what they left."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from flows.pipeline import opencharacter
from flows.recipe.graph import Graph, build_graph
from flows.recipe.opening import open_context, prepare
from flows.runs.closing import RunResult
from infra.context import Listener
from infra.engines.scripted_answers import write_answer
from infra.progress import Progress
from infra.protocol import Request
from infra.store.manifests import Manifest, read_manifest
from infra.store.row_store import read_rows

LEDGER = "OPENCHARACTER_TEST_LEDGER"
ROW_STAGES = ("guesses", "characters", "dialogues_generate", "dialogues_rewrite")

_TRADES = ("baker", "pilot", "judge", "gardener", "surgeon", "clown", "plumber", "poet", "miner")
_TOWNS = ("Lisbon", "Oslo", "Nairobi", "Kyoto", "Quito", "Perth", "Tunis", "Riga", "Lima", "Cork")


def respond_and_log(request: Request) -> str:
    """Answer as the default script does, and note the request in the ledger."""
    with Path(os.environ[LEDGER]).open("a", encoding="utf-8") as file:
        file.write(request.request_id + "\n")
    return write_answer(request)


class Silent(Listener):
    """Watches nothing."""

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Ignore it."""

    def engine_event(self, model: str, text: str) -> None:
        """Ignore it."""


@dataclass(frozen=True)
class ScriptedWorld:
    """Is a folder with personas, questions and a configuration."""

    folder: Path
    config: Path
    root: Path

    @classmethod
    def make(cls, folder: Path, personas: int = 24, questions: int = 10) -> ScriptedWorld:
        """Write the inputs and a configuration that differs from the default where it must."""
        folder.mkdir(parents=True, exist_ok=True)
        world = cls(folder, folder / "small.yaml", folder / "store")
        world.write_personas("personas.jsonl", range(personas))
        rows = [
            {"instruction": f"How do I look after {n} goats in winter?", "output": f"Feed {n}."}
            for n in range(questions)
        ]
        (folder / "questions.json").write_text(json.dumps(rows))
        config = {
            "storage": {"root": str(world.root)},
            "models": {"teacher": {"engine": "scripted", "model": "script", "max_concurrency": 8}},
            "personas": {
                "source": str(folder / "personas.jsonl"),
                "near_duplicate_similarity": None,
            },
            "instructions": {
                "sources": [str(folder / "questions.json")],
                "synthesis": {"count": 6, "language": None},
            },
            "characters": {"language": None},
            "dialogues": {"rewrite": {}},
            "curation": {"language": None, "near_duplicate_similarity": None},
            "runner": {"chunk_rows": 4},
            "retry": {"first_delay_s": 0.1},
        }
        world.config.write_text(yaml.safe_dump(config))
        return world

    def write_personas(self, name: str, numbers: Sequence[int] | range) -> Path:
        """Write a persona file; equal numbers give equal personas."""
        path = self.folder / name
        lines = [
            {"persona": f"A {_TRADES[n % 9]} from {_TOWNS[n // 9 % 10]} with {n + 2} children"}
            for n in numbers
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def run(self, *overrides: str, **parts: Any) -> RunResult:
        """Run the pipeline in this process; ``parts`` are the flow's other arguments."""
        result: RunResult = opencharacter(str(self.config), list(overrides), **parts)
        return result

    def graph(self, *overrides: str) -> Graph:
        """Name the nodes of a run."""
        settings = prepare(self.config, overrides)
        with open_context(settings, Silent()) as context:
            return build_graph(settings, context)

    def manifest(self, stage: str, *overrides: str) -> Manifest:
        """Read a node's manifest."""
        settings = prepare(self.config, overrides)
        with open_context(settings, Silent()) as context:
            nodes = {node.stage: node for node in build_graph(settings, context).specs()}
            return read_manifest(context.storage, nodes[stage].manifest_path)

    def rows(self, stage: str, *overrides: str) -> pl.DataFrame:
        """Read a row stage's rows through its manifest, without what no key covers."""
        settings = prepare(self.config, overrides)
        with open_context(settings, Silent()) as context:
            nodes = {node.stage: node for node in build_graph(settings, context).specs()}
            manifest = read_manifest(context.storage, nodes[stage].manifest_path)
            return read_rows(context.storage, manifest)


def read_parts(root: Path, stage: str) -> pl.DataFrame:
    """Read every row on disk, replaced chunks left out, to see that none is there twice."""
    from infra.store.row_store import list_parts
    from infra.store.storage import Storage

    storage = Storage(str(root))
    frames = [
        pl.read_parquet(storage.url(stat.path))
        for recipe in sorted((root / stage).iterdir())
        for stats in list_parts(storage, f"{stage}/{recipe.name}")
        for stat in stats
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema={"key": pl.String})
