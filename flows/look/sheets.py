"""Writes the sheet on which a person rates a run's answers, blind or beside the judges."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TypeVar

from flows.recipe.graph import build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings
from infra.context import Quiet
from infra.errors import ConfigError, Problem
from infra.paths import require_path
from infra.store.manifests import NodeRef
from infra.store.reading import read_accepted
from infra.store.set_store import read_set, revive
from infra.store.storage import Storage
from tasks.evaluation.judging.argilla import render_records
from tasks.evaluation.judging.label_studio import render_tasks
from tasks.evaluation.judging.people import (
    SheetRow,
    choose_answers,
    render_sheet,
    tabulate_sheet,
)
from tasks.evaluation.judging.rubrics import load_rubrics
from tasks.records import Answer, Character, EvalTask, HeldOutAnswer, Judgement

R = TypeVar("R")

DEFAULT_RUBRICS = "prompts/evaluation/rubrics.yaml"
STANDARD_OUTPUT = "-"

_RENDERERS: Mapping[str, Callable[[Sequence[Mapping[str, str]]], bytes]] = {
    ".json": render_tasks,
    ".jsonl": render_records,
}
"""By how the name ends; what ends otherwise is a sheet for spreadsheets."""


@dataclass(frozen=True, slots=True)
class SheetOptions:
    """What a sheet shows and where it goes.

    Attributes:
        sample: How many answers; a larger sample keeps those of a smaller one.
        blind: Hide the models and what judges said.
        out: A path, an S3 address, or ``-`` for standard output; ``.json`` is for Label Studio,
            ``.jsonl`` for Argilla, all else CSV.
        seed: Draws the sample and its order.
        rubrics: File of the rubrics that people rate by; best the judge's.
    """

    sample: int = 50
    blind: bool = False
    out: str = "sheet.csv"
    seed: int = 0
    rubrics: str = DEFAULT_RUBRICS


def choose_rubrics(settings: Settings) -> str:
    """Return the rubrics that the first of our own judges goes by, so that people do too."""
    judges = settings.evaluation.judges if settings.evaluation else ()
    ours = (judge.rubrics for judge in judges if judge.prompts == "ours")
    return next(ours, DEFAULT_RUBRICS)


def write_sheet(settings: Settings, options: SheetOptions) -> None:
    """Write a sheet of a run's answers; a file that is there is never written over."""
    if options.sample < 1:
        raise ConfigError(Problem("--sample", f"asks for {options.sample}", "take 1 or more"))
    place = _find_place(options.out)
    rubrics = describe_rubrics(options.rubrics)
    with open_context(settings, Quiet()) as context:
        done = build_graph(settings, context).references()
        rows = collect_rows(
            context.storage, done, sample=options.sample, seed=options.seed, rubrics=rubrics
        )
    if not rows:
        todo = "`opencharacter run` makes them, `opencharacter plan` says what is missing"
        raise ConfigError(Problem("answers", "there are none yet", todo))
    note = f"run {settings.run.name}, sample {options.sample}, seed {options.seed}"
    render = _RENDERERS.get(PurePath(options.out).suffix, render_sheet)
    data = render(tabulate_sheet(rows, blind=options.blind, note=note))
    if place is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        place[0].write_bytes(place[1], data)
    models = len({row.model for row in rows})
    print(
        f"{len(rows)} answers of {models} models ({note}) → {options.out}\n"
        "Fill in `score` (1 to 5; empty is not rated), name the file after the rater, and list it "
        "under evaluation.people.",
        file=sys.stderr,
    )


def collect_rows(
    storage: Storage,
    done: Mapping[str, NodeRef],
    *,
    sample: int,
    seed: int,
    rubrics: Mapping[EvalTask, str],
) -> list[SheetRow]:
    """Choose the answers and gather what is shown with each; empty where nothing was answered."""
    chosen = choose_answers(read_family(storage, done, "answers", Answer), sample, seed)
    by_question, by_persona = _read_profiles(storage, done)
    verdicts = _read_verdicts(storage, done, {answer.key for answer in chosen})
    return [
        SheetRow(
            answer_key=answer.key,
            persona=answer.persona,
            profile=by_question.get(answer.question_key) or by_persona.get(answer.persona_key, ""),
            task=answer.task.replace("_", " "),
            rubric=rubrics.get(answer.task, ""),
            question=answer.question,
            answer=answer.answer,
            model=answer.model,
            verdicts=tuple(verdicts[answer.key]),
        )
        for answer in chosen
    ]


def describe_rubrics(path: str) -> dict[EvalTask, str]:
    """Return what people need of each task's rubric: what to look at, and its two ends."""
    return {
        task: f"{rubric.task}: {rubric.description}\n1: {rubric.anchors[0]}\n5: {rubric.anchors[4]}"
        for task, rubric in load_rubrics(require_path(path, "rubrics")).items()
    }


def _find_place(out: str) -> tuple[Storage, str] | None:
    """Return the folder and the name to write to, ``None`` for standard output."""
    if out == STANDARD_OUTPUT:
        return None
    folder, slash, name = out.rpartition("/")
    if not name:
        raise ConfigError(Problem(f"--out {out}", "names no file", "add a name, as sheet.csv"))
    storage = Storage(folder or slash or ".")
    if storage.stat(name) is not None:
        what = "is there already and may hold ratings"
        raise ConfigError(Problem(f"--out {out}", what, "give another name, or remove it"))
    return storage, name


def read_family(
    storage: Storage, done: Mapping[str, NodeRef], family: str, record: type[R]
) -> list[R]:
    """Read the nodes of all models, or of all judges and models."""
    return [
        row
        for stage, reference in done.items()
        if stage.startswith(f"{family}_")
        for row in read_accepted(storage, reference, record)
    ]


def _read_profiles(
    storage: Storage, done: Mapping[str, NodeRef]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return profiles by question, where that says whose they are, and by persona."""
    references = (
        revive(HeldOutAnswer, read_set(storage, done["questions"], "references"))
        if "questions" in done
        else []
    )
    characters = (
        read_accepted(storage, done["characters"], Character) if "characters" in done else []
    )
    return (
        {item.question_key: item.profile for item in references},
        {item.persona_key: item.profile for item in characters},
    )


def _read_verdicts(
    storage: Storage, done: Mapping[str, NodeRef], answer_keys: Collection[str]
) -> defaultdict[str, list[tuple[str, float | None]]]:
    verdicts: defaultdict[str, list[tuple[str, float | None]]] = defaultdict(list)
    for row in read_family(storage, done, "judgements", Judgement):
        if row.answer_key in answer_keys:
            verdicts[row.answer_key].append((row.judge, row.score))
    return verdicts
