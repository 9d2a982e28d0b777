"""Kills the demo at random moments, again and again, and checks that nothing is lost or doubled.

Each round starts the same run, waits a random while, and takes something from it: the run itself
(killed, told to end, or Ctrl-C), its engine, the zygote of its engines, a stage worker, or a
training rank; what is not there yet is waited for. What was committed before must be there after,
row by row. At last the run is left alone: it must finish, its counts must add up, and a rerun must
find nothing to do. A run that survives its blow, or ends before it, gives way to one in a new
store; of the latter the round does not count, and the next blow comes sooner. The seed is printed,
so that a failure comes again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import psutil  # type: ignore[import-untyped]

from tests.e2e.processes import await_no_leftovers, closing_line, run_command, running_pids
from tests.e2e.scripted import ROW_STAGES, read_parts

OUTSIDE = {"killed": signal.SIGKILL, "told to end": signal.SIGTERM, "Ctrl-C": signal.SIGINT}
INSIDE = {
    "engine": "EngineCore",
    "zygote": "infra.engines.vllm.imports",
    "worker": "StageWorker",
    "rank": "RayTrainWorker",
}
SMALL = (
    *("--set", "personas.sample=120", "--set", "instructions.limit=60"),
    *("--set", "instructions.synthesis.count=20", "--set", "evaluation=null"),
    *("--set", "training.checkpoint_every_steps=10"),
)
PATIENCE_S = 600.0
SHORTEST_S = 10.0


@dataclass(frozen=True, slots=True)
class Blow:
    """Is what a round did: to whom (``None`` if it came too late), and how the run ended."""

    victim: str | None
    after_s: float
    code: int
    rows: int

    def tell(self) -> str:
        """Say it in a line."""
        hit = self.victim or "over before the blow,"
        return f"{hit} after {self.after_s:.0f} s, exit {self.code}, {self.rows:,} rows committed"


def main() -> None:
    """Run the rounds and the checks."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--longest", type=float, default=150.0, help="seconds before the blow")
    chosen = parser.parse_args()
    dice = random.Random(chosen.seed)
    print(f"seed {chosen.seed}", flush=True)
    struck, longest_s = 0, chosen.longest
    while struck < chosen.rounds:
        with TemporaryDirectory(prefix="chaos-") as folder:
            home, is_over = Path(folder), False
            while struck < chosen.rounds and not is_over:
                blow = strike(home, dice, longest_s)
                is_over = blow.code == 0
                struck += blow.victim is not None
                print(f"round {struck}: {blow.tell()}" if blow.victim else blow.tell(), flush=True)
                if blow.victim is None:
                    longest_s = max(longest_s / 2, SHORTEST_S)
            finish(home)
    print("nothing lost, nothing twice")


def command(home: Path) -> list[str]:
    """Return the command line of the run, the same in every round."""
    return ["run", "configs/demo.yaml", "--set", f"storage.root={home / 'store'}", *SMALL]


def environment(home: Path) -> dict[str, str]:
    """Return what the run finds in its environment."""
    return {"PREFECT_HOME": str(home / "prefect"), "HF_HUB_OFFLINE": "1"}


def strike(home: Path, dice: random.Random, longest_s: float) -> Blow:
    """Start the run, take something from it, and check what it had committed."""
    before, kept = running_pids(), read_store(home)
    victim, delay = dice.choice([*OUTSIDE, *INSIDE]), dice.uniform(SHORTEST_S / 2, longest_s)
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *command(home)],
        env={**os.environ, **environment(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    began = time.monotonic()
    with suppress(subprocess.TimeoutExpired):
        process.wait(delay)
    while (found := find_victim(process, victim)) is None and process.poll() is None:
        assert time.monotonic() - began < PATIENCE_S, f"no {victim}, and no end"
        time.sleep(0.2)
    struck_s = time.monotonic() - began
    if found is not None:
        with suppress(psutil.NoSuchProcess):
            found.send_signal(OUTSIDE.get(victim, signal.SIGKILL))
    try:
        process.wait(PATIENCE_S)
    finally:
        if process.poll() is None:
            process.kill()
    await_no_leftovers(before, 120)
    after = read_store(home)
    check_kept(kept, after)
    rows = sum(frame.height for frame in after.values())
    return Blow(victim if found is not None else None, struck_s, process.returncode, rows)


def find_victim(process: subprocess.Popen[bytes], victim: str) -> psutil.Process | None:
    """Return the process to strike; ``None`` if the run has none of the kind, or is over."""
    if process.poll() is not None:
        return None
    run = psutil.Process(process.pid)
    if victim in OUTSIDE:
        return run
    for child in run.children(recursive=True):
        with suppress(psutil.Error):
            if INSIDE[victim] in " ".join([child.name(), *child.cmdline()]):
                return child
    return None


def read_store(home: Path) -> dict[str, pl.DataFrame]:
    """Return the rows of every row stage as they are on disk."""
    store = home / "store"
    return {name: read_parts(store, name) for name in ROW_STAGES if (store / name).is_dir()}


def check_kept(before: dict[str, pl.DataFrame], after: dict[str, pl.DataFrame]) -> None:
    """Check that every row is still there as it was, and none is there twice."""
    for name, rows in after.items():
        assert rows["key"].n_unique() == rows.height, f"{name}: a row is there twice"
    for name, rows in before.items():
        again = after[name].join(rows, on="key", how="semi").sort("key")
        assert again.equals(rows.sort("key")), f"{name}: a committed row is gone or changed"


def finish(home: Path) -> None:
    """Let the run come to its end, check its counts, and see that nothing is left to do."""
    kept = read_store(home)
    result = closing_line(run_command(command(home), environment(home), timeout_s=PATIENCE_S))
    after = read_store(home)
    check_kept(kept, after)
    for name, counts in result["counts"].items():
        assert counts["planned"] == counts["accepted"] + counts["rejected"], name
        if name in after:
            assert counts["planned"] == after[name].height, name
    again = closing_line(run_command(command(home), environment(home), timeout_s=PATIENCE_S))
    assert again["counts"] == result["counts"] and again["engines_started"] == {}


if __name__ == "__main__":
    main()
