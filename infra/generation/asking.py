"""Asks a model on behalf of one row, again with the next seed until the answer can be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from infra.engines.border import clean_completion, describe_blank
from infra.engines.spoken import drop_reasoning, find_missing_answer, take_speech
from infra.errors import PromptTooLong, Reject, TemplateRefused
from infra.protocol import Completion, Engine, Message, Request, SamplingParams
from infra.rendering.encoder import PromptEncoder
from infra.store.fingerprints import request_seed
from infra.thoughts.marks import NOTHING_KNOWN, ThinkingFacts

T = TypeVar("T")

REMINDER = "\n\nKeep exactly to the format asked for."
_WARMER = 0.3
_WARMEST = 1.2


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How a stage samples and how often it asks.

    ``context_tokens`` bounds prompt plus answer where the engine takes token ids;
    ``first_attempt`` counts those that a row spent before its reject is retried. A model's thoughts
    may take ``max_thought_tokens`` beside the answer's own, and are left out unless it
    ``keeps_thoughts``.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    max_attempts: int
    seed: int
    context_tokens: int | None = None
    first_attempt: int = 0
    max_thought_tokens: int = 0
    keeps_thoughts: bool = False


@dataclass(slots=True)
class RowSession:
    """Session of one row: what it costs, and seeds for its requests that depend on nothing else."""

    key: str
    engine: Engine
    encoder: PromptEncoder | None
    options: AskOptions
    calls: int = 0
    attempts: int = 0
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    thought_chars: int = 0
    thought_tokens: int = 0
    last_text: str = field(default="", repr=False)

    async def ask(
        self,
        messages: Sequence[Message],
        parse: Callable[[Completion], T | Reject],
        *,
        schema: dict[str, Any] | None = None,
        max_new_tokens: int | None = None,
    ) -> T | Reject:
        """Ask until ``parse`` accepts, at most ``max_attempts`` times; else the last verdict.

        ``parse`` sees speech alone; a thought without an answer never reaches it (``truncated``).
        A sampled request is asked again with the next seed. A greedy one, which would only
        repeat itself, is asked with a format reminder, then warmer.
        """
        call, self.calls = self.calls, self.calls + 1
        verdict: T | Reject = Reject("no_attempt")
        first = self.options.first_attempt
        for attempt in range(first, first + self.options.max_attempts):
            request = self._request(messages, schema, max_new_tokens, call, attempt)
            if isinstance(request, Reject):
                return request
            try:
                completion = self._hear(clean_completion(await self.engine.generate(request)))
            except PromptTooLong as error:
                return Reject("prompt_too_long", str(error))
            self._count(completion, attempt)
            verdict = find_missing_answer(completion) or parse(completion)
            if not isinstance(verdict, Reject):
                return verdict
        return verdict

    def _request(
        self,
        messages: Sequence[Message],
        schema: dict[str, Any] | None,
        max_new_tokens: int | None,
        call: int,
        attempt: int,
    ) -> Request | Reject:
        options = self.options
        temperature = options.temperature
        if attempt and temperature == 0.0:
            last = messages[-1]
            messages = [*messages[:-1], Message(last.role, last.content + REMINDER)]
            temperature = min(_WARMER * (attempt - 1), _WARMEST)
        budget = (max_new_tokens or options.max_new_tokens) + options.max_thought_tokens
        facts = self._facts()
        try:
            token_ids = self.encoder.encode(messages) if self.encoder is not None else None
        except TemplateRefused as error:
            return Reject("template_refused", str(error))
        limit = options.context_tokens
        if token_ids is not None and limit is not None and len(token_ids) + budget > limit:
            return Reject(
                "prompt_too_long",
                f"{len(token_ids)} prompt tokens + {budget} for the answer > context of {limit}",
            )
        return Request(
            request_id=f"{self.key}-{call}-{attempt}",
            messages=tuple(messages),
            token_ids=token_ids,
            sampling=SamplingParams(
                temperature=temperature,
                top_p=options.top_p,
                max_new_tokens=budget,
                seed=request_seed(options.seed, self.key, call, attempt),
            ),
            # A grammar would put the answer where the thought stands that the prompt has begun.
            schema=None if facts.opened else schema,
            keep_special=facts.keep_special,
        )

    def _facts(self) -> ThinkingFacts:
        """Return what is known of the model's thoughts; nothing where they are kept."""
        if self.encoder is None or self.options.keeps_thoughts:
            return NOTHING_KNOWN
        return self.encoder.thinking

    def _hear(self, completion: Completion) -> Completion:
        if self.options.keeps_thoughts:
            return drop_reasoning(completion)
        return take_speech(completion, self._facts())

    def _count(self, completion: Completion, attempt: int) -> None:
        self.attempts = max(self.attempts, attempt + 1)
        self.requests += 1
        self.prompt_tokens += completion.prompt_tokens
        self.cached_tokens += completion.cached_tokens
        self.completion_tokens += completion.completion_tokens
        self.thought_chars += completion.thought_chars
        self.thought_tokens += completion.thought_tokens
        self.last_text = completion.text or describe_blank(completion)
