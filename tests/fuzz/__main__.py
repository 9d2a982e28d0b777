"""Fuzzes the readers for so many seconds in all, two at a time; longer by hand.

``python -m tests.fuzz --seconds 600 cards`` takes ten minutes for one of them. What hurts a reader
is printed and kept below ``build/fuzz``; once fixed it goes into the corpus.
"""

from __future__ import annotations

import argparse
import importlib
import io
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from multiprocessing.context import ForkProcess
from pathlib import Path

_CORPUS = Path(__file__).parent / "corpus"
_FOUND = Path("build") / "fuzz"
_AT_ONCE = 2
_SHOWN_LINES = 40
_INSTRUMENTED = (
    "infra.text.broken_text",
    "infra.input.card_files",
    "infra.rendering.chat_template",
    "infra.input.csv_rows",
    "infra.engines.endpoint.replies",
    "infra.text.json_answers",
    "infra.input.json_rows",
    "infra.rendering.prompts",
    "infra.text.speech",
    "infra.thoughts.parting",
    "infra.yaml_reading",
    "tasks.character_cards",
    "tasks.characters.brought",
    "tasks.characters.profile",
    "tasks.dialogues.players.rewriting",
    "tasks.evaluation.judging.verdicts",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz the readers named, or all; return how many were hurt."""
    began = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("readers", nargs="*", help="which; all if left out")
    parser.add_argument("--seconds", type=float, default=60.0, help="in all, start-up included")
    chosen = parser.parse_args(arguments)
    _load()
    from tests.unit.readers import READERS

    names = chosen.readers or list(READERS)
    if unknown := set(names) - set(READERS):
        parser.error(f"no such reader: {', '.join(sorted(unknown))}; of {', '.join(READERS)}")
    rounds = [names[place : place + _AT_ONCE] for place in range(0, len(names), _AT_ONCE)]
    _FOUND.mkdir(parents=True, exist_ok=True)
    hurt = 0
    for number, group in enumerate(rounds):
        left = chosen.seconds - (time.monotonic() - began)
        hurt += _fuzz_side_by_side(group, max(1, int(left / (len(rounds) - number))))
    return hurt


def _load() -> None:
    """Import the readers so that the fuzzer sees which of their lines an input reaches."""
    import atheris

    told = io.StringIO()  # atheris names every module it instruments
    with redirect_stderr(told), atheris.instrument_imports(include=list(_INSTRUMENTED)):
        for module in _INSTRUMENTED:
            importlib.import_module(module)


def _fuzz_side_by_side(names: Sequence[str], seconds: int) -> int:
    """Fuzz readers in forks of this process, which has imported all; return how many were hurt."""
    hurt = 0
    with tempfile.TemporaryDirectory() as scratch:
        processes: dict[str, ForkProcess] = {}
        for name in names:
            folder = Path(scratch) / name
            folder.mkdir()
            process = multiprocessing.get_context("fork").Process(
                target=_fuzz, args=(name, folder, seconds)
            )
            process.start()
            processes[name] = process
        for name, process in processes.items():
            process.join()
            told = (Path(scratch) / name / "log").read_text(errors="replace").splitlines()
            done = [line for line in told if line.startswith("Done")]
            print(f"{name}: {done[-1] if done else 'hurt'}", flush=True)
            if process.exitcode:
                hurt += 1
                print("\n".join(told[-_SHOWN_LINES:]), flush=True)
    return hurt


def _fuzz(name: str, folder: Path, seconds: int) -> None:
    """Fuzz one reader; libFuzzer ends the process."""
    import atheris

    from tests.unit.readers import READERS

    with (folder / "log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    grown = folder / "grown"
    grown.mkdir()
    options = [
        *(sys.argv[0], str(grown), str(_CORPUS / name)),
        *(f"-max_total_time={seconds}", "-max_len=2048", "-timeout=10", "-rss_limit_mb=4096"),
        *(f"-artifact_prefix={_FOUND}/{name}-", "-seed=1", "-verbosity=1"),
    ]
    atheris.Setup(options, READERS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
