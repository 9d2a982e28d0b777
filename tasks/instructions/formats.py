"""Turns one row of a known data set format into a conversation of user and assistant turns."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from infra.errors import Reject
from tasks.conversations import (
    SYSTEM_LEFT,
    Talk,
    list_turns,
    read_answer,
    read_talk,
    read_text,
    show,
)
from tasks.instructions.config import ColumnMapping, Format
from tasks.instructions.transcripts import split_transcript
from tasks.records import Turn

_Row = Mapping[str, object]

CORPORA: dict[Format, str] = {
    "alpaca": "alpaca",
    "lima": "lima",
    "persona_hub": "ph-instruct",
    "messages": "chat",
    "pairs": "pairs",
}
"""What the paper calls the questions of each format, unless the configuration says otherwise."""

_SYNTHESISED = ("synthesized_text",)
QUESTIONS = (
    "question", "prompt", "query", "problem", "user", "human", "input", "inputs", "user_prompt",
    "user_message", "user_input", "input_text", "inputs_pretokenized", "q", "task", "text",
)  # fmt: skip
"""Names of columns that hold a question, those that say so most plainly first."""
_ANSWERS = ("output", "response", "answer", "completion", "chosen", "answers", "reply", "target",
            "targets", "solution", "assistant", "gpt", "ideal", "generation", "generated_text",
            "assistant_response", "assistant_message", "model_response", "bot_message", "bot",
            "bot_response", "output_text", "targets_pretokenized", "ai", "a")  # fmt: skip
_GIVEN = ("input", "context", "passage")
_SYSTEM = ("system", "system_prompt", "system_message", "system_instruction")
_HISTORY = ("history",)
_LIMA = ("conversations", "conversation", "dialogue", "dialog")
_MESSAGES = ("messages", "message", "chat", "turns", "contents", "utterances")
_PREFERRED = ("chosen",)
_NO_INPUT = ("<noinput>", "<no input>", "<nooutput>", "n/a", "nan", "none", "null")
_PROMPT_LABEL = re.compile(r"\s*[*_#\s]*user\s+prompt[*_\s]*:[*_\s]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a row came to.

    Attributes:
        talk: The conversation, or the typed reason why there is none.
        used: The columns that were read, as the row calls them.
    """

    talk: Talk | Reject
    used: frozenset[str]


