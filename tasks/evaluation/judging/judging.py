"""Judges answers: writes example replies for each score, then rates each answer by its rubric.

The examples do not depend on any answer, so they are written once a question and judge and shown,
whole, with every model's answer (PAPER, section 4). A verdict that cannot be read is asked for
again; if it never can, the judgement is made all the same, with no score and what the judge said:
missing is missing, not 0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from infra.errors import Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion
from infra.text.json_answers import find_json
from infra.text.text_cleaning import clean_text, strip_quotes
from tasks.evaluation.judging.rubrics import SCORES, JudgingPrompts
from tasks.evaluation.judging.verdicts import Verdict, read_verdict, verdict_schema
from tasks.records import EvalTask, Judgement, ScoreExamples

_HEADER = re.compile(
    r"^[\s#*_>(\[-]*(?:score|reply|response|example)[\s_]*([1-5])[\s*_)\]]*[:.\u2013\u2014-]+[\s*_]*"
    r"(?:(?:response|reply)[\s*_]*[:\u2013\u2014-]+[\s*_]*)?",
    re.IGNORECASE | re.MULTILINE,
)
_RULE = re.compile(r"\n\s*-{3,}\s*$")
_SHOWN_CHARS = 4000


@dataclass(frozen=True, slots=True)
class ExamplesInput:
    """What example replies are written for."""

    key: str
    question_key: str
    persona: str
    profile: str
    task: EvalTask
    question: str


@dataclass(frozen=True)
class ExampleWriter:
    """Maker of :class:`ScoreExamples`; runs in a stage worker.

    ``one_by_one`` asks for each score's reply in a request of its own, as a weak judge needs;
    then nothing is structured, because a reply is text.
    """

    inputs: ClassVar[type[ExamplesInput]] = ExamplesInput
    parents: ClassVar[tuple[str, ...]] = ("question_key",)
    record: ClassVar[type[ScoreExamples]] = ScoreExamples

    prompts: JudgingPrompts
    judge: str
    structured: bool
    one_by_one: bool
    max_chars: int

    async def make(
        self, key: str, row: ExamplesInput, session: RowSession
    ) -> ScoreExamples | Reject:
        """Ask for five replies, one a score, and keep each of them whole."""
        found = await (self._ask_each(row, session) if self.one_by_one else self._ask(row, session))
        if isinstance(found, Reject):
            return found
        return ScoreExamples(key, row.question_key, row.task, self.judge, found)

    async def _ask(self, row: ExamplesInput, session: RowSession) -> tuple[str, ...] | Reject:
        messages = self.prompts.examples[row.task].render(self._values(row, 0))
        schema = examples_schema(self.max_chars) if self.structured else None
        read = partial(read_examples, max_chars=self.max_chars)
        return await session.ask(messages, read, schema=schema)

    async def _ask_each(self, row: ExamplesInput, session: RowSession) -> tuple[str, ...] | Reject:
        replies: list[str] = []
        for score in SCORES:
            messages = self.prompts.examples[row.task].render(self._values(row, score))
            read = partial(read_example, others=tuple(replies), max_chars=self.max_chars)
            reply = await session.ask(messages, read)
            if isinstance(reply, Reject):
                return reply
            replies.append(reply)
        return tuple(replies)

    def _values(self, row: ExamplesInput, score: int) -> dict[str, object]:
        return {
            "persona": row.persona,
            "profile": row.profile,
            "question": row.question,
            "score": score,
            "structured": self.structured,
        }


@dataclass(frozen=True, slots=True)
class JudgementInput:
    """What a verdict is given on; ``examples`` is empty where there are none."""

    key: str
    answer_key: str
    question_key: str
    persona_key: str
    persona: str
    profile: str
    task: EvalTask
    model: str
    question: str
    answer: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Judge:
    """Maker of a :class:`Judgement`; runs in a stage worker, and never rejects a row."""

    inputs: ClassVar[type[JudgementInput]] = JudgementInput
    parents: ClassVar[tuple[str, ...]] = ("answer_key", "examples_key")
    record: ClassVar[type[Judgement]] = Judgement

    prompts: JudgingPrompts
    judge: str
    structured: bool
    max_justification_chars: int

    async def make(self, key: str, row: JudgementInput, session: RowSession) -> Judgement:
        """Ask for the verdict; one that cannot be read in any attempt is a missing score."""
        values = {
            "persona": row.persona,
            "profile": row.profile,
            "question": row.question,
            "answer": row.answer,
            "examples": row.examples,
            "structured": self.structured,
        }
        messages = self.prompts.verdicts[row.task].render(values)
        schema = verdict_schema(self.max_justification_chars) if self.structured else None
        verdict = await session.ask(messages, take_verdict, schema=schema)
        if isinstance(verdict, Reject):
            score, said = None, _describe_missing(verdict, session.last_text)
        else:
            score, said = verdict.score, verdict.justification
        return Judgement(
            key=key,
            answer_key=row.answer_key,
            question_key=row.question_key,
            persona_key=row.persona_key,
            task=row.task,
            model=row.model,
            judge=self.judge,
            score=score,
            justification=said,
        )


def examples_schema(max_chars: int) -> dict[str, Any]:
    """Return the JSON schema of five replies: an object, so that their order is that of scores."""
    reply = {"type": "string", "minLength": 1, "maxLength": max_chars}
    names = [f"score_{score}" for score in SCORES]
    return {
        "type": "object",
        "properties": dict.fromkeys(names, reply),
        "required": names,
        "additionalProperties": False,
    }


def read_examples(completion: Completion, *, max_chars: int) -> tuple[str, ...] | Reject:
    """Read five replies from a JSON object or list, or from ``Score N:`` headers.

    The reasons: truncated, not_five_examples, and those of :func:`read_example`.
    """
    if completion.finish_reason == "length":
        return Reject("truncated", "the examples ran into the token limit")
    texts = _split_examples(completion.text)
    if isinstance(texts, Reject):
        return texts
    replies: list[str] = []
    for text in texts:
        reply = _check_example(text, tuple(replies), max_chars)
        if isinstance(reply, Reject):
            return reply
        replies.append(reply)
    return tuple(replies)


def read_example(
    completion: Completion, *, others: tuple[str, ...], max_chars: int
) -> str | Reject:
    """Read one reply; the reasons: truncated, empty, too_long, repeated_example."""
    if completion.finish_reason == "length":
        return Reject("truncated", "the example ran into the token limit")
    text = completion.text.strip()
    header = _HEADER.match(text)
    return _check_example(text[header.end() :] if header else text, others, max_chars)


def take_verdict(completion: Completion) -> Verdict | Reject:
    """Take a finished verdict, JSON or free text; the reasons: truncated, no_verdict.

    A verdict that was cut off counts as none: a number met on the way is not the final score.
    """
    if completion.finish_reason == "length":
        return Reject("truncated", "the verdict ran into the token limit")
    return read_verdict(completion.text) or Reject("no_verdict", "no score from 1 to 5 in it")


def _describe_missing(reject: Reject, raw: str) -> str:
    said = f"{reject.reason}: {reject.detail}".rstrip(": ")
    return f"{said}\n---\n{raw}"[:_SHOWN_CHARS] if raw else said


def _split_examples(text: str) -> list[str] | Reject:
    headers = list(_HEADER.finditer(text))
    value = find_json(text) if not headers or text.lstrip().startswith(("{", "[", "```")) else None
    if isinstance(value, dict):
        value = [value.get(f"score_{score}", value.get(str(score))) for score in SCORES]
    if isinstance(value, list):
        texts = [item for item in value if isinstance(item, str)]
    else:
        if [int(header[1]) for header in headers] != list(SCORES):
            found = ", ".join(header[1] for header in headers) or "none"
            return Reject("not_five_examples", f"scores found: {found}")
        ends = [header.start() for header in headers[1:]] + [len(text)]
        texts = [text[header.end() : end] for header, end in zip(headers, ends, strict=True)]
    if len(texts) != len(SCORES):
        return Reject("not_five_examples", f"{len(texts)} replies")
    return texts


def _check_example(text: str, others: tuple[str, ...], max_chars: int) -> str | Reject:
    reply = strip_quotes(_RULE.sub("", clean_text(text)).strip())
    if not reply:
        return Reject("empty", f"no reply for the score {len(others) + 1}")
    if len(reply) > max_chars:
        return Reject("too_long", f"{len(reply)} characters for the score {len(others) + 1}")
    if reply in others:
        return Reject("repeated_example", reply[:200])
    return reply
