"""Takes dialogues from rows that people bring, in place of asking a model to play them.

A row has the persona's sentence and a conversation: ``messages`` (or ``conversations``), or, as the
export writes it, ``question`` and ``character_answer`` with the ``history`` before them. What else
an exported row says is kept: corpus, question, strategy, and which turns were given, not played.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

from infra.errors import Problem, Reject
from infra.fingerprints import content_key, row_key
from infra.row_input import BadRow, RawRow, check_columns, digest_rows, read_rows
from tasks.conversations import name_instruction, read_text, read_turns, show
from tasks.dialogues.config import DialogueConfig
from tasks.persona_rows import normalise_persona
from tasks.records import Character, Dialogue, Rejection, Strategy, Turn
from tasks.rejections import RejectionList

_KEY = "dialogues.source"
_PERSONA, _PROFILE = "persona", "character"
_CHATS, _ANSWERS = ("messages", "conversations"), ("character_answer", "answer")
_OWN = "own"
"""Stands for a corpus or a teacher that a row does not name."""


@dataclass(frozen=True, slots=True)
class Plays:
    """Is the dialogues that were taken, and what was left out with reasons."""

    accepted: Sequence[Dialogue]
    rejected: Sequence[Rejection]


@dataclass(frozen=True, slots=True)
class _Given:
    """Is a conversation of one row, or of several that continue each other."""

    origin: str
    character: Character
    dialogue_id: str
    context_turns: int
    turns: tuple[Turn, ...]
    corpus: str
    question_id: str
    strategy: Strategy
    teacher: str


def take_dialogues(source: str, characters: Sequence[Character], recipe: str) -> Plays:
    """Return a dialogue for every row of a persona whose character the run has.

    Rows of one ``dialogue_id`` that continue each other, as exported, become one dialogue. Of all
    others each is accepted or rejected: malformed, missing_text, roles_not_alternating,
    no_user_turn, no_answer, no_character, other_profile, duplicate.
    """
    cast_by_persona = {normalise_persona(one.persona): one for one in characters}
    left = RejectionList("dialogue")
    taken: dict[str, Dialogue] = {}
    for given in _join(_leave_copies(_read(source, cast_by_persona, left), left)):
        dialogue = _make_dialogue(given, recipe)
        if dialogue.key in taken:
            _leave_out(given, left, dialogue.key)
        else:
            taken[dialogue.key] = dialogue
    return Plays([taken[key] for key in sorted(taken)], left.collect())


def check_dialogue_source(config: DialogueConfig, *, own_profiles: bool) -> list[Problem]:
    """Find what would keep dialogues from being read, by a peek at the first rows.

    ``own_profiles`` says that the run's characters are brought as well: dialogues that were played
    from one profile must not be trained on under another.
    """
    if config.source is None:
        return []
    columns, problems = check_columns(config.source, _KEY)
    if not columns:
        return problems
    where = f"{_KEY} ({config.source})"
    missing = [] if _PERSONA in columns else [_PERSONA]
    if not any(name in columns for name in _CHATS):
        missing += [] if "question" in columns else ["messages, or question"]
        missing += [] if any(name in columns for name in _ANSWERS) else ["character_answer"]
    if missing:
        what = f"has no column for {' and '.join(missing)}"
        problems.append(Problem(where, what, f"it has {', '.join(columns)}; rename them"))
    if _PROFILE in columns and not own_profiles:
        what = "its rows have profiles, but the run would have new ones written"
        problems.append(Problem(where, what, f"bring them too: characters.source={config.source}"))
    return problems


def digest_dialogue_source(source: str) -> list[str]:
    """Return a digest of each input file, for the node's fingerprint."""
    return [digest for _, digest in digest_rows(source)]


def _read(
    source: str, cast_by_persona: Mapping[str, Character], left: RejectionList
) -> Iterator[_Given]:
    for row in read_rows(source):
        if isinstance(row, BadRow):
            left.add_row("malformed", row.detail, row.origin, content=row.detail)
            continue
        given = _read_row(row, cast_by_persona)
        if isinstance(given, Reject):
            left.add_row(given.reason, given.detail, row.origin, content=given.detail)
        else:
            yield given


