"""Renders a sample of the prompts that a run will ask, without a model: for counting tokens.

Row nodes render them through their own makers. What a prompt shows that is not made yet is
pretended, in the usual length.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from flows.plan.foreseen import ForeseenRows
from infra.generation.asking import AskOptions, RowSession
from infra.nodes.node import RowNode
from infra.nodes.rows import Done
from infra.protocol import Completion, Message, Request
from infra.store.schema import from_plain
from tasks.dialogues.nodes import Dialogues, TakenDialogues
from tasks.records import Character, Instruction

R = TypeVar("R")

SAMPLED = 64

Prompt = tuple[Message, ...]


@dataclass
class _Recorder:
    """Engine that keeps what it is asked, and has nothing to say."""

    asked: list[Request] = field(default_factory=list)

    async def generate(self, request: Request) -> Completion:
        self.asked.append(request)
        return Completion("", "stop", 0, 0)

    async def close(self) -> None:
        return


class _FewQuestions:
    """Reader of rows that gives every so-many-th instruction: sources come one after another."""

    def __init__(self, given: ForeseenRows) -> None:
        self._given = given
        self.frame = given.frame
        self.frames = given.frames

    def read(self, node: Done, record: type[R]) -> list[R]:
        rows = self._given.read(node, record)
        if record is not Instruction:
            return rows
        return rows[:: max(1, len(rows) // SAMPLED)][:SAMPLED]


def sample_prompts(node: RowNode, given: ForeseenRows) -> list[Prompt]:
    """Return the first prompt of up to :data:`SAMPLED` of a node's rows."""
    if isinstance(node, Dialogues):  # many questions, whoever answers them
        node = replace(node, pairing=node.pairing.model_copy(update={"characters_per_question": 1}))
    planned = node.plan(_FewQuestions(given))
    few = planned.gather_every(max(1, planned.height // SAMPLED)).head(SAMPLED)
    return asyncio.run(_record(node, [dict(row) for row in few.iter_rows(named=True)]))


def sample_given_dialogues(node: TakenDialogues, given: ForeseenRows) -> list[Prompt]:
    """Return up to :data:`SAMPLED` of the dialogues that are brought, as they are trained on."""
    people = {one.persona_key: one for one in given.read(node.characters, Character)}
    dialogues = given.take_plays(node).accepted
    prompts = []
    for item in dialogues[:: max(1, len(dialogues) // SAMPLED)][:SAMPLED]:
        actor = people[item.persona_key]
        system = Message("system", f"{actor.persona}\n{actor.profile}")
        prompts.append((system, *(Message(turn.role, turn.content) for turn in item.turns)))
    return prompts


async def _record(node: RowNode, rows: Sequence[dict[str, object]]) -> list[Prompt]:
    maker, prompts = node.maker(), []
    for plain in rows:
        row, engine = from_plain(maker.inputs, plain), _Recorder()
        options = AskOptions(temperature=0.0, top_p=1.0, max_new_tokens=1, max_attempts=1, seed=0)
        session = RowSession(key=row.key, engine=engine, encoder=None, options=options)
        await maker.make(row.key, row, session)
        if engine.asked:
            prompts.append(engine.asked[0].messages)
    return prompts
