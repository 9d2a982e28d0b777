"""Opens the report of a run of the paper's size: 306,252 dialogues and 60,000 judgements.

The store is written first, with characters, dialogues, questions, answers and verdicts as long as
a real teacher's. Told are the time and memory that the page takes to make, its size, and how long
a headless Chromium takes to open it, to the last byte read and all rows ready (the median).

    make bench ONLY=report
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from infra.store.manifests import NodeRef
from infra.store.storage import Storage
from tasks.records import Answer, Character, Dialogue, EvalQuestion, Judgement, Persona, Turn
from tasks.reporting.config import ReportConfig
from tests.benchmarks.hardware import describe_hardware
from tests.e2e.chromium import open_chromium
from tests.unit.reporting import worlds

_HERE = "tests.benchmarks.report"
_WANTED_S = 2.0
_CAST, _EACH = 8_507, 18
"""Characters, and dialogues of each under either strategy: 306,252 in all."""
_ASKED, _QUESTIONS = 7_500, 4
"""Personas that are asked, and questions to each: with two models 60,000 answers and verdicts."""
_LONGER = 6
"""How often an answer's text is said again: 130 words, as a teacher's."""


def main() -> None:
    """Write the store, make the page, open it; print and save the figures."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--part", type=float, default=1.0, help="share of the paper's size")
    parser.add_argument("--times", type=int, default=5, help="how often the page is opened")
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        nodes = _apart(write_store, folder, arguments.part)
        rows = {ref.stage: ref.accepted for ref in nodes}
        dialogues = sum(count for stage, count in rows.items() if stage.startswith("dialogues"))
        verdicts = sum(count for stage, count in rows.items() if stage.startswith("judgements"))
        print(f"{dialogues:,} dialogues, {verdicts:,} judgements", flush=True)
        made = _apart(make_page, folder, nodes)
        print(
            f"page made in {made['seconds']:.1f} s, {made['peak_gib']:.2f} GiB at most, "
            f"{made['mib']:.2f} MiB",
            flush=True,
        )
        opened = open_page(Path(made["path"]).as_uri(), arguments.times)
    told = ", ".join(f"{seconds:.2f}" for seconds in opened["open_s"])
    median = statistics.median(opened["open_s"])
    print(f"opens in {median:.2f} s ({told}; wanted: at most {_WANTED_S:g})")
    print(f"a search takes {max(opened['search_ms']):.0f} ms at most")
    if arguments.save:
        record = {
            "date": date.today().isoformat(),
            "command": " ".join(["python -m", _HERE, *sys.argv[1:]]),
            "hardware": describe_hardware(),
            "dialogues": dialogues,
            "judgements": verdicts,
            **{name: value for name, value in made.items() if name != "path"},
            **opened,
            "median_open_s": round(median, 3),
        }
        arguments.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def write_store(folder: str, part: float) -> list[NodeRef]:
    """Write the nodes that such a report reads; ``part`` is a share of the paper's size."""
    storage = Storage(folder)
    cast = [worlds.make_character(number) for number in range(int(_CAST * part))]
    asked = cast[: int(_ASKED * part)]
    personas = [
        Persona(item.persona_key, item.persona, f"p.jsonl:{n}") for n, item in enumerate(cast)
    ]
    nodes = [
        worlds.write_node(storage, "personas", Persona, personas),
        worlds.write_node(storage, "characters", Character, cast),
    ]
    for strategy in ("generate", "rewrite"):
        rows = (
            _lengthen(worlds.make_dialogue(place * _EACH + copy, actor, strategy))
            for place, actor in enumerate(cast)
            for copy in range(_EACH)
        )
        nodes.append(worlds.write_node(storage, f"dialogues_{strategy}", Dialogue, rows))
    questions = [
        worlds.make_question(place * _QUESTIONS + copy, actor)
        for place, actor in enumerate(asked)
        for copy in range(_QUESTIONS)
    ]
    nodes.append(worlds.write_node(storage, "questions", EvalQuestion, questions))
    for model in ("base", "tuned"):
        answers = [
            _lengthen_answer(worlds.make_answer(n, row, model)) for n, row in enumerate(questions)
        ]
        verdicts = [worlds.make_judgement(n, row) for n, row in enumerate(answers)]
        nodes.append(worlds.write_node(storage, f"answers_{model}", Answer, answers))
        nodes.append(worlds.write_node(storage, f"judgements_judge_{model}", Judgement, verdicts))
    nodes += [worlds.write_scores(storage), worlds.write_training(storage)]
    return nodes


def make_page(folder: str, nodes: list[NodeRef]) -> dict[str, Any]:
    """Make report and page of pairs as a run does; tell how long it took, and how much memory."""
    from tasks.reporting.assembly import assemble_pairs, assemble_report
    from tasks.reporting.page import render_pairs, render_report
    from tasks.reporting.run_nodes import RunNodes
    from tasks.reporting.sections.overview import RunFacts
    from tasks.reporting.templates import read_templates

    config = ReportConfig()
    templates = read_templates(config.template)
    run = RunFacts("0" * 32, demo=False, models=(), versions=(), config_text="")
    began = time.monotonic()
    read = RunNodes(Storage(folder), nodes)
    pairs = assemble_pairs(read, config, run.fingerprint)
    facts = assemble_report(read, config, run, paired=pairs is not None)
    path = Path(folder) / "report.html"
    path.write_text(render_report(facts, templates), encoding="utf-8")
    if pairs is not None:
        render_pairs(pairs, templates)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "path": str(path),
        "seconds": round(seconds, 2),
        "peak_gib": round(peak / 2**20, 2),
        "mib": round(path.stat().st_size / 2**20, 2),
    }


def open_page(address: str, times: int) -> dict[str, list[float]]:
    """Open the page in a browser again and again; return seconds to open and to search."""
    opened, searched = [], []
    with tempfile.TemporaryDirectory() as profile, open_chromium(Path(profile) / "profile") as page:
        for _ in range(times):
            page.open("about:blank")
            began = time.monotonic()
            page.open(address)
            page.evaluate("performance.getEntriesByName('rows-ready')[0].duration")
            opened.append(round(time.monotonic() - began, 3))
            took = page.evaluate(
                """(() => {
                    const box = document.getElementById("words");
                    box.value = "kyoto poet";
                    const began = performance.now();
                    box.dispatchEvent(new Event("input"));
                    return performance.now() - began;
                })()"""
            )
            searched.append(round(float(took), 1))
    return {"open_s": opened, "search_ms": searched}


def _apart(work: Any, *arguments: Any) -> Any:
    """Do it in a process of its own: its memory is its own, too."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(work, arguments)


def _lengthen(row: Dialogue) -> Dialogue:
    *given, said = row.turns
    return replace(row, turns=(*given, Turn(said.role, " ".join([said.content] * _LONGER))))


def _lengthen_answer(row: Answer) -> Answer:
    return replace(row, answer=" ".join([row.answer] * _LONGER))


if __name__ == "__main__":
    main()
