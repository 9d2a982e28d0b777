"""Chooses how many cores a model computes on where there is no GPU.

vLLM leaves one core to its own scheduler. Of two cores that is half the machine: right for the
three million parameters of the demo, whose steps are shorter than the work around them, and wrong
for a real model. Figures: ``make bench ONLY=smollm``.
"""

from __future__ import annotations

import os

SMALLEST_ON_ALL_CORES = 50_000_000
"""Parameters from which a step takes so long that what is around it hardly counts."""

_MOST_CORES = 8
"""From more cores than these, the one that vLLM leaves out is no loss."""

BINDING = "VLLM_CPU_OMP_THREADS_BIND"


def choose_binding(parameters: int | None, cores: frozenset[int]) -> str | None:
    """Return the cores that vLLM is to compute on, as it takes them; ``None`` leaves it to vLLM."""
    if parameters is None or parameters < SMALLEST_ON_ALL_CORES:
        return None
    if not 1 < len(cores) <= _MOST_CORES:
        return None
    return ",".join(str(core) for core in sorted(cores))


def bind_engine(parameters: int | None) -> None:
    """Set what vLLM reads when an engine of this process starts, if people have not set it."""
    binding = choose_binding(parameters, frozenset(os.sched_getaffinity(0)))
    if binding is not None:
        os.environ.setdefault(BINDING, binding)


def use_cores(parameters: int) -> None:
    """Have PyTorch compute with as many threads as suit a model of this size; for CPUs.

    Ray tells its actors to use one thread, as they ask for half a core.
    """
    import torch

    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(cores if parameters >= SMALLEST_ON_ALL_CORES else 1)


def choose_cpu_dtype() -> str:
    """Return what ``auto`` means on this CPU: the model's own dtype, or fp32.

    Without AVX-512 bf16 is emulated: with the demo's teacher on two AVX2 cores 256 tokens/s in
    bf16 against 962 in fp32.
    """
    import torch

    return "auto" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"
