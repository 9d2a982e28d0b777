"""Times starts and stops of CPU engines: spawned as vLLM does, forked, and forked once more.

``forked`` includes what the zygote imports; ``again`` is the second engine from that zygote, as a
run's second model is.

python -m tests.benchmarks.engine_start
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import closing
from datetime import date
from pathlib import Path

from infra.engines.config import ModelConfig
from infra.engines.vllm.hosted_server import HostedServer
from infra.engines.vllm.server import VllmServer
from infra.engines.vllm.zygote import Zygote
from tests.benchmarks.hardware import describe_hardware

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
        measure = _measure_forked if arguments.side == "forked" else _measure_spawned
        config = ModelConfig(model=arguments.model, cpu_kv_cache_gib=0.5)
        print(json.dumps(asyncio.run(measure(config))))
        return
    told: dict[str, list[dict[str, float]]] = {}
    for number in range(arguments.pairs):
        for side in _SIDES if number % 2 else reversed(_SIDES):
            command = [sys.executable, "-m", _HERE, "--model", arguments.model, "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            for name, figures in json.loads(done.stdout.splitlines()[-1]).items():
                told.setdefault(name, []).append(figures)
                print(name, figures, flush=True)
    figures = {
        name: {
            figure: round(statistics.median(one[figure] for one in measured), 1)
            for figure in measured[0]
        }
        for name, measured in told.items()
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


async def _measure_forked(config: ModelConfig) -> dict[str, dict[str, float]]:
    """Start and stop two engines, one after the other, that come from one zygote."""
    began = time.monotonic()
    with closing(Zygote()) as zygote:
        first = await _measure(HostedServer(config, zygote.address), began)
        again = await _measure(HostedServer(config, zygote.address), time.monotonic())
    # What all processes spent, once they have been waited for.
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"forked": {**first, "both_cpu_s": spent.ru_utime + spent.ru_stime}, "again": again}


async def _measure_spawned(config: ModelConfig) -> dict[str, dict[str, float]]:
    """Start and stop an engine as vLLM does."""
    told = await _measure(VllmServer(config), time.monotonic())
    return {"spawned": told}


async def _measure(server: HostedServer | VllmServer, began: float) -> dict[str, float]:
    await server.start()
    started = time.monotonic()
    await server.stop()
    return {"start_s": started - began, "stop_s": time.monotonic() - started}


if __name__ == "__main__":
    main()
