"""Writes evaluation questions for any persona: settings that suit it, then questions per task.

PersonaGym does the same for its own personas (PAPER, section 4): relevant settings are chosen out
of a list, then each task's questions are written to that task's requirement. Here every question
is checked as it arrives, what fails is asked for again, and what passed is shown so that it is
not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from infra.errors import ConfigError, Problem, Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import row_key
from infra.text.json_answers import find_json, find_values
from infra.text.languages import is_language
from infra.text.near_duplicates import find_near_duplicates
from infra.text.text_cleaning import clean_text, strip_quotes
from tasks.records import EvalQuestion, EvalTask

SUITE = "generated"
SETTINGS_VALUES = frozenset({"persona", "settings", "count", "structured"})
"""What a choice of settings is asked from."""

QUESTION_VALUES = frozenset({"task", "persona", "settings", "count", "held"})
"""What questions are asked for from; ``held`` lists those there are already."""

_MIN_CHARS, _MAX_CHARS = 15, 600
_SIMILARITY = 0.7
"""Character 5-gram Jaccard from which a question repeats another: stricter than for corpora,
because ten questions about one persona have to differ in more than a name."""

_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")
_LABEL = re.compile(r"^\s*(?:user prompt|prompt|question)\s*\d*\s*:\s*", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+|\d+")
_GENERIC = re.compile(
    r"a|an|and|as|at|by|for|from|has|have|his|her|in|is|it|its|of|on|or|she|he|that|the|their|them"
    r"|they|this|to|was|who|whose|with|works?|working|years?|old|loves?|likes?|enjoys?|passionate"
    r"|person|persona|about|being"
)
"""Words of a persona's description that tell nothing about it."""


@dataclass(frozen=True, slots=True)
class SettingsInput:
    """What settings are chosen for."""

    key: str
    persona_key: str
    persona: str


@dataclass(frozen=True, slots=True)
class ChosenSettings:
    """Everyday settings in which one persona is to be tested."""

    key: str
    persona_key: str
    persona: str
    settings: tuple[str, ...]


@dataclass(frozen=True)
class SettingsChooser:
    """Maker of :class:`ChosenSettings` from a persona; runs in a stage worker."""

    inputs: ClassVar[type[SettingsInput]] = SettingsInput
    parents: ClassVar[tuple[str, ...]] = ("persona_key",)
    record: ClassVar[type[ChosenSettings]] = ChosenSettings

    prompt: PromptTemplate
    settings: tuple[str, ...]
    count: int
    structured: bool

    async def make(
        self, key: str, row: SettingsInput, session: RowSession
    ) -> ChosenSettings | Reject:
        """Ask for settings of the list, in the order of their fitness."""
        values = {
            "persona": row.persona,
            "settings": self.settings,
            "count": self.count,
            "structured": self.structured,
        }
        schema = settings_schema(self.settings, self.count) if self.structured else None
        chosen = await session.ask(self.prompt.render(values), self._read, schema=schema)
        if isinstance(chosen, Reject):
            return chosen
        return ChosenSettings(key, row.persona_key, row.persona, chosen)

    def _read(self, completion: Completion) -> tuple[str, ...] | Reject:
        if completion.finish_reason == "length":
            return Reject("truncated", "the settings ran into the token limit")
        found = _find_settings(completion.text, self.settings)[: self.count]
        if 2 * len(found) < self.count:
            return Reject("too_few_settings", f"{len(found)} of {self.count}: {', '.join(found)}")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class QuestionsInput:
    """What one task's questions are written from."""

    key: str
    persona_key: str
    persona: str
    task: EvalTask
    settings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenQuestion:
    """Question with its setting; ``attribute`` is what explains the action, for that task."""

    setting: str
    question: str
    attribute: str


@dataclass(frozen=True, slots=True)
class WrittenQuestions:
    """Questions of one persona and task, as many as were asked for."""

    key: str
    persona_key: str
    persona: str
    task: EvalTask
    questions: tuple[WrittenQuestion, ...]


