"""Reads the files curation may be given: evaluation questions and a word list.

A question set is PersonaGym's folder of ``<persona>.json`` files (``{task: [question, …]}``), or
one file: ``.json`` of that form or a list, ``.jsonl`` of strings or of objects with a
``question``, or text with one question a line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ConfigError, Problem
from infra.store.storage import FileStat, digest_input, find_inputs, open_input
from tasks.curation.config import AUTO, CurationConfig
from tasks.curation.toxicity import WordList, make_word_list

_FOLDER_SUFFIXES = (".json", ".jsonl")
_QUESTION_FIELDS = ("question", "prompt", "instruction", "text")


@dataclass(frozen=True, slots=True)
class CurationInputs:
    """Content of the files that the configuration names; ``None`` where it names none.

    ``personas`` are those of an evaluation, ``own`` says that the questions of held-out characters
    are kept out of training too.
    """

    toxic: WordList | None = None
    questions: tuple[str, ...] | None = None
    personas: tuple[str, ...] | None = None
    own: bool = False


def load_inputs(config: CurationConfig, benchmark: str | None = None) -> CurationInputs:
    """Read the files a configuration names; :class:`ConfigError` lists all that is wrong.

    ``benchmark`` is the folder of static questions that the run evaluates on, if it has any.
    """
    named = name_questions(config, benchmark)
    own = config.decontamination == AUTO
    problems: list[Problem] = []

    def attempt(key: str, path: str | None, read: Callable[[str], tuple[str, ...]]) -> list[str]:
        if path is None:
            return []
        try:
            found = read(path)
        except (OSError, ValueError) as error:
            problems.append(Problem(f"curation.{key}: {path}", str(error), "name a readable file"))
            return []
        if not found:
            problems.append(Problem(f"curation.{key}: {path}", "nothing in it", "fill it, or null"))
        return list(found)

    words = attempt("toxic_words", config.toxic_words, _read_lines)
    questions = attempt("decontamination", named, read_questions)
    personas = attempt("decontamination", named if own else None, read_personas)
    if problems:
        raise ConfigError(*problems)
    return CurationInputs(
        None if config.toxic_words is None else make_word_list(words),
        None if named is None else tuple(questions),
        tuple(personas) if own and named is not None else None,
        own,
    )


def name_questions(config: CurationConfig, benchmark: str | None) -> str | None:
    """Return the file or folder of the questions to keep out, if there is one."""
    return benchmark if config.decontamination == AUTO else config.decontamination


def digest_inputs(config: CurationConfig, benchmark: str | None = None) -> tuple[str, ...]:
    """Return one labelled digest for each file set named, for the node's fingerprint.

    The labels keep a word list from passing for a question set of the same content.
    """
    digests = []
    for label, path in (
        ("toxic_words", config.toxic_words),
        ("decontamination", name_questions(config, benchmark)),
    ):
        if path is not None:
            stats = find_inputs(path, _FOLDER_SUFFIXES)
            digests.append(f"{label}:" + ",".join(sorted(map(digest_input, stats))))
    if config.decontamination == AUTO:
        names = "" if benchmark is None else ",".join(read_personas(benchmark))
        digests.append(f"decontamination of its own:{names}")
    return tuple(digests)


def read_questions(path: str) -> tuple[str, ...]:
    """Read an evaluation question set, sorted and each question once."""
    questions: set[str] = set()
    for stat in find_inputs(path, _FOLDER_SUFFIXES):
        questions.update(_read_question_file(stat))
    return tuple(sorted(text for text in (q.strip() for q in questions) if text))


def read_personas(folder: str) -> tuple[str, ...]:
    """Return the personas that PersonaGym's question files are named after, sorted."""
    return tuple(sorted(Path(stat.path).stem for stat in find_inputs(folder, _FOLDER_SUFFIXES)))


def _read_question_file(stat: FileStat) -> Iterator[str]:
    suffix = Path(stat.path).suffix.lower()
    if suffix == ".json":
        yield from _walk_strings(_parse(_read_text(stat.path), stat.path), stat.path)
    elif suffix == ".jsonl":
        for number, line in enumerate(_read_text(stat.path).split("\n"), 1):
            if line.strip():
                yield _pick_question(_parse(line, f"{stat.path}:{number}"), stat.path, number)
    else:
        yield from _read_text(stat.path).splitlines()


def _parse(text: str, where: str) -> object:
    try:
        value: object = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON: {error}") from error
    return value


def _walk_strings(value: object, where: str) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _walk_strings(item, where)
    else:
        raise ValueError(f"{where} holds {value!r} where a question was expected")


def _pick_question(value: object, path: str, number: int) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for field in _QUESTION_FIELDS:
            if isinstance(value.get(field), str):
                return str(value[field])
    raise ValueError(f"{path}:{number} has none of the fields {', '.join(_QUESTION_FIELDS)}")


def _read_lines(path: str) -> tuple[str, ...]:
    return tuple(line for line in _read_text(path).splitlines() if line.strip())


def _read_text(path: str) -> str:
    with open_input(path) as file:
        return file.read().decode("utf-8-sig")
