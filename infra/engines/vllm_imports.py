"""Imports what an engine's processes need; nobody computes here, so that its forks are sound.

The fork server of :mod:`infra.engines.vllm_forks` imports this module and nothing else. A process
that is to be forked must have one thread only, and must not have used OpenMP.
"""

from __future__ import annotations

import setproctitle
import vllm.model_executor.models.llama
import vllm.v1.engine.async_llm
import vllm.v1.engine.core
import vllm.v1.executor.multiproc_executor
import vllm.v1.worker.cpu_worker  # noqa: F401

from infra.engines.vllm_server import die_with_parent

die_with_parent()
# Finds the place of the title, which nobody finds any more once the environment has changed.
setproctitle.getproctitle()
