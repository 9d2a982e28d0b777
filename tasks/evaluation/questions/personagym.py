"""Reads a PersonaGym checkout: its static questions, its rubrics, its prompts and its own line.

The layout is upstream's: ``questions/benchmark-v1/<persona>.json`` holds ``{task: [question, …]}``
for the persona that names the file, ``rubrics/<task>.txt`` the judge's whole prompt with
placeholders in braces, ``prompts/`` the judge's system prompt and the request for example replies.
The line under which models are asked is no file but a text in the code, which is read and not run.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from infra.errors import ConfigError, Problem
from infra.protocol import Message
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import content_key, hash_parts
from infra.text.text_cleaning import clean_text, strip_quotes
from tasks.evaluation.judging.rubrics import JudgingPrompts
from tasks.records import TASKS, EvalQuestion, EvalTask, Rejection
from tasks.rejections import RejectionList

SUITE = "personagym"
_QUESTIONS = "questions/benchmark-v1"
_JUDGE = "prompts/rubric_grading/sys_prompt.txt"
_EXAMPLES = "prompts/score_examples/prompt.txt"
_CODE = "code/utils.py"
_LINE, _PERSONA = "persona_prompt", "persona"
"""What the checkout's code calls its line, and the persona in it."""

_NAMES: dict[EvalTask, str] = {
    "expected_action": "Expected Action",
    "toxicity_control": "Toxicity",
    "linguistic_habits": "Linguistic Habits",
    "persona_consistency": "Persona Consistency",
    "action_justification": "Action Justification",
}
"""What the checkout calls the tasks, in files and in keys."""

_IN_RUBRIC = ("persona", "question", "response", "score_example")
_IN_EXAMPLES = ("persona", "question", "rubric")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_CRITERIA = re.compile(r"^Evaluation Task:.*?(?=^-{5,}\s*$|\{score_example\})", re.DOTALL | re.M)
_AS_JSON = "\n\nAnswer with one JSON object that has the keys {keys}, in this order, and no more."
_VERDICT_KEYS = '"justification", a text, and "score", a whole number from 1 to 5'
_EXAMPLE_KEYS = '"score_1" to "score_5", each a text'
_ONE_EXAMPLE = "\n\nFor now give the example for score {score} alone: the response, nothing else."


@dataclass(frozen=True, slots=True)
class QuestionSelection:
    """What came of the question rows: each is in one of the two, both sorted by key."""

    accepted: tuple[EvalQuestion, ...]
    rejected: tuple[Rejection, ...]


@dataclass(frozen=True)
class PlaceholderPrompt:
    """One of the checkout's prompts: text with names in braces, for one task.

    All names are filled in a single pass over the checkout's text, so that braces in a persona
    or an answer stay text, and every example reply is shown whole.
    """

    system: str
    text: str
    rubric: str = ""

    @property
    def source(self) -> str:
        """Return the checkout's text together with what is added to it."""
        added = (_AS_JSON, _VERDICT_KEYS, _EXAMPLE_KEYS, _ONE_EXAMPLE)
        return hash_parts(self.system, self.text, self.rubric, *added)

    def render(self, values: Mapping[str, object]) -> tuple[Message, ...]:
        """Fill the names in; a structured or a single reply is asked for at the end."""
        examples = cast(Sequence[str], values.get("examples", ()))
        filled = {
            "persona": str(values["persona"]),
            "question": str(values["question"]),
            "response": str(values.get("answer", "")),
            "rubric": self.rubric,
            "score_example": "\n\n".join(
                f"Score {score}: Response - {example}" for score, example in enumerate(examples, 1)
            ),
        }
        text = _PLACEHOLDER.sub(lambda name: filled.get(name[1], name[0]), self.text).strip()
        if values.get("score"):
            text += _ONE_EXAMPLE.format(score=values["score"])
        elif values["structured"]:
            text += _AS_JSON.format(keys=_VERDICT_KEYS if "answer" in values else _EXAMPLE_KEYS)
        system = (Message("system", self.system),) if self.system else ()
        return (*system, Message("user", text))


