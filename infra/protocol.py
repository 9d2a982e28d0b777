"""Defines what every engine understands: a request goes in, a completion comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a prompt; the content is data, never syntax."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one completion is drawn. ``seed`` is ``None`` where rows are not seeded.

    ``repetition_penalty`` divides the logits of tokens that came before (above 1: repeats less);
    only a streaming vLLM engine of this process follows it, for rows are drawn without.
    """

    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int | None = None
    repetition_penalty: float = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """One call to a model.

    Attributes:
        request_id: Unique within a run: row key, call and attempt; only for logs and tracing.
        messages: The prompt as messages, for engines that render it themselves.
        token_ids: The prompt as token ids, for engines that take ids; ``None`` for endpoints.
        sampling: How to draw.
        schema: A JSON schema the answer must follow, or ``None`` for free text.
        keep_special: Leave special tokens in the text, for some of them are marks of thoughts.
    """

    request_id: str
    messages: tuple[Message, ...]
    token_ids: tuple[int, ...] | None
    sampling: SamplingParams
    schema: dict[str, Any] | None = None
    keep_special: bool = False


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model answered.

    ``finish_reason`` is ``stop`` when the model ended by itself and ``length`` when it ran out
    of tokens. Token counts are as the engine reports them, or ``estimated`` where it reports none;
    ``cached_tokens`` is the part of the prompt that came from the prefix cache. ``reasoning`` is
    what the engine itself gave apart from the text: it is never part of an answer. Of thoughts only
    their length is kept, whether they came so or in the text (``infra.engines.spoken``);
    ``thought_tokens`` are part of ``completion_tokens``. ``unspoken`` says that the text ended
    within a thought: no answer.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning: str = ""
    thought_chars: int = 0
    thought_tokens: int = 0
    unspoken: bool = False
    estimated: bool = False


class Engine(Protocol):
    """Source of completions, made concurrently; the caller bounds how many are open at once.

    ``generate`` raises :class:`infra.errors.RequestFailed` when one request failed after the
    engine's own bounded retries, and :class:`infra.errors.EngineError` when the engine is gone.
    """

    async def generate(self, request: Request) -> Completion:
        """Answer one request."""
        ...

    async def close(self) -> None:
        """Release everything the engine holds."""
        ...


@dataclass(frozen=True, slots=True)
class Delta:
    """The next part of an answer; the last one says why it ended (``stop``, ``length``).

    ``reasoning`` is what the engine gives apart from the text. What comes out of a
    :class:`SpokenStream` holds none: there ``thinking`` says that the model thinks meanwhile, and
    ``retracts`` that all before was a thought, and that the answer begins here.
    """

    text: str
    finish_reason: str | None = None
    reasoning: str = ""
    thinking: bool = False
    retracts: bool = False


class StreamingEngine(Engine, Protocol):
    """Engine that also answers in deltas."""

    async def start(self) -> str:
        """Get ready, and tell what answers; :class:`EngineError` if it cannot."""
        ...

    def stream(self, request: Request) -> AsyncIterator[Delta]:
        """Answer one request in deltas.

        Raises :class:`PromptTooLong` before the first delta, else :class:`RequestFailed` or
        :class:`EngineError`. Closing the iterator stops the answer.
        """
        ...
