"""Lets the command line make rows for minutes or hours with a scripted engine, and samples it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from tests.e2e.prefect_homes import DATABASE, make_home
from tests.e2e.scripted import LEDGER, ROW_STAGES, ScriptedWorld
from tests.soak.samples import Sample, Stopwatch, measure_files, measure_memory

_CONCURRENCY = 64
_SAMPLES = 240


def make_rows(folder: Path, minutes: float, rate: float) -> list[Sample]:
    """Run for about ``minutes`` at about ``rate`` rows a second; return what was sampled.

    Nearly all of them are characters, one a persona: questions are few.
    """
    seconds = 60 * minutes
    world = ScriptedWorld.make(folder / "world", personas=max(24, int(rate * seconds)))
    home = make_home(folder / "prefect")
    script = f"models.teacher.script={{latency_s: {_CONCURRENCY / rate}}}"
    chosen = (script, f"models.teacher.max_concurrency={_CONCURRENCY}", "runner.chunk_rows=512")
    command = [sys.executable, "-m", "flows.cli", "run", str(world.config)]
    for override in chosen:
        command += ["--set", override]
    env = {**os.environ, LEDGER: os.devnull, "PREFECT_HOME": str(home)}
    samples, clock = [], Stopwatch(max(1.0, seconds / _SAMPLES))
    with (folder / "run.log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        driver = psutil.Process(process.pid)
        while process.poll() is None:
            if clock.is_due():
                try:
                    sizes = measure_memory(driver)
                except psutil.NoSuchProcess:
                    break
                if not sizes["driver"]:
                    break  # it has ended, and waits to be asked how
                files = measure_files(database=home / DATABASE, rows=world.root)
                rows = count_rows(world.root)
                samples.append(Sample(clock.seconds, rows, {**sizes, **files}))
            time.sleep(0.1)
    if process.wait() != 0:
        raise SystemExit(f"the run failed:\n{(folder / 'run.log').read_text()[-4000:]}")
    return samples


def count_rows(root: Path) -> int:
    """Count the rows that a local store's stages of rows hold, by their Parquet footers."""
    import pyarrow.parquet as pq

    total = 0
    for path in (path for stage in ROW_STAGES for path in root.glob(f"{stage}/*/part-*.parquet")):
        try:
            total += pq.read_metadata(path).num_rows
        except (OSError, ValueError):
            continue  # merged away between the listing and the look
    return total