def _read_row(row: RawRow, cast_by_persona: Mapping[str, Character]) -> _Given | Reject:
    values = row.values
    persona = normalise_persona(str(values.get(_PERSONA) or ""))
    character = cast_by_persona.get(persona)
    if character is None:
        return Reject("no_character", persona or "no persona")
    profile = values.get(_PROFILE)
    if isinstance(profile, str) and character.name.casefold() not in profile.casefold():
        return Reject("other_profile", f"not of {character.name}: {show(profile)}")
    found = _read_conversation(values)
    if isinstance(found, Reject):
        return found
    context_turns, turns = found
    if turns[-1].role != "assistant":
        return Reject("no_answer", turns[-1].content)
    if not 0 <= context_turns < len(turns):
        return Reject("malformed", f"context_turns is {context_turns} of {len(turns)} turns")
    strategy = values.get("strategy")
    return _Given(
        origin=row.origin,
        character=character,
        dialogue_id=str(values.get("dialogue_id") or row.origin),
        context_turns=context_turns,
        turns=turns,
        corpus=str(values.get("question_source") or _OWN),
        question_id=str(values.get("question_id") or row.origin),
        strategy=cast(Strategy, strategy) if strategy in get_args(Strategy) else "given",
        teacher=str(values.get("teacher") or _OWN),
    )


def _read_conversation(values: Mapping[str, object]) -> tuple[int, tuple[Turn, ...]] | Reject:
    """Return how many turns were given, and all turns."""
    chat = next((name for name in _CHATS if values.get(name) is not None), None)
    if chat is not None:
        turns = read_turns(values[chat], chat)
        count = values.get("context_turns") or 0
        if isinstance(turns, Reject):
            return turns
        return (count, turns) if isinstance(count, int) else Reject("malformed", show(count))
    question = read_text(values.get("question"), "question")
    named = next((name for name in _ANSWERS if name in values), _ANSWERS[0])
    answer = read_text(values.get(named), named)
    for text in (question, answer):
        if isinstance(text, Reject):
            return text
    history = values.get("history") or ()
    if not isinstance(history, list | tuple):
        return Reject("malformed", f"history is not a list: {show(history)}")
    last = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    turns = read_turns((*history, *last), "history")
    return turns if isinstance(turns, Reject) else (len(turns) - len(last), turns)


def _leave_copies(rows: Iterable[_Given], left: RejectionList) -> Iterator[_Given]:
    """Leave out what is there twice before rows are joined: copies would be joined with copies."""
    seen = set()
    for row in rows:
        said = (row.character.key, row.dialogue_id, row.context_turns, row.turns)
        if said in seen:
            _leave_out(row, left, content_key(*map(str, said)))
        else:
            seen.add(said)
            yield row


def _leave_out(copy: _Given, left: RejectionList, content: str) -> None:
    left.add_row("duplicate", copy.turns[copy.context_turns].content, copy.origin, content=content)


def _join(rows: Iterable[_Given]) -> Iterator[_Given]:
    """Make one of rows whose histories are the turns before; all others stay as they are."""
    groups: defaultdict[tuple[str, str], list[_Given]] = defaultdict(list)
    for row in rows:
        groups[row.character.key, row.dialogue_id].append(row)
    for group in groups.values():
        first, *rest = sorted(group, key=lambda row: len(row.turns))
        for row in rest:
            if row.turns[: row.context_turns] == first.turns:
                first = replace(first, turns=row.turns)
            else:
                yield first
                first = row
        yield first


def _make_dialogue(given: _Given, recipe: str) -> Dialogue:
    texts = [text for turn in given.turns for text in (turn.role, turn.content)]
    named = content_key("dialogue", str(given.context_turns), *texts)
    played = given.turns[given.context_turns :]
    asked = tuple(turn for turn in played if turn.role == "user")
    return Dialogue(
        key=row_key(recipe, [given.character.key, named]),
        strategy=given.strategy,
        character_key=given.character.key,
        persona_key=given.character.persona_key,
        instruction_key=name_instruction(
            given.context_turns, (*given.turns[: given.context_turns], *asked)
        ),
        corpus=given.corpus,
        question_id=given.question_id,
        context_turns=given.context_turns,
        turns=given.turns,
        user_turns_restored=False,
        truncated=False,
        teacher=given.teacher,
    )