class _Columns:
    """Row whose names are compared without case and blanks; nulls are absent."""

    def __init__(self, row: _Row) -> None:
        self._names = {fold_name(name): name for name, value in row.items() if not _is_null(value)}
        self._row = row
        self.used: set[str] = set()

    def find(self, names: Iterable[str]) -> str | None:
        """Return the first of the names that has a value."""
        return next((name for name in names if name in self._names), None)

    def having(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that have a value."""
        return [name for name in names if name in self._names]

    def peek(self, name: str) -> object:
        """Return the value under a name without counting it as read."""
        return self._row[self._names[name]] if name in self._names else None

    def take(self, names: Iterable[str], *, filled: bool = False) -> object:
        """Return the first value under the names; with ``filled``, the first that is not empty."""
        for name in names:
            if name in self._names:
                value = self._row[self._names[name]]
                if value or not filled:
                    self.used.add(self._names[name])
                    return value
        return None

    def note(self, names: Iterable[str]) -> bool:
        """Count the columns as read, and tell whether any of them has text in it."""
        kept = [self._names[name] for name in names if name in self._names]
        self.used.update(kept)
        return any(str(self._row[name]).strip() for name in kept)


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


@cache
def fold_name(name: object) -> str:
    """Return a column's name as it is compared: without case, blanks and dashes."""
    return re.sub(r"[\s_-]+", "_", str(name).strip().lower())


def find_format(row: _Row) -> Format | None:
    """Tell a row's format by its values, or return ``None``: a column of nulls tells nothing."""
    columns = _Columns(row)
    if columns.find(_SYNTHESISED):
        return "persona_hub"
    chats: tuple[tuple[Format, tuple[str, ...]], ...] = (("lima", _LIMA), ("messages", _MESSAGES))
    for format, names in chats:
        if _find_chat(columns, names) is not None:
            return format
    if columns.find(("instruction",)) and (columns.peek("instruction") or not _is_pair(columns)):
        return "alpaca"
    if _is_pair(columns):
        return "pairs"
    # What is no conversation by its value, but called one, says in its reason why.
    return next((format for format, names in chats if columns.find(names)), None)


def _find_chat(columns: _Columns, names: Iterable[str]) -> str | None:
    return next((name for name in columns.having(names) if _is_chat(columns.peek(name))), None)


def _is_chat(value: object) -> bool:
    if list_turns(value):
        return True
    return isinstance(value, str) and bool(split_transcript(value))


def _is_pair(columns: _Columns) -> bool:
    """Tell rows of question and answer; a question alone counts under its own name only."""
    if columns.find(("question", "prompt", "query")) or columns.find(_PREFERRED):
        return True
    asked = columns.find(QUESTIONS)
    text = columns.peek("text")
    if isinstance(text, str) and split_transcript(text):
        return True
    return asked not in (None, "text") and columns.find(_ANSWERS) not in (None, asked)


def read_conversation(row: _Row, format: Format) -> Talk | Reject:
    """Return a row's conversation, or why there is none.

    System prompts are left out: characters bring their own. The reasons are malformed,
    missing_text, roles_not_alternating and no_user_turn.
    """
    return read_row(row, format).talk


def read_row(row: _Row, format: Format, mapping: ColumnMapping | None = None) -> Reading:
    """Read a row as one of a format, or by the columns that the configuration names."""
    columns = _Columns(row)
    talk = _READERS[format](columns) if mapping is None else _read_mapped(columns, mapping)
    return Reading(talk, frozenset(columns.used))


def _read_alpaca(columns: _Columns) -> Talk | Reject:
    return _read_pair(columns, ("instruction",), _GIVEN)


def _read_pairs(columns: _Columns) -> Talk | Reject:
    """Read a question and its answer; either may be turns, and the better answer counts."""
    prompt, preferred = columns.peek("prompt"), columns.peek("chosen")
    name = columns.find(QUESTIONS)
    posed = columns.peek(name) if name is not None else None
    before = list_turns(posed) if name == "prompt" or isinstance(posed, list | tuple) else None
    if name is not None and before is not None:
        columns.note((name,))
        return read_talk([*before, *_as_turns(columns.take(_ANSWERS, filled=True))], name)
    turns = list_turns(preferred)
    if turns is not None:
        columns.note(("chosen",))
        if len(turns) == 1 and columns.note(("prompt",)):
            turns = [{"role": "user", "content": prompt}, *turns]
        return read_talk(turns, "chosen")
    asked = columns.find(QUESTIONS)
    for column, value in (("chosen", preferred), ("text", columns.peek("text"))):
        if asked in (None, column) and isinstance(value, str):
            columns.note((column,))
            return _read_transcript(value, column)
    return _read_pair(columns, QUESTIONS, ("context", "passage"))


def _as_turns(answer: object) -> list[object]:
    turns = list_turns(answer)
    if turns is not None:
        return turns
    return [] if answer is None else [{"role": "assistant", "content": answer}]


def _read_pair(columns: _Columns, questions: Iterable[str], given: Iterable[str]) -> Talk | Reject:
    """Read a question, what it is about, its answer, and what was said before."""
    question = _get_text(columns.take(questions, filled=True) or columns.take(questions))
    answer = columns.take(_ANSWERS, filled=True)
    if columns.take(("label",)) is False:
        answer = None  # as preference data mark an answer that is not wanted
    return _build_talk(
        question,
        [columns.take((name,)) for name in given],
        answer,
        columns.take(_HISTORY),
        has_system=columns.note(_SYSTEM),
    )


def _build_talk(
    question: object, given: Iterable[object], answer: object, history: object, *, has_system: bool
) -> Talk | Reject:
    asked = read_text(question, "question")
    if isinstance(asked, Reject):
        return asked
    if not asked:
        return Reject("missing_text", "the question is empty")
    for value in given:
        text = _read_given(value)
        if isinstance(text, Reject):
            return text
        if text and text.lower() not in _NO_INPUT and text != asked:
            asked = f"{asked}\n\n{text}"
    said = _read_source_answer(answer)
    if isinstance(said, Reject):
        return said
    turns = [Turn("user", asked), *([Turn("assistant", said)] if said else [])]
    left_out = frozenset({SYSTEM_LEFT} if has_system else ())
    if not history or (isinstance(history, str) and not history.strip()):
        return Talk(tuple(turns), left_out)
    before = list_turns(history)
    if before is None:
        return Reject("malformed", f"history is not a list: {show(history)}")
    last = [{"role": turn.role, "content": turn.content} for turn in turns]
    talk = read_talk([*before, *last], "history")
    return talk if isinstance(talk, Reject) else Talk(talk.turns, talk.left_out | left_out)


def _read_given(value: object) -> str | Reject:
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        value = "\n\n".join(value)
    return read_text(value or "", "input")


def _read_source_answer(value: object) -> str | Reject:
    """Read an answer: a text, the first of several, or what is called text in a mapping of them."""
    value = _get_text(value)
    if isinstance(value, list | tuple):
        value = _get_text(next(iter(value), None))
    text = read_text(value or "", "answer")
    return text if isinstance(text, Reject) else read_answer(text)


def _get_text(value: object) -> object:
    """Return what is called text in a mapping, ``{"role": …, "content": …}`` too, or the value."""
    if not isinstance(value, Mapping):
        return value
    return next((value[key] for key in ("text", "content", "value") if value.get(key)), value)


def _read_transcript(text: str, what: str) -> Talk | Reject:
    parts = split_transcript(text)
    if not parts:
        return Reject("malformed", f"{what} names no speakers: {show(text)}")
    return read_talk([{"role": role, "content": said} for role, said in parts], what)


def _read_persona_hub(columns: _Columns) -> Talk | Reject:
    question = read_text(columns.take(_SYNTHESISED), _SYNTHESISED[0])
    if isinstance(question, Reject):
        return question
    question = strip_prompt_label(question)
    if not question:
        return Reject("missing_text", "the text is empty")
    return Talk((Turn("user", question),))


def strip_prompt_label(text: str) -> str:
    """Return a synthesised prompt without its leading "User prompt:", bold or not."""
    label = _PROMPT_LABEL.match(text)
    return text[label.end() :].strip() if label else text.strip()


def _read_chat(names: tuple[str, ...]) -> Callable[[_Columns], Talk | Reject]:
    def read(columns: _Columns) -> Talk | Reject:
        name = _find_chat(columns, names) or columns.find(names) or names[0]
        value = columns.take((name,))
        if isinstance(value, str) and list_turns(value) is None and split_transcript(value):
            talk = _read_transcript(value, name)
        else:
            talk = read_talk(value, name)
        if isinstance(talk, Reject) or not columns.note(_SYSTEM):
            return talk
        return Talk(talk.turns, talk.left_out | {SYSTEM_LEFT})

    return read


def _read_mapped(columns: _Columns, mapping: ColumnMapping) -> Talk | Reject:
    """Read the columns that the configuration names, and no others."""

    def take(name: str | None) -> object:
        return None if name is None else columns.take((fold_name(name),))

    has_system = mapping.system is not None and columns.note((fold_name(mapping.system),))
    if mapping.messages is not None:
        talk = read_talk(take(mapping.messages), mapping.messages)
        if isinstance(talk, Reject) or not has_system:
            return talk
        return Talk(talk.turns, talk.left_out | {SYSTEM_LEFT})
    return _build_talk(
        take(mapping.question),
        [take(mapping.context)],
        take(mapping.answer),
        take(mapping.history),
        has_system=has_system,
    )


_READERS: dict[Format, Callable[[_Columns], Talk | Reject]] = {
    "alpaca": _read_alpaca,
    "lima": _read_chat(_LIMA),
    "persona_hub": _read_persona_hub,
    "messages": _read_chat(_MESSAGES),
    "pairs": _read_pairs,
}
