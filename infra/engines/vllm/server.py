"""Runs one vLLM ``AsyncLLM``; with ``openai_host`` the only door to vLLM.

The event loop does nothing but feed the engine: prompts arrive as token ids, answers leave as
final text. Rendering, parsing and Parquet live in the stage worker, another process.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil  # type: ignore[import-untyped]

from infra.cluster.gpu_memory import read_gpu_gib
from infra.engines.batch_sizes import choose_batch_sizes
from infra.engines.config import ModelConfig
from infra.engines.core_binding import count_engine_threads, leave_engine_cores
from infra.engines.cpu_threads import bind_engine, choose_cpu_dtype
from infra.engines.model_facts import find_model_facts
from infra.engines.vllm.forking import fork_engine_processes, tie_to_parent
from infra.engines.vllm.sampler import settle_sampler
from infra.engines.vllm.scratch import drop_scratch, take_scratch
from infra.engines.watchdog import Watchdog
from infra.errors import EngineError, RequestFailed
from infra.models.folders import fetch_model
from infra.protocol import Completion, Request

_LINGER_S = 0.15
_LONG_LINGER_S = 1.0
_POLL_S = 5.0
DIE_WITH_PARENT = "OPENCHARACTER_ENGINE_PARENT"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine tells of itself once it is up, for logs and manifests."""

    version: str
    device: str
    threads: int
    context_tokens: int
    kv_cache_tokens: int
    sequences: int
    """How many it batches at once."""
    start_s: float
    spare_cores: tuple[int, ...] = ()
    """Cores that a CPU engine does not compute on; its worker keeps to them."""
    note: str = ""
    """What was chosen for it because of what its machine lacks."""
    node: str = ""
    """Ray's id of the node that it stands on; empty outside Ray."""


