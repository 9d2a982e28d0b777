"""Imports what an engine's processes need; nobody computes here, so that forks are sound.

The zygote (:mod:`infra.engines.vllm.zygote`) imports this module and nothing else. A process that
is to be forked must have one thread only, and must not have used OpenMP.
"""

# ruff: noqa: E402, F401 - the collector stops first
from __future__ import annotations

import gc

gc.disable()  # which would look at all modules again and again: a quarter of the time

import setproctitle
import vllm.model_executor.models.llama
import vllm.v1.engine.async_llm
import vllm.v1.engine.core
import vllm.v1.executor.multiproc_executor
import vllm.v1.worker.cpu_worker

import infra.engines.vllm.server

# Finds the place of the title, which nobody finds any more once the environment has changed.
setproctitle.getproctitle()
gc.enable()