def check_checkout(folder: Path, where: str) -> list[Problem]:
    """Say what a folder lacks to be a checkout; ``where`` is the config key that names it."""
    if not folder.is_dir():
        what = f"no such folder: {folder}"
        return [Problem(where, what, "give the path of a PersonaGym checkout")]
    problems = [
        Problem(f"{where}: {folder}", f"has no {name}", "give the root of a PersonaGym checkout")
        for name in (_JUDGE, _EXAMPLES, *map(_rubric_file, TASKS))
        if not (folder / name).is_file()
    ]
    if not _list_question_files(folder):
        problems.append(
            Problem(
                f"{where}: {folder}",
                f"has no {_QUESTIONS}/<persona>.json",
                "give the root of a PersonaGym checkout",
            )
        )
    return problems


def name_question_folder(checkout: str) -> str:
    """Return where a checkout keeps its static questions, a file a persona."""
    return str(Path(checkout) / _QUESTIONS)


def digest_checkout(folder: Path) -> list[str]:
    """Return a digest for each question file, for the node's fingerprint; names count."""
    return [hash_parts(path.name, path.read_bytes().hex()) for path in _list_question_files(folder)]


def read_benchmark(
    folder: Path, *, light: bool, personas: int | None = None, seed: int = 0
) -> QuestionSelection:
    """Read the static questions: all of them, or each task's first usable one (Light).

    One row is one entry of a question list; a file or a list that cannot be read is one row. The
    reasons, in order: malformed, unknown_task, missing_task, empty, duplicate, not_light,
    not_sampled. ``personas`` keeps so many personas, those of the smallest hash(seed, persona).

    Raises :class:`ConfigError` when the folder is no checkout.
    """
    if problems := check_checkout(folder, "personagym"):
        raise ConfigError(*problems)
    rejections = RejectionList("evaluation question")
    found: dict[str, tuple[EvalQuestion, str]] = {}
    met: set[str] = set()
    begun: set[tuple[str, EvalTask]] = set()
    for path in _list_question_files(folder):
        for question, place in _read_file(path, rejections):
            key, task = question.key, (question.persona_key, question.task)
            if key in met:
                text = f"{key}: {question.question}"
                rejections.add_row("duplicate", text, place, content=question.question)
            elif light and task in begun:
                rejections.add_keyed(key, "not_light", question.question, place)
            else:
                found[key] = question, place
            met.add(key)
            begun.add(task)
    chosen = _choose_personas({item.persona_key for item, _ in found.values()}, personas, seed)
    kept = []
    for question, place in found.values():
        if question.persona_key in chosen:
            kept.append(question)
        else:
            rejections.add_keyed(question.key, "not_sampled", question.question, place)
    return QuestionSelection(tuple(sorted(kept, key=lambda item: item.key)), rejections.collect())


def read_prompts(folder: Path) -> JudgingPrompts:
    """Read the checkout's rubrics and prompts as what a judge is asked.

    A rubric is shown whole to the judge; to the writer of examples only its criteria are.

    Raises :class:`ConfigError` for a file that is missing, or lacks one of its placeholders.
    """
    if problems := check_checkout(folder, "personagym"):
        raise ConfigError(*problems)
    try:
        system = _read_text(folder / _JUDGE)
        request = _read_text(folder / _EXAMPLES)
        rubrics = {task: _read_text(folder / _rubric_file(task)) for task in TASKS}
    except ValueError as error:
        problem = Problem(f"personagym: {folder}", f"a prompt is not UTF-8: {error}", "fix it")
        raise ConfigError(problem) from error
    problems = _check_placeholders(folder / _EXAMPLES, request, _IN_EXAMPLES)
    for task, text in rubrics.items():
        problems += _check_placeholders(folder / _rubric_file(task), text, _IN_RUBRIC)
    if problems:
        raise ConfigError(*problems)
    return JudgingPrompts(
        verdicts={task: PlaceholderPrompt(system, text) for task, text in rubrics.items()},
        examples={
            task: PlaceholderPrompt("", request, _cut_criteria(text))
            for task, text in rubrics.items()
        },
    )


