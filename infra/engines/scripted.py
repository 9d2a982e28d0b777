"""Answers without a model, and fails when told to, so that orchestration can be tested offline.

The text is a pure function of the request (:mod:`infra.engines.scripted_answers`), so runs with
other worker counts, chunk sizes and orders must agree to the letter.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.engines.scripted_answers import AnswerWriter, write_answer
from infra.errors import ConfigError, EngineError, Problem, RequestFailed
from infra.protocol import Completion, Request

_GLANCE_S = 0.05
Responder = Callable[[Request], str]


@dataclass(frozen=True, slots=True)
class Script:
    """How a scripted engine behaves; plain values, so that a configuration can hold it.

    Attributes:
        latency_s: Time every answer takes.
        hold_share: Share of requests that wait until the file ``hold_marker`` exists, drawn from
            their ids: rows that take longest.
        hold_marker: Path of that file.
        fail_every: Every so many requests one fails for good (0: never).
        transient_error_share: Share of requests that fail the first time this engine sees them.
        bad_output_share: Share of answers that are unusable: cut JSON, nothing, or noise. Drawn
            from messages and seed, so asking again with the next seed may help, as with a model.
        refuse_all: Fail every request as fatal, like a wrong key.
        die_after: The engine dies when asked for more than so many answers (0: never).
        hard: Die by SIGKILL of the whole process instead of an :class:`EngineError`.
        die_once_marker: A file made on dying; while it exists no engine dies. It lets exactly
            one engine of a pool die once, across restarts.
        respond: Dotted path of a function from a request to its text, in place of the default.
    """

    latency_s: float = 0.0
    hold_share: float = 0.0
    hold_marker: str = ""
    fail_every: int = 0
    transient_error_share: float = 0.0
    bad_output_share: float = 0.0
    refuse_all: bool = False
    die_after: int = 0
    hard: bool = False
    die_once_marker: str = ""
    respond: str = ""


class ScriptedEngine:
    """An :class:`infra.protocol.Engine` that follows a script.

    Args:
        script: How it behaves.
        responder: Takes the place of ``script.respond``.
    """

    def __init__(self, script: Script | None = None, responder: Responder | None = None) -> None:
        self.script = script or Script()
        self._respond = responder or _find_responder(self.script.respond)
        self._asked = 0
        self._dead = self._closed = False
        self._failed_once: set[str] = set()

    async def generate(self, request: Request) -> Completion:
        """Answer one request, or fail as the script says."""
        script = self.script
        self._asked += 1
        if self._closed:
            raise EngineError("the scripted engine was closed")
        if script.refuse_all:
            raise RequestFailed("the script refuses every request", fatal=True)
        if script.die_after and self._asked > script.die_after and not self._dead:
            self._die()
        if self._dead:
            raise EngineError(f"the scripted engine died after {script.die_after} requests")
        if script.latency_s:
            await asyncio.sleep(script.latency_s)
        if script.hold_share and _draw_share(f"hold {request.request_id}") < script.hold_share:
            while not Path(script.hold_marker).exists():
                await asyncio.sleep(_GLANCE_S)
        if script.fail_every and self._asked % script.fail_every == 0:
            raise RequestFailed(f"request {request.request_id}: the script fails this one")
        if request.request_id not in self._failed_once and (
            _draw_share(request.request_id) < script.transient_error_share
        ):
            self._failed_once.add(request.request_id)
            raise RequestFailed(f"request {request.request_id}: the script fails it once")
        return self._complete(request)

    async def close(self) -> None:
        """Refuse all further requests."""
        self._closed = True

    def _complete(self, request: Request) -> Completion:
        text, finish_reason = self._respond(request), "stop"
        if self.script.bad_output_share:
            text, finish_reason = self._spoil(request, text)
        words = text.split()
        # A token is a word here. Structured answers are whole whatever the budget, as a test's
        # small max_new_tokens should not decide whether JSON parses.
        if request.schema is None and len(words) > request.sampling.max_new_tokens:
            words, finish_reason = words[: request.sampling.max_new_tokens], "length"
            text = " ".join(words)
        prompt_tokens = sum(len(message.content.split()) for message in request.messages)
        return Completion(text, finish_reason, prompt_tokens, len(words))

    def _spoil(self, request: Request, text: str) -> tuple[str, str]:
        """Return a text and why it ended, made unusable for the script's share of requests."""
        fate = AnswerWriter(request, salt="fate")
        if fate.draw(1_000_000) >= self.script.bad_output_share * 1_000_000:
            return text, "stop"
        cut = text[: len(text) // 2]
        return (("", "stop"), ("%% ?? %%", "stop"), (cut, "length"))[fate.draw(3)]

    def _die(self) -> None:
        if self.script.die_once_marker:
            try:
                Path(self.script.die_once_marker).touch(exist_ok=False)
            except FileExistsError:
                return
        if self.script.hard:
            os.kill(os.getpid(), signal.SIGKILL)
        self._dead = True


def _draw_share(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


def _find_responder(path: str) -> Responder:
    if not path:
        return write_answer
    module_name, _, name = path.rpartition(".")
    try:
        responder = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            Problem("script.respond", f"{path!r} cannot be imported: {error}", "name a function")
        ) from error
    if not callable(responder):
        raise ConfigError(Problem("script.respond", f"{path!r} is no function", "name a function"))
    found: Responder = responder
    return found
