"""Imports what an engine's processes need; nobody computes here, so that its forks are sound.

The fork server of :mod:`infra.engines.vllm.forks` imports this module and nothing else. A process
that is to be forked must have one thread only, and must not have used OpenMP.
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

import infra.engines.vllm.forked_server
from infra.engines.vllm.forks import fork_engine_core

fork_engine_core()
# Finds the place of the title, which nobody finds any more once the environment has changed.
setproctitle.getproctitle()
gc.freeze()
gc.enable()