@dataclass(frozen=True)
class QuestionWriter:
    """Maker of :class:`WrittenQuestions`; runs in a stage worker.

    ``rounds`` bounds how often missing questions are asked for, beside the attempts that each
    round has until one question at least can be used. ``as_lines`` takes every line for a
    question, from models that write no JSON; without ``must_ask`` it may be a request as well.
    """

    inputs: ClassVar[type[QuestionsInput]] = QuestionsInput
    parents: ClassVar[tuple[str, ...]] = ("settings_key",)
    record: ClassVar[type[WrittenQuestions]] = WrittenQuestions

    prompt: PromptTemplate
    count: int
    rounds: int
    structured: bool
    language: str | None
    as_lines: bool = False
    must_ask: bool = True

    async def make(
        self, key: str, row: QuestionsInput, session: RowSession
    ) -> WrittenQuestions | Reject:
        """Ask for questions until there are enough that meet the requirement."""
        held: list[WrittenQuestion] = []
        for _ in range(self.rounds):
            missing = self.count - len(held)
            values = {
                "task": row.task,
                "persona": row.persona,
                "settings": row.settings,
                "count": missing,
                "held": [item.question for item in held],
            }
            schema = (
                question_schema(row.task, len(row.settings), missing) if self.structured else None
            )
            read = partial(self._read, row=row, held=tuple(held))
            written = await session.ask(
                self.prompt.render(values), read, schema=schema if self.structured else None
            )
            if isinstance(written, Reject):
                return written
            held += written[:missing]
            if len(held) == self.count:
                return WrittenQuestions(key, row.persona_key, row.persona, row.task, tuple(held))
        return Reject("too_few_questions", f"{len(held)} of {self.count} met the requirement")

    def _read(
        self, completion: Completion, *, row: QuestionsInput, held: tuple[WrittenQuestion, ...]
    ) -> list[WrittenQuestion] | Reject:
        if completion.finish_reason == "length":
            return Reject("truncated", "the questions ran into the token limit")
        found = (
            _read_lines(completion.text)
            if self.as_lines
            else _read_questions(completion.text, row.settings)
        )
        if isinstance(found, Reject):
            return found
        good: list[WrittenQuestion] = []
        fault = Reject("no_questions", completion.text[:200])
        for item in found:
            reason = self._find_fault(item, row, [*held, *good])
            if reason is None:
                good.append(item)
            else:
                fault = Reject(reason, item.question[:200])
        return good or fault

    def _find_fault(
        self, item: WrittenQuestion, row: QuestionsInput, others: Sequence[WrittenQuestion]
    ) -> str | None:
        question = item.question
        if not _MIN_CHARS <= len(question) <= _MAX_CHARS:
            return "wrong_length"
        if self.must_ask and not question.endswith(("?", "\uff1f", "\u061f")):
            return "no_question"
        if self.language is not None and not is_language(question, self.language):
            return "wrong_language"
        if row.task == "action_justification" and not self.as_lines:
            if not shares_words(item.attribute, row.persona):
                return "attribute_not_in_persona"
            if shares_words(item.attribute, question):
                return "names_attribute"
        texts = [*(other.question for other in others), question]
        original = find_near_duplicates(texts, threshold=_SIMILARITY)[-1]
        return None if original is None else "duplicate"


