"""Is the process of vLLM's OpenAI-compatible server, with the flags of ``vllm serve``.

``python -m vllm.entrypoints.openai.api_server`` would do, but for the engine's processes on CPUs:
here they are forks of this one (:mod:`infra.engines.vllm.forking`), so that vLLM is imported once.
"""

from __future__ import annotations

import os
import signal
from types import FrameType
from typing import Any

import psutil  # type: ignore[import-untyped]

from infra.engines.core_binding import leave_engine_cores
from infra.engines.vllm.forking import BORN_TO_FORK
from infra.engines.vllm.scratch import drop_scratch, take_scratch
from infra.engines.vllm.server import DIE_WITH_PARENT, open_engine


def main() -> None:
    """Serve until told to stop."""
    os.environ[DIE_WITH_PARENT] = str(os.getpid())  # for an engine that is spawned
    signal.signal(signal.SIGTERM, _interrupt)  # as long as vLLM's own handler is not there
    folder = take_scratch()
    try:
        _run()
    finally:
        drop_scratch(folder)


def _run() -> None:
    import uvloop
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup
    from vllm.logger import configure_logging_from_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    cli_env_setup()
    arguments = make_arg_parser(FlexibleArgumentParser()).parse_args()
    configure_logging_from_args(arguments)
    validate_parsed_serve_args(arguments)
    uvloop.run(_serve(arguments))


async def _serve(arguments: Any) -> None:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.entrypoints.launchers.api_server.entry import build_and_serve
    from vllm.entrypoints.launchers.launcher import setup_server

    address, listener = setup_server(arguments, reuse_port=False)
    forks = os.environ.pop(BORN_TO_FORK, None) is not None
    engine = open_engine(AsyncEngineArgs.from_cli_args(arguments), forks=forks)
    if forks:
        own = psutil.Process()
        leave_engine_cores([own, *own.children(recursive=True)])
    try:
        ended = await build_and_serve(engine, address, listener, arguments)
    finally:
        engine.shutdown(timeout=engine.vllm_config.shutdown_timeout)
    try:
        await ended
    finally:
        listener.close()


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt("terminated")


if __name__ == "__main__":
    main()