class VllmServer:
    """Holder of one engine: ``start`` once, then ``submit`` and ``collect``.

    ``forks`` says that this process was born for its engine's processes to be forks of it.
    """

    def __init__(self, config: ModelConfig, *, forks: bool = False) -> None:
        self._config, self._forks = config, forks
        self._engine: Any = None
        self._scratch: Path | None = None
        self._seeded = False
        self._limit = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: list[tuple[str, Completion | EngineError]] = []
        self._some, self._many = asyncio.Event(), asyncio.Event()
        self._enough = self._batch = 1
        self._answered = 0
        self._watchdog = Watchdog(config.stall_timeout_s)

    async def start(self) -> EngineFacts:
        """Load the model and return the engine's facts; :class:`EngineError` if it cannot."""
        began = time.monotonic()
        self._scratch = take_scratch()
        note = settle_sampler()
        import vllm
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform

        on_cpu = bool(current_platform.is_cpu())
        if on_cpu:
            shape = find_model_facts(self._config)
            bind_engine(shape.parameters if shape else None)
        gpu_gib = None if on_cpu else measure_gpu(current_platform)
        arguments = engine_arguments(self._config, on_cpu=on_cpu, gpu_gib=gpu_gib)
        try:
            self._engine = open_engine(AsyncEngineArgs(**arguments), forks=self._forks)
        except Exception as error:
            self._drop_scratch()
            raise EngineError(
                f"vLLM could not start {self._config.model}: {error}. The engine's own log is in "
                "Ray's session folder; `opencharacter doctor CONFIG` checks the machine."
            ) from error
        seed_rows = self._config.seed_rows
        self._seeded = on_cpu if seed_rows is None else seed_rows
        settings = self._engine.vllm_config
        self._limit = int(settings.model_config.max_model_len)
        cache, sequences = settings.cache_config, int(settings.scheduler_config.max_num_seqs)
        self._enough, self._batch = max(1, sequences // 8), sequences
        own = psutil.Process()
        spare = leave_engine_cores([own, *own.children(recursive=True)]) if on_cpu else ()
        return EngineFacts(
            version=str(vllm.__version__),
            device="cpu" if on_cpu else str(current_platform.get_device_name()),
            threads=count_engine_threads(spare) if on_cpu else 0,
            context_tokens=self._limit,
            kv_cache_tokens=int((cache.num_gpu_blocks or 0) * cache.block_size),
            sequences=sequences,
            start_s=time.monotonic() - began,
            spare_cores=spare,
            note=note,
        )

    async def submit(self, requests: Sequence[Request]) -> None:
        """Begin answering requests; :meth:`collect` brings the answers."""
        if not self._tasks:
            self._watchdog.begin()
        for request in requests:
            self._tasks.add(asyncio.create_task(self._answer(request)))

    async def collect(self) -> list[tuple[str, Completion | EngineError]]:
        """Return what was finished since the last call, by request id.

        Waits until an eighth of a full batch is finished, or 0.15 s have passed since
        the first, so that one call carries many answers and no caller waits long. While an eighth
        more than a batch is in hand, the engine lacks nothing meanwhile: then it may take 1 s.
        Every call wakes three processes, on cores that a CPU engine computes on.

        Raises :class:`EngineError` where requests are open and not a token came for long.
        """
        try:
            await asyncio.wait_for(self._some.wait(), _POLL_S)
            if len(self._finished) < self._enough:
                self._many.clear()
                full = len(self._tasks) >= self._batch + self._enough
                await asyncio.wait_for(self._many.wait(), _LONG_LINGER_S if full else _LINGER_S)
        except TimeoutError:
            pass
        signs = (self._answered, self.count_open_tokens())
        self._watchdog.look(signs, waiting=bool(self._tasks))
        finished, self._finished = self._finished, []
        self._some.clear()
        return finished

    async def _answer(self, request: Request) -> None:
        try:
            outcome: Completion | EngineError = await self.generate(request)
        except EngineError as error:
            outcome = error
        except Exception as error:  # what vLLM refuses once it refuses always
            outcome = RequestFailed(f"{type(error).__name__}: {error}", fatal=True)
        finally:
            self._tasks.difference_update({asyncio.current_task()})
        self._answered += 1
        self._finished.append((request.request_id, outcome))
        self._some.set()
        if len(self._finished) >= self._enough:
            self._many.set()

    async def generate(self, request: Request) -> Completion:
        """Answer one request; :class:`EngineError` once the engine is dead."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        draw = request.sampling
        params = SamplingParams(
            temperature=draw.temperature,
            top_p=draw.top_p,
            max_tokens=draw.max_new_tokens,
            seed=draw.seed if self._seeded and draw.temperature > 0 else None,
            output_kind=RequestOutputKind.FINAL_ONLY,
            structured_outputs=(
                StructuredOutputsParams(json=request.schema) if request.schema else None
            ),
            skip_special_tokens=not request.keep_special,
            spaces_between_special_tokens=not request.keep_special,
        )
        prompt = {"prompt_token_ids": list(request.token_ids or ())}
        final: Any = None
        try:
            async for output in self._engine.generate(prompt, params, request.request_id):
                final = output
        except (EngineDeadError, EngineGenerateError) as error:
            raise EngineError(f"the engine of {self._config.model} died: {error}") from error
        answer = final.outputs[0]
        return Completion(
            text=answer.text,
            finish_reason=str(answer.finish_reason),
            prompt_tokens=len(final.prompt_token_ids),
            completion_tokens=len(answer.token_ids),
            cached_tokens=int(final.num_cached_tokens or 0),
        )

    def count_open_tokens(self) -> int:
        """Return how many tokens the answers have that are not finished."""
        if self._engine is None:
            return 0
        states = self._engine.output_processor.request_states.values()
        detokenizers = [state.detokenizer for state in states]
        return sum(found.num_output_tokens() for found in detokenizers if found is not None)

    async def stop(self) -> None:
        """Shut the engine down in order, so that its processes and memory are gone."""
        if self._engine is not None:
            self._engine.shutdown(timeout=10)
            self._engine = None
        self._drop_scratch()

    def _drop_scratch(self) -> None:
        if self._scratch is not None:
            drop_scratch(self._scratch)
            self._scratch = None


def open_engine(arguments: Any, *, forks: bool) -> Any:
    """Start an ``AsyncLLM`` with vLLM's own arguments; ``forks`` as :class:`VllmServer` has it."""
    from vllm.v1.engine.async_llm import AsyncLLM

    alone = forks and compute_in_core(arguments)
    settings = arguments.create_engine_config()
    if forks:
        fork_engine_processes()
    with bind_core(settings) if alone else nullcontext():
        return AsyncLLM.from_vllm_config(settings, disable_log_stats=arguments.disable_log_stats)


def compute_in_core(arguments: Any) -> bool:
    """Have the engine core of a CPU engine compute itself, if it has one worker; tell whether.

    Scheduler and worker take turns on CPUs. As two processes each spins while the other works, on
    a core that the other computes on: with 135 M parameters on two cores it took the stage runner
    from 0.87 to 0.94 of ``LLM.generate`` (two pairs each). vLLM parts them for the sake of OpenMP's
    variables, which a worker needs from its start and a fork is given anyhow.
    """
    from vllm.v1.executor.uniproc_executor import UniProcExecutor

    alone = arguments.tensor_parallel_size * arguments.pipeline_parallel_size == 1
    if not alone or arguments.distributed_executor_backend is not None:
        return False
    arguments.distributed_executor_backend = UniProcExecutor
    return True


def bind_core(settings: Any) -> AbstractContextManager[None]:
    """Set, while an engine core is forked, what vLLM sets for a worker that computes."""
    from vllm.utils.ompmultiprocessing import OMPProcessManager

    return cast(
        "AbstractContextManager[None]",
        OMPProcessManager(settings).configure_omp_envs(rank=0, local_rank=0),
    )


def engine_arguments(
    config: ModelConfig, *, on_cpu: bool, gpu_gib: float | None = None
) -> dict[str, Any]:
    """Return the vLLM arguments of a model; see README for why each default is set.

    AsyncLLM's own defaults of 128 sequences and 2,048 tokens would halve a GPU's rate, so both
    are always given. On CPUs chunked prefill is off because seeded requests kill the engine with
    it (``CPU Generator does not use offset``). A model on S3 or a hub is fetched to this machine
    first. ``gpu_gib`` is the memory of the GPU, if there is one and it is known.
    """
    sizes = choose_batch_sizes(config, gpu_gib=None if on_cpu else gpu_gib)
    arguments: dict[str, Any] = {
        "model": fetch_model(config.model, config.revision),
        "revision": config.revision,
        "dtype": choose_cpu_dtype() if on_cpu and config.dtype == "auto" else config.dtype,
        "trust_remote_code": False,
        "quantization": config.quantization,
        "max_model_len": config.max_model_len,
        "tensor_parallel_size": config.tensor_parallel,
        "max_num_seqs": sizes.sequences,
        "max_num_batched_tokens": sizes.tokens,
        "enforce_eager": on_cpu if config.enforce_eager is None else config.enforce_eager,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if on_cpu:
        arguments["kv_cache_memory_bytes"] = int(config.cpu_kv_cache_gib * 2**30)
        arguments["enable_chunked_prefill"] = False
    else:
        arguments["gpu_memory_utilization"] = config.gpu_memory_utilization
    return arguments | dict(config.engine_args)


def measure_gpu(vllm_platform: Any) -> float | None:
    """Return a GPU's memory in GiB, as NVML tells it or else vLLM; ``None`` where neither does."""
    gib = read_gpu_gib()
    if gib is None:
        with suppress(Exception):  # of what it is depends on the maker
            gib = float(vllm_platform.get_device_total_memory()) / 2**30
    return gib


def die_with_parent() -> None:
    """Tie an engine's processes to the one that started them (a vLLM plugin entry point).

    vLLM loads general plugins in its engine-core and worker processes. A SIGKILL of the actor
    would otherwise leave them behind, holding memory.
    """
    owner = os.environ.get(DIE_WITH_PARENT)
    if owner is None or os.getpid() == int(owner):
        return
    tie_to_parent()
