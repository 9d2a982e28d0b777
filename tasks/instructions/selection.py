"""Selects the questions of a run: splits conversations, bounds, filters, removes copies, limits.

The result depends on no order of rows or files: of equal questions the one with the smallest
corpus and origin stays, and a limit draws the smallest hashes of seed and key.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from infra.errors import Reject
from infra.store.fingerprints import hash_parts
from infra.text.languages import find_foreign
from tasks.conversations import name_instruction
from tasks.instructions.config import InstructionConfig
from tasks.instructions.sources import RawConversation, read_conversations
from tasks.records import Instruction, Rejection, Turn
from tasks.rejections import RejectionList


@dataclass(frozen=True, slots=True)
class Selection:
    """What came of the rows: every question, and every row without one, is in one of the two.

    Both are sorted by key. ``rows`` is how many rows were read: a conversation that is split
    counts once here and by its user turns there. ``notes`` says of each source which rows fell
    because they could not be read, and what of the others was left out.
    """

    accepted: tuple[Instruction, ...]
    rejected: tuple[Rejection, ...]
    rows: int
    notes: tuple[str, ...] = ()


def select_instructions(config: InstructionConfig) -> Selection:
    """Read the sources and select; without sources the selection is empty."""
    return select_conversations(read_conversations(config), config)


def select_conversations(
    conversations: Iterable[RawConversation], config: InstructionConfig
) -> Selection:
    """Sort rows into questions and rejections, each with the first reason that applies.

    The reasons, in order: malformed, missing_text, roles_not_alternating, no_user_turn,
    too_short, too_long, duplicate, wrong_language, not_sampled.
    """
    left: dict[str, _Question] = {}
    rejections = RejectionList("instruction")
    raws = sorted(conversations, key=_rank)
    for raw in raws:
        if isinstance(raw.turns, Reject):
            content = f"{raw.corpus}\n{raw.turns.detail}"
            rejections.add_row(raw.turns.reason, raw.turns.detail, raw.origin, content=content)
            continue
        for question in _pose(raw, raw.turns, split=config.multi_turn == "split"):
            key = question.instruction.key
            reason = _judge_length(question, config)
            if reason:
                rejections.add_row(reason, question.text, raw.origin, content=key)
            elif key in left:
                detail = f"of {left[key].origin}: {question.text}"
                rejections.add_row("duplicate", detail, raw.origin, content=key)
            else:
                left[key] = question
    questions = [left[key] for key in sorted(left)]
    questions = _drop_foreign(questions, config, rejections)
    questions = _limit(questions, config, rejections)
    accepted = tuple(question.instruction for question in questions)
    return Selection(accepted, rejections.collect(), len(raws), _describe_sources(raws, config))


def _describe_sources(
    raws: Sequence[RawConversation], config: InstructionConfig
) -> tuple[str, ...]:
    rows = Counter(raw.place for raw in raws)
    fallen = Counter((raw.place, raw.turns.reason) for raw in raws if isinstance(raw.turns, Reject))
    left = Counter((raw.place, what) for raw in raws for what in raw.left_out)
    notes = []
    for place, source in enumerate(config.sources):
        told = [
            f"{count:,} of {rows[place]:,} rows fall: {reason}"
            for (of, reason), count in sorted(fallen.items())
            if of == place
        ]
        names = [
            f"{what} ({count:,} rows)" for (of, what), count in sorted(left.items()) if of == place
        ]
        told += [f"not read: {', '.join(names)}"] if names else []
        if told:
            notes.append(f"instructions.sources[{place}] ({source.path}): {'; '.join(told)}")
    return tuple(notes)


@dataclass(frozen=True, slots=True)
class _Question:
    instruction: Instruction
    origin: str

    @property
    def asked(self) -> list[str]:
        """Return the user turns to answer."""
        turns = self.instruction.turns[self.instruction.context_turns :]
        return [turn.content for turn in turns if turn.role == "user"]

    @property
    def text(self) -> str:
        return "\n".join(self.asked)


def _rank(raw: RawConversation) -> tuple[object, ...]:
    turns = raw.turns
    if isinstance(turns, Reject):
        return raw.corpus, raw.origin, (turns.reason, turns.detail)
    return raw.corpus, raw.origin, tuple(turn.content for turn in turns)


def _pose(raw: RawConversation, turns: tuple[Turn, ...], *, split: bool) -> Iterator[_Question]:
    """Yield a conversation's questions: one, or one a user turn with what came before it."""
    users = range(0, len(turns), 2)
    if not split or len(users) == 1:
        yield _Question(_make_instruction(raw.corpus, raw.row_id, 0, turns), raw.origin)
        return
    for number, start in enumerate(users, 1):
        question_id = f"{raw.row_id}:{number}"
        part = turns[: start + 2]
        yield _Question(_make_instruction(raw.corpus, question_id, start, part), raw.origin)


def _make_instruction(
    corpus: str, question_id: str, context_turns: int, turns: tuple[Turn, ...]
) -> Instruction:
    key = name_instruction(context_turns, turns)
    return Instruction(key, corpus, question_id, context_turns, turns)


def _judge_length(question: _Question, config: InstructionConfig) -> str | None:
    lengths = [len(text) for text in question.asked]
    if max(lengths) > config.max_chars:
        return "too_long"
    return "too_short" if min(lengths) < config.min_chars else None


def _drop_foreign(
    questions: Sequence[_Question], config: InstructionConfig, rejections: RejectionList
) -> list[_Question]:
    if config.language is None:
        return list(questions)
    foreign = find_foreign([question.text for question in questions], config.language)
    for index, language in foreign.items():
        question = questions[index]
        _reject(question, "wrong_language", f"{language}: {question.text}", rejections)
    return [question for index, question in enumerate(questions) if index not in foreign]


def _limit(
    questions: Sequence[_Question], config: InstructionConfig, rejections: RejectionList
) -> list[_Question]:
    if config.limit is None or len(questions) <= config.limit:
        return list(questions)
    seed = str(config.seed)
    ranked = sorted(questions, key=lambda question: hash_parts(seed, question.instruction.key))
    for question in ranked[config.limit :]:
        _reject(question, "not_sampled", question.text, rejections)
    return sorted(ranked[: config.limit], key=lambda question: question.instruction.key)


def _reject(question: _Question, reason: str, detail: str, rejections: RejectionList) -> None:
    key = question.instruction.key
    rejections.add_keyed(key, reason, detail, question.origin)
