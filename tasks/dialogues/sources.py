"""Takes dialogues from rows that people bring, in place of asking a model to play them.

A row has the persona's sentence, or the ``character_id`` of a brought character, and what is said:
``messages`` (or ``conversations``), or, as the export writes it, ``question`` and
``character_answer`` with the ``history`` before them. What else an exported row says is kept:
corpus, question, strategy, and which turns were given, not played.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from infra.errors import Problem, Reject
from infra.input.row_input import BadRow, RawRow, Source, check_columns, digest_rows, read_rows
from infra.store.fingerprints import content_key, row_key
from infra.text.text_cleaning import clean_text
from tasks.conversations import list_turns, name_instruction, read_text, read_turns, show
from tasks.dialogues.config import DialogueConfig
from tasks.dialogues.strategies import STRATEGIES
from tasks.persona_rows import normalise_persona
from tasks.records import BroughtCharacter, Character, Dialogue, Rejection, Turn
from tasks.rejections import RejectionList

_KEY = "dialogues.source"
_PERSONA, _PROFILE, _ID = "persona", "character", "character_id"
_CHATS, _ANSWERS = ("messages", "conversations"), ("character_answer", "answer", "response")
NO_CHARACTER = "no_character"
"""The reason of rows whose character this run does not have."""
_OWN = "own"
"""Stands for a corpus or a teacher that a row does not name."""


@dataclass(frozen=True, slots=True)
class Plays:
    """Dialogues that were taken, and what was left out with reasons."""

    accepted: Sequence[Dialogue]
    rejected: Sequence[Rejection]


@dataclass(frozen=True, slots=True)
class _CastIndex:
    """Characters of a run by their personas, and by the ids that rows know them by."""

    by_persona: Mapping[str, Character]
    by_id: Mapping[str, Character]

    @classmethod
    def build(cls, characters: Sequence[Character]) -> _CastIndex:
        by_id = {one.key: one for one in characters}
        brought = [one for one in characters if isinstance(one, BroughtCharacter)]
        by_id |= {one.own_id: one for one in brought if one.own_id}
        return cls({normalise_persona(one.persona): one for one in characters}, by_id)

    def find(self, values: Mapping[str, object]) -> Character | Reject:
        """Return whom a row is of: by its persona, or by its id where it names no persona."""
        persona = normalise_persona(str(values.get(_PERSONA) or ""))
        named = _read_name(values, _ID)
        found = self.by_persona.get(persona) if persona else self.by_id.get(named)
        if found is not None:
            return found
        return Reject(NO_CHARACTER, persona or (f"{_ID} {named}" if named else "no persona"))


@dataclass(frozen=True, slots=True)
class _Given:
    """Conversation of one row, or of several that continue each other."""

    origin: str
    character: Character
    dialogue_id: str
    context_turns: int
    turns: tuple[Turn, ...]
    corpus: str
    question_id: str
    strategy: str
    teacher: str


def take_dialogues(source: str | Source, characters: Sequence[Character], recipe: str) -> Plays:
    """Return a dialogue for every row of a persona, or an id, whose character the run has.

    Rows of one ``dialogue_id`` that continue each other, as exported, become one dialogue. Of all
    others each is accepted or rejected: malformed, missing_text, roles_not_alternating,
    no_user_turn, no_answer, no_character, other_profile, duplicate.
    """
    known = _CastIndex.build(characters)
    left = RejectionList("dialogue")
    taken: dict[str, Dialogue] = {}
    for given in _join(_leave_copies(_read(source, known, left), left)):
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
    source = config.rows
    if source is None:
        return []
    columns, problems = check_columns(source, _KEY)
    if not columns:
        return problems
    where = f"{_KEY} ({source.path})"
    missing = [] if _PERSONA in columns or _ID in columns else [_PERSONA]
    if not any(name in columns for name in _CHATS):
        missing += [] if "question" in columns else ["messages, or question"]
        missing += [] if any(name in columns for name in _ANSWERS) else ["character_answer"]
    if missing:
        what = f"has no column for {' and '.join(missing)}"
        problems.append(Problem(where, what, f"it has {', '.join(columns)}; rename them"))
    if _PROFILE in columns and not own_profiles:
        what = "its rows have profiles, but the run would have new ones written"
        problems.append(Problem(where, what, f"bring them too: characters.source={source.path}"))
    return problems


def digest_dialogue_source(source: str | Source) -> list[str]:
    """Return a digest of each input file, for the node's fingerprint."""
    return [digest for _, digest in digest_rows(source)]


def _read(source: str | Source, known: _CastIndex, left: RejectionList) -> Iterator[_Given]:
    for row in read_rows(source):
        if isinstance(row, BadRow):
            left.add_row("malformed", row.detail, row.origin, content=row.detail)
            continue
        given = _read_row(row, known)
        if isinstance(given, Reject):
            left.add_row(given.reason, given.detail, row.origin, content=given.detail)
        else:
            yield given


def _read_row(row: RawRow, known: _CastIndex) -> _Given | Reject:
    values = row.values
    character = known.find(values)
    if isinstance(character, Reject):
        return character
    profile = values.get(_PROFILE)
    if isinstance(profile, str) and profile.strip() and not _is_of(profile, character):
        return Reject("other_profile", f"not of {character.name or 'this character'}: {profile}")
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
        dialogue_id=_read_name(values, "dialogue_id") or row.origin,
        context_turns=context_turns,
        turns=turns,
        corpus=_read_name(values, "question_source") or _OWN,
        question_id=_read_name(values, "question_id") or row.origin,
        strategy=strategy if isinstance(strategy, str) and strategy in STRATEGIES else "given",
        teacher=_read_name(values, "teacher") or _OWN,
    )


def _read_name(values: Mapping[str, object], name: str) -> str:
    """Return an id or a label as text that can be stored."""
    value = values.get(name)
    return "" if value is None else clean_text(str(value))


def _is_of(profile: str, character: Character) -> bool:
    """Tell whether a profile that a row shows may be this character's."""
    if " ".join(clean_text(profile).split()) == " ".join(character.profile.split()):
        return True
    if character.name:
        return character.name.casefold() in profile.casefold()
    told = [value for label, value in character.fields if label != "Profile"]
    return bool(told) and all(value in " ".join(profile.split()) for value in told)


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
    named = next((name for name in _ANSWERS if values.get(name) is not None), _ANSWERS[0])
    answer = read_text(values.get(named), named)
    for text in (question, answer):
        if isinstance(text, Reject):
            return text
    history = list_turns(values.get("history") or ())
    if history is None:
        return Reject("malformed", f"history is not a list: {show(values.get('history'))}")
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
