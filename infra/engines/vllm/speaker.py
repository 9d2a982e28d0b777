"""Streams answers from a vLLM engine of this process's own, for one person at a time.

It is the batch engine (:mod:`infra.engines.vllm.server`) without the Ray actor around it, and the
only other place that speaks to vLLM.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import IO

from infra.engines.config import ModelConfig
from infra.engines.vllm.sampler import settle_sampler
from infra.engines.vllm.server import (
    DIE_WITH_PARENT,
    VllmServer,
    engine_arguments,
    measure_gpu,
    shorten_socket_paths,
)
from infra.errors import EngineError, PromptTooLong
from infra.protocol import Piece, Request

_LOG_LEVEL = "VLLM_LOGGING_LEVEL"
_LOG_LINES = 12
QUIET = {
    "VLLM_NO_USAGE_STATS": "1",
    _LOG_LEVEL: "ERROR",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "PYTHONWARNINGS": "ignore",  # for the engine's own process
    # A fork would copy this process's threads' locks in whatever state they are.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
_SEQUENCES = 4


class VllmSpeaker(VllmServer):
    """A :class:`infra.engines.streaming.Speaker` with an ``AsyncLLM``."""

    def __init__(self, config: ModelConfig) -> None:
        quiet = {"use_tqdm_on_load": False, **config.engine_args}
        few = min(config.max_num_seqs or _SEQUENCES, _SEQUENCES)
        super().__init__(config.model_copy(update={"max_num_seqs": few, "engine_args": quiet}))
        self._log: IO[bytes] | None = None

    # The actor returns facts for the pool; a person reads a line.
    async def start(self, began: float | None = None) -> str:  # type: ignore[override]
        """Load the model; :class:`EngineError` if it cannot.

        ``began`` is when the start began by the machine's monotonic clock, if before this call.
        """
        began = time.monotonic() if began is None else began
        os.environ[DIE_WITH_PARENT] = str(os.getpid())
        if os.environ.get(_LOG_LEVEL, QUIET[_LOG_LEVEL]) == QUIET[_LOG_LEVEL]:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the engine
        for name, value in QUIET.items():
            os.environ.setdefault(name, value)
        shorten_socket_paths()
        note = settle_sampler()
        with _divert_log(self._log), _keep_interrupts_from_children(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import vllm
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.platforms import current_platform
            from vllm.v1.engine.async_llm import AsyncLLM

            on_cpu = bool(current_platform.is_cpu())
            gpu_gib = None if on_cpu else measure_gpu(current_platform)
            arguments = engine_arguments(self._config, on_cpu=on_cpu, gpu_gib=gpu_gib)
            try:
                self._engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**arguments))
            except Exception as error:
                raise EngineError(
                    f"vLLM could not start {self._config.model}: {error}. {self._read_log()}"
                    "Set VLLM_LOGGING_LEVEL=INFO to see all it says."
                ) from error
        self._seeded = on_cpu if self._config.seed_rows is None else self._config.seed_rows
        self._limit = int(self._engine.vllm_config.model_config.max_model_len)
        device = "the CPU" if on_cpu else str(current_platform.get_device_name())
        return (
            f"vLLM {vllm.__version__} on {device}, context {self._limit}, "
            f"up in {time.monotonic() - began:.0f} s" + (f"; {note}" if note else "")
        )

    async def stream(self, request: Request) -> AsyncIterator[Piece]:
        """Answer one request in pieces, within what the context leaves."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        draw, ids = request.sampling, list(request.token_ids or ())
        room = self._limit - len(ids)
        if room < min(draw.max_new_tokens, self._limit // 4):
            raise PromptTooLong(f"{len(ids)} tokens leave {room} of {self._limit} for the answer")
        params = SamplingParams(
            temperature=draw.temperature,
            top_p=draw.top_p,
            repetition_penalty=draw.repetition_penalty,
            max_tokens=min(draw.max_new_tokens, room),
            seed=draw.seed if self._seeded and draw.temperature > 0 else None,
            output_kind=RequestOutputKind.DELTA,
            skip_special_tokens=not request.keep_special,
            spaces_between_special_tokens=not request.keep_special,
        )
        prompt = {"prompt_token_ids": ids}
        try:
            async for output in self._engine.generate(prompt, params, request.request_id):
                part = output.outputs[0]
                yield Piece(part.text, part.finish_reason)
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineError(f"the engine of {self._config.model} died: {error}") from error

    async def close(self) -> None:
        """Shut the engine down in order."""
        await self.stop()
        if self._log is not None:
            self._log.close()

    def _read_log(self) -> str:
        """Return the end of what the engine wrote, where it did not go to the terminal."""
        if self._log is None:
            return ""
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return "Its log ends:\n" + "\n".join([*lines[-_LOG_LINES:], ""]) if lines else ""


@contextmanager
def _divert_log(log: IO[bytes] | None) -> Iterator[None]:
    """Send standard error to a file inside the block, and for ever that of children started there.

    vLLM logs while it is imported, before it reads its own settings, in this process and in the
    engine's; on a terminal that would stand in the middle of the conversation.
    """
    if log is None:
        yield
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)


@contextmanager
def _keep_interrupts_from_children() -> Iterator[None]:
    """Let processes that start inside the block never see a terminal's Ctrl-C.

    A blocked signal is inherited across fork and exec, and vLLM's own handler would end the
    engine. Python's resource tracker is started first: starting it unblocks the signal.
    """
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
