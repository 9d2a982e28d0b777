"""Fuzzes the readers for so many seconds in all, two at a time; longer by hand.

``python -m tests.fuzz --seconds 600 cards`` takes ten minutes for one of them. What hurts a reader
is printed and kept below ``build/fuzz``; once mended it goes into the corpus.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

_AT_ONCE = 2
_TARGET = "OPENCHARACTER_FUZZ"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the readers named, or all; return how many were hurt."""
    from tests.unit.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(READERS)}; all if left out")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all, start-up included")
    chosen = parser.parse_args(arguments)
    names = chosen.readers or list(READERS)
    if unknown := set(names) - set(READERS):
        parser.error(f"no such reader: {', '.join(sorted(unknown))}")
    each = chosen.seconds * min(_AT_ONCE, len(names)) / len(names)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ended = list(pool.map(lambda name: _fuzz_apart(name, each), names))
    return sum(ended)


def _fuzz_apart(name: str, seconds: float) -> bool:
    """Fuzz one reader in a process of its own; tell whether it was hurt."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.target", str(seconds)],
        env={**os.environ, _TARGET: name},
        capture_output=True,
        text=True,
        check=False,
    )
    told = run.stderr.splitlines()
    done = [line for line in told if line.startswith(("Done", "#"))]
    print(f"{name}: {done[-1] if done else 'nothing run'}", flush=True)
    if run.returncode:
        print("\n".join(told[-40:]), flush=True)
    return run.returncode != 0


if __name__ == "__main__":
    sys.exit(main())
