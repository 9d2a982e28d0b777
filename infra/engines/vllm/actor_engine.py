"""Speaks to a vLLM actor from a worker actor; many requests and many answers travel in one call.

A Ray call costs a millisecond and more on either side, on the very cores that generate (measured
on two cores: one call a request and 25-token answers cost a fifth of the engine's rate). So what
a worker asks within a few milliseconds goes out as one call, and one open call brings back what
the engine has finished since. The engine does not run dry meanwhile: the worker's window is wider
than what the engine batches.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from infra.errors import EngineError
from infra.protocol import Completion, Request

_GATHER_S = 0.01
_COLLECT_S = 30.0
"""More than an actor that is alive needs to say that its engine is not."""


class ActorEngine:
    """Engine of one vLLM actor for one worker, as an :class:`Engine`.

    An actor that does not answer for ``patience_s`` and a while is taken for dead.
    """

    def __init__(self, actor: Any, patience_s: float) -> None:
        self._actor = actor
        self._patience_s = patience_s + _COLLECT_S
        self._waiting: list[Request] = []
        self._open: dict[str, asyncio.Future[Completion]] = {}
        self._sender: asyncio.Task[None] | None = None
        self._receiver: asyncio.Task[None] | None = None

    async def generate(self, request: Request) -> Completion:
        """Answer one request; a dead actor is an :class:`EngineError`."""
        if request.request_id in self._open:
            raise ValueError(f"request {request.request_id} is open already")
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._open[request.request_id] = future
        self._waiting.append(request)
        if self._sender is None or self._sender.done():
            self._sender = asyncio.create_task(self._send())
        if self._receiver is None or self._receiver.done():
            self._receiver = asyncio.create_task(self._receive())
        try:
            return await future
        finally:
            self._open.pop(request.request_id, None)

    async def close(self) -> None:
        """Leave the actor alone: the pool owns it."""

    async def _send(self) -> None:
        while self._waiting:
            await asyncio.sleep(_GATHER_S)
            batch, self._waiting = self._waiting, []
            try:
                await self._actor.submit.remote(batch)
            except Exception as error:
                self._fail(error)

    async def _receive(self) -> None:
        while self._open:
            finished: Sequence[tuple[str, Completion | EngineError]]
            try:
                finished = await asyncio.wait_for(self._collect(), self._patience_s)
            except TimeoutError:
                self._fail(EngineError(f"its actor did not answer for {self._patience_s:.0f} s"))
                return
            except Exception as error:
                self._fail(error)
                return
            for request_id, outcome in finished:
                future = self._open.get(request_id)
                if future is None or future.done():
                    continue
                if isinstance(outcome, EngineError):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
            # Let the rows that were waiting go on and ask again before the next look.
            await asyncio.sleep(0)

    async def _collect(self) -> Sequence[tuple[str, Completion | EngineError]]:
        found: Sequence[tuple[str, Completion | EngineError]] = await self._actor.collect.remote()
        return found

    def _fail(self, error: Exception) -> None:
        lost = _as_engine_error(error)
        self._waiting = []
        for future in self._open.values():
            if not future.done():
                future.set_exception(lost)


def _as_engine_error(error: Exception) -> Exception:
    from ray.exceptions import RayActorError, RayTaskError

    if isinstance(error, RayActorError):
        return EngineError(f"the engine's process died: {error}")
    if isinstance(error, RayTaskError):
        cause = error.as_instanceof_cause()
        return EngineError(str(cause)) if isinstance(cause, EngineError) else error
    return error
