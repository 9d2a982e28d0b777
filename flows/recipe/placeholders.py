"""Lets a plan go without what a run needs: downloaded inputs, hub commits, keys.

Missing inputs that the configuration describes (`plan.sources`) are stood in for by generated rows
of the described number and length, in a folder that goes again. The plan then counts with the very
code that will count the real ones. A run gets the opposite: :func:`explain_missing` says which
file it lacks, where it is got and where it goes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from flows.recipe.plan_config import SourceNote
from flows.recipe.settings import Settings
from infra.engines.config import ModelConfig
from infra.engines.model_facts import find_cached_commit, is_hub_name
from infra.errors import Problem
from infra.paths import find_path
from infra.store.fingerprints import hash_parts
from infra.store.storage import is_remote
from infra.temporary_folders import temporary_folder
from tasks.evaluation.config import EvaluationConfig
from tasks.instructions.config import ColumnMapping, InstructionSource

_GYM_QUESTIONS = 50
"""Questions that PersonaGym has of a persona: five tasks, ten questions each."""

_GYM_TASKS = (
    "Expected Action",
    "Toxicity",
    "Linguistic Habits",
    "Persona Consistency",
    "Action Justification",
)
_GYM_RUBRIC_WORDS = 400
_GYM_LINE_WORDS = 18
_WORDS = (
    "river", "copper", "window", "gentle", "harbour", "seldom", "orchard", "market", "lantern",
    "winter", "answer", "travel", "mountain", "careful", "garden", "number", "letter", "evening",
)  # fmt: skip


@contextmanager
def stand_in(settings: Settings) -> Iterator[tuple[Settings, tuple[str, ...]]]:
    """Give settings that can be planned on this machine as it is, and say what was made up.

    The settings are resolved ones. Keys are left out, as a plan asks no endpoint.
    """
    missing = find_missing(settings)
    notes = [
        f"{note.path} is not here: planned with {note.rows:,} made-up rows" for note in missing
    ]
    with temporary_folder("plan") as folder:
        ready = _replace_sources(settings, missing, folder)
        models = {}
        for role, model in settings.models.items():
            models[role] = _pin(model).model_copy(
                update={
                    "api_key": None,
                    "dialect": model.dialect.model_copy(update={"headers": {}}),
                }
            )
            if models[role].revision != model.revision:
                notes.append(
                    f"models.{role}: the commit of {model.model} is not known on this machine, so"
                    " nothing it made can be found again; pin models."
                    f"{role}.revision, or download the model"
                )
        yield ready.model_copy(update={"models": models}), tuple(notes)


def find_missing(settings: Settings) -> list[SourceNote]:
    """Return the described inputs that this configuration reads and that are not there."""
    read = {settings.personas.source, settings.curation.decontamination}
    read |= {settings.characters.source, settings.dialogues.source}
    read |= {source.path for source in settings.instructions.sources}
    if settings.evaluation is not None:
        read.add(settings.evaluation.questions.path)
    return [note for note in _list_missing(settings) if note.path in read]


def _list_missing(settings: Settings) -> list[SourceNote]:
    """Return what a configuration describes and this machine has not."""
    return [
        note
        for note in settings.plan.sources.values()
        if not is_remote(note.path) and find_path(note.path) is None
    ]


def explain_missing(settings: Settings, problems: Sequence[Problem]) -> list[Problem]:
    """Put in place of every problem with a missing input where it is got and where it goes."""
    missing = _list_missing(settings)
    told: dict[Problem, None] = {}
    for problem in problems:
        note = next(
            (item for item in missing if item.path in f"{problem.where} {problem.what}"), None
        )
        told[problem if note is None else _explain(note)] = None
    return list(told)


def _explain(note: SourceNote) -> Problem:
    return Problem(
        note.path, "is not there", f"get {note.get} and put it at {Path(note.path).absolute()}"
    )


def _pin(model: ModelConfig) -> ModelConfig:
    """Give a hub model whose commit only the network knows one that no run ever has."""
    if find_cached_commit(model) or not is_hub_name(model):
        return model
    made_up = hash_parts(model.model, model.revision or "")
    return model.model_copy(update={"revision": f"{made_up}00000000"})


def _replace_sources(settings: Settings, missing: Sequence[SourceNote], folder: Path) -> Settings:
    notes = {note.path: note for note in missing}
    update: dict[str, Any] = {}
    note = notes.get(settings.personas.source)
    if note is not None:
        sample = settings.personas.sample
        count = note.rows if sample is None else min(note.rows, sample)
        column = settings.personas.persona_column
        rows = [{column: _write_persona(n, note.words)} for n in range(count)]
        # What is made up has no language and no near-duplicates, and looking for them takes time.
        update["personas"] = settings.personas.model_copy(
            update={
                "source": _write_lines(folder / "personas.jsonl", rows),
                "language": None,
                "near_duplicate_similarity": None,
            }
        )
    sources = [
        source.model_copy(
            update={"path": _write_source(source, notes[source.path], folder / f"source-{index}")}
        )
        if source.path in notes
        else source
        for index, source in enumerate(settings.instructions.sources)
    ]
    update["instructions"] = settings.instructions.model_copy(update={"sources": tuple(sources)})
    update |= _replace_brought(settings, notes, folder)
    if settings.evaluation is not None:
        update["evaluation"] = _replace_gym(settings.evaluation, notes, folder)
    if settings.curation.decontamination in notes:
        update["curation"] = settings.curation.model_copy(update={"decontamination": None})
    return settings.model_copy(update=update)


def _replace_brought(
    settings: Settings, notes: dict[str, SourceNote], folder: Path
) -> dict[str, Any]:
    """Write the rows that would be brought: a profile of each persona, and dialogues among them."""
    update: dict[str, Any] = {}
    people = notes.get(settings.personas.source)
    cast = notes.get(str(settings.characters.source))
    plays = notes.get(str(settings.dialogues.source))
    persona = partial(_write_persona, words=people.words if people else 1)
    if cast is not None:
        rows = [
            {"persona": persona(n), "character": f"Name: {_write(str(n), cast.answer_words)}"}
            for n in range(cast.rows)
        ]
        brought = {"source": _write_lines(folder / "characters.jsonl", rows)}
        update["characters"] = settings.characters.model_copy(update=brought)
    if plays is not None:
        known = people.rows if people else 1
        rows = [
            {
                "persona": persona(n % known),
                "question": f"{_write(str(n), plays.words)}?",
                "character_answer": _write(str(n), plays.answer_words),
            }
            for n in range(plays.rows)
        ]
        brought = {"source": _write_lines(folder / "dialogues.jsonl", rows)}
        update["dialogues"] = settings.dialogues.model_copy(update=brought)
    return update


def _write_persona(number: int, words: int) -> str:
    return f"A person of {_write(str(number), words)}."


def _write_source(source: InstructionSource, note: SourceNote, path: Path) -> str:
    rows: list[dict[str, Any]] = []
    for number in range(note.rows):
        label = f"{path.name}-{number}"
        question, answer = f"{_write(label, note.words)}?", _write(label, note.answer_words)
        if source.format == "lima":
            rows.append({"conversations": [question, answer]})
        elif source.format == "persona_hub":
            rows.append({"synthesized text": f"User prompt: {question}"})
        elif source.columns is not None:
            rows.append(_fill_columns(source.columns, question, answer))
        elif source.format == "pairs":
            rows.append({"question": question, "answer": answer})
        elif source.format == "messages":
            turns = (("user", question), ("assistant", answer))
            rows.append({"messages": [{"role": role, "content": text} for role, text in turns]})
        else:
            rows.append({"instruction": question, "input": "", "output": answer})
    return _write_lines(path.with_suffix(".jsonl"), rows)


def _fill_columns(columns: ColumnMapping, question: str, answer: str) -> dict[str, Any]:
    rows: dict[str, Any] = {name: "" for name in columns.names}
    if columns.messages is not None:
        rows[columns.messages] = [question, answer]
    if columns.question is not None:
        rows[columns.question] = question
    if columns.answer is not None:
        rows[columns.answer] = answer
    return rows


def _replace_gym(
    config: EvaluationConfig, notes: dict[str, SourceNote], folder: Path
) -> EvaluationConfig:
    note = notes.get(str(config.questions.path))
    if note is None:
        return config
    checkout = folder / "personagym"
    for number in range(max(1, note.rows // _GYM_QUESTIONS)):
        asked = {
            task: [
                f"{_write(str(place), note.words)}, {task.lower()}?"
                for place in range(_GYM_QUESTIONS // len(_GYM_TASKS))
            ]
            for task in _GYM_TASKS
        }
        path = checkout / "questions" / "benchmark-v1" / f"a person of the number {number}.json"
        _write_text(path, json.dumps(asked))
    criteria = f"Evaluation Task:\n{_write('criteria', _GYM_RUBRIC_WORDS)}\n----------\n"
    shown = "{persona}\n{question}\n{response}\n{score_example}\n"
    for task in _GYM_TASKS:
        _write_text(checkout / "rubrics" / f"{task}.txt", criteria + shown)
    prompts = checkout / "prompts"
    _write_text(prompts / "rubric_grading" / "sys_prompt.txt", "Rate the answer.")
    request = f"{_write('request', 60)}\n{{persona}}\n{{question}}\n{{rubric}}\n"
    _write_text(prompts / "score_examples" / "prompt.txt", request)
    line = f'persona_prompt = f"{_write("line", _GYM_LINE_WORDS)} {{persona}}."\n'
    _write_text(checkout / "code" / "utils.py", line)
    questions = config.questions.model_copy(update={"path": str(checkout)})
    return config.model_copy(update={"questions": questions})


def _write(label: str, words: int) -> str:
    """Write so many words, told from all others by the first."""
    return " ".join([label, *(_WORDS[n % len(_WORDS)] for n in range(words - 1))])


def _write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