def load_settings(path: Path) -> tuple[str, ...]:
    """Read a list of everyday settings, one a line; lines that begin with # are notes."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(Problem(str(path), str(error), "give one setting a line")) from error
    settings = tuple(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
    if not settings:
        raise ConfigError(Problem(str(path), "holds no setting", "give one setting a line"))
    return settings


def list_questions(batches: Iterable[WrittenQuestions]) -> list[EvalQuestion]:
    """Return written questions one by one, keyed by their batch and their place in it."""
    return [
        EvalQuestion(
            key=row_key("evaluation question", [batch.key], number),
            suite=SUITE,
            persona_key=batch.persona_key,
            persona=batch.persona,
            task=batch.task,
            question=item.question,
            setting=item.setting,
            parents=(batch.key,),
        )
        for batch in sorted(batches, key=lambda batch: batch.key)
        for number, item in enumerate(batch.questions)
    ]


def settings_schema(settings: Sequence[str], count: int) -> dict[str, Any]:
    """Return the JSON schema of a choice: so many settings, each one of the list."""
    listed = {
        "type": "array",
        "items": {"enum": list(settings)},
        "minItems": count,
        "maxItems": count,
    }
    return _object_schema({"settings": listed})


def question_schema(task: EvalTask, settings: int, count: int) -> dict[str, Any]:
    """Return the JSON schema of ``count`` questions; only one task has an attribute to give.

    Settings are told by number, so that all personas share a grammar and engines compile few.
    """
    members: dict[str, Any] = {}
    if settings:
        members["setting"] = {"enum": list(range(1, settings + 1))}
    if task == "action_justification":
        members["attribute"] = {"type": "string", "minLength": 1, "maxLength": 200}
    members["question"] = {"type": "string", "minLength": _MIN_CHARS, "maxLength": _MAX_CHARS}
    items = _object_schema(members)
    listed = {"type": "array", "items": items, "minItems": count, "maxItems": count}
    return _object_schema({"questions": listed})


def shares_words(attribute: str, text: str) -> bool:
    """Tell whether a text holds a telling word of an attribute, whatever its ending.

    "hiking" is found in "a hike"; words that tell nothing ("loves", "old") do not count.
    """
    return bool(_list_stems(attribute) & _list_stems(text))


def _list_stems(text: str) -> set[str]:
    words = set(_WORD.findall(text.casefold()))
    return {_stem(word) for word in words if not _GENERIC.fullmatch(word)}


def _stem(word: str) -> str:
    for ending in ("ing", "ers", "er", "ed", "es", "s", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


def _object_schema(members: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def _find_settings(text: str, settings: Sequence[str]) -> list[str]:
    """Return the listed settings that an answer names, JSON or lines, each once."""
    known = {setting.casefold(): setting for setting in settings}
    value = find_json(text, lambda found: isinstance(found, list) or "settings" in str(found))
    names = value.get("settings", ()) if isinstance(value, dict) else value
    if not isinstance(names, list):
        names = [strip_quotes(_BULLET.sub("", line).strip()) for line in text.splitlines()]
    found = (known.get(str(name).strip().rstrip(".").casefold()) for name in names)
    return list(dict.fromkeys(setting for setting in found if setting is not None))


def _read_questions(text: str, settings: Sequence[str]) -> list[WrittenQuestion] | Reject:
    value = find_json(text, lambda found: _list_items(found) is not None)
    if isinstance(value, Reject):
        return value
    items = _list_items(value)
    if items is None:
        found = [item for item in find_values(text) if isinstance(item, dict)]
        if not any("question" in item for item in found):
            return Reject("not_a_list", text[:80])
        items = list(found)
    questions = []
    for item in items:
        if not isinstance(item, dict):
            return Reject("not_questions", repr(item)[:80])
        question, attribute = (_fold(item.get(name)) for name in ("question", "attribute"))
        setting = _find_setting(item.get("setting"), settings)
        questions.append(WrittenQuestion(setting, question, attribute))
    return questions


def _list_items(value: object) -> list[object] | None:
    """Return the list of questions in a value; objects one after the other are none yet."""
    items = value.get("questions") if isinstance(value, dict) else value
    return items if isinstance(items, list) else None


def _read_lines(text: str) -> list[WrittenQuestion]:
    lines = (_LABEL.sub("", _BULLET.sub("", line)) for line in text.splitlines())
    return [WrittenQuestion("", question, "") for line in lines if (question := _fold(line))]


def _find_setting(named: object, settings: Sequence[str]) -> str:
    """Return the setting of a number or a name, or nothing for one that is not listed."""
    known = {str(number): setting for number, setting in enumerate(settings, 1)}
    known |= {setting.casefold(): setting for setting in settings}
    return known.get(_fold(named).casefold(), "")


def _fold(value: object) -> str:
    text = "" if value is None else str(value)
    return strip_quotes(" ".join(clean_text(text).split()))
