"""Times the start and stop of a CPU engine, forked as it is and spawned as vLLM would, in pairs.

python -m tests.benchmarks.engine_start
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from unittest.mock import patch

from infra.engines.config import ModelConfig
from infra.engines.vllm_forks import start_fork_server
from infra.engines.vllm_server import VllmServer
from tests.benchmarks.generation import describe_hardware

_HERE = "tests.benchmarks.engine_start"
_SIDES = ("forked", "spawned")


def main() -> None:
    """Run the pairs and print the medians."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--model", default="configs/demo/base")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    parser.add_argument("--side", choices=_SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(asyncio.run(_measure(arguments.model, arguments.side))))
        return
    told: dict[str, list[dict[str, float]]] = {side: [] for side in _SIDES}
    for number in range(arguments.pairs):
        for side in _SIDES if number % 2 else reversed(_SIDES):
            command = [sys.executable, "-m", _HERE, "--model", arguments.model, "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            told[side].append(json.loads(done.stdout.splitlines()[-1]))
            print(side, told[side][-1], flush=True)
    figures = {
        side: {
            name: round(statistics.median(one[name] for one in told[side]), 1)
            for name in ("start_s", "stop_s")
        }
        for side in _SIDES
    }
    print(json.dumps(figures))
    if arguments.save:
        command_line = f"python -m {_HERE} --pairs {arguments.pairs} --model {arguments.model}"
        record = {
            "date": date.today().isoformat(),
            "command": command_line,
            "hardware": describe_hardware(),
            "median": figures,
        }
        arguments.save.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


async def _measure(model: str, side: str) -> dict[str, float]:
    """Start and stop one engine in this process."""
    forks = start_fork_server if side == "forked" else lambda: False
    with patch("infra.engines.vllm_server.start_fork_server", forks):
        server = VllmServer(ModelConfig(model=model, cpu_kv_cache_gib=0.5))
        facts = await server.start()
        began = time.monotonic()
        await server.stop()
    return {"start_s": facts.start_s, "stop_s": time.monotonic() - began}


if __name__ == "__main__":
    main()