def read_line(folder: Path) -> PromptTemplate | None:
    """Return the line under which the checkout asks models, as its code spells it.

    ``None`` where the checkout is a part that has no code. Raises :class:`ConfigError` for code
    that cannot be read, or holds no such line or several.
    """
    path = folder / _CODE
    if not path.is_file():
        return None
    todo = "give a checkout as it is on GitHub, or name a prompt file"
    try:
        code = ast.walk(ast.parse(path.read_bytes()))
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise ConfigError(Problem(str(path), f"cannot be read: {error}", todo)) from error
    lines = {line for node in code if (line := _spell_line(node)) is not None}
    if len(lines) != 1:
        what = f"has {len(lines) or 'no'} texts {_LINE} of a {_PERSONA} to ask models under"
        raise ConfigError(Problem(str(path), what, todo))
    return PromptTemplate(f"[system]\n{lines.pop()}", f"{path}: {_LINE}")


def name_persona(text: str) -> tuple[str, str]:
    """Return the persona as a run of personas would write it, and the key it would have there."""
    persona = strip_quotes(" ".join(clean_text(text).split()))
    return persona, content_key("persona", persona)


def _read_file(path: Path, rejections: RejectionList) -> list[tuple[EvalQuestion, str]]:
    persona, persona_key = name_persona(path.stem)
    try:
        data: object = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        rejections.add_row("malformed", str(error), path.name, content=path.name)
        return []
    if not isinstance(data, dict) or not persona:
        detail = "names no persona" if not persona else "is not a mapping from task to questions"
        rejections.add_row("malformed", detail, path.name, content=path.name)
        return []
    for name, entries in data.items():
        if name not in _NAMES.values():
            detail = f"{name}: {entries!r}"
            rejections.add_row("unknown_task", detail, path.name, content=f"{persona}\n{name}")
    questions = []
    for task, name in _NAMES.items():
        source = f"{path.name}: {name}"
        entries = data.get(name)
        if not isinstance(entries, list) or not entries:
            reason = "malformed" if name in data and entries != [] else "missing_task"
            rejections.add_row(reason, repr(entries), source, content=f"{persona}\n{name}")
            continue
        for number, entry in enumerate(entries, 1):
            place = f"{source}: {number}"
            question = clean_text(entry) if isinstance(entry, str) else ""
            if not question:
                reason = "empty" if isinstance(entry, str) else "malformed"
                rejections.add_row(reason, repr(entry), place, content=repr(entry))
                continue
            key = content_key("evaluation question", SUITE, persona_key, task, question)
            questions.append(
                (
                    EvalQuestion(
                        key, SUITE, persona_key, persona, task, question, "", (persona_key,)
                    ),
                    place,
                )
            )
    return questions


def _choose_personas(keys: set[str], count: int | None, seed: int) -> set[str]:
    ranked = sorted(keys, key=lambda key: (hash_parts("personagym", str(seed), key), key))
    return set(ranked[:count])


def _list_question_files(folder: Path) -> list[Path]:
    files = (folder / _QUESTIONS).glob("*.json")
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def _rubric_file(task: EvalTask) -> str:
    return f"rubrics/{_NAMES[task]}.txt"


def _read_text(path: Path) -> str:
    return path.read_bytes().decode("utf-8-sig")


def _spell_line(node: ast.AST) -> str | None:
    """Return the template of an f-string that is the line, or ``None`` for what is none."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.JoinedStr):
        return None
    if [target.id for target in node.targets if isinstance(target, ast.Name)] != [_LINE]:
        return None
    spelt = ""
    for piece in node.value.values:
        if isinstance(piece, ast.Constant) and isinstance(piece.value, str):
            spelt += f"{{% raw %}}{piece.value}{{% endraw %}}"
        elif isinstance(piece, ast.FormattedValue) and ast.unparse(piece.value) == _PERSONA:
            spelt += "{{ persona }}"
        else:
            return None
    return spelt if "{{ persona }}" in spelt else None


def _check_placeholders(path: Path, text: str, names: Sequence[str]) -> list[Problem]:
    found = _PLACEHOLDER.findall(text)
    return [
        Problem(str(path), f"has {{{name}}} {found.count(name)} times", "it must be there once")
        for name in names
        if found.count(name) != 1
    ]


def _cut_criteria(rubric: str) -> str:
    """Return what a rubric says of task and scores, without the judge's instructions."""
    criteria = _CRITERIA.search(rubric)
    return (criteria[0] if criteria else _PLACEHOLDER.sub("", rubric)).strip()
