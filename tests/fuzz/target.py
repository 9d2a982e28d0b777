"""Fuzzes one reader, named by an environment variable, for so many seconds of its command line."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
from pathlib import Path

_BEGAN = time.monotonic()
_INSTRUMENTED = (
    "infra.broken_text",
    "infra.card_files",
    "infra.chat_template",
    "infra.csv_rows",
    "infra.engines.endpoint_replies",
    "infra.json_answers",
    "infra.json_rows",
    "infra.prompts",
    "infra.speech",
    "infra.thoughts",
    "infra.yaml_reading",
    "tasks.character_cards",
    "tasks.characters.brought",
    "tasks.characters.profile",
    "tasks.dialogues.rewriting",
    "tasks.evaluation.verdicts",
)


def main() -> None:
    """Run the fuzzer; it ends the process."""
    import atheris

    name, seconds = os.environ["OPENCHARACTER_FUZZ"], float(sys.argv[1])
    with atheris.instrument_imports(include=list(_INSTRUMENTED)):
        for module in _INSTRUMENTED:
            importlib.import_module(module)
    from tests.unit.readers import READERS

    found = Path("build") / "fuzz"
    found.mkdir(parents=True, exist_ok=True)
    corpus = Path(__file__).parent / "corpus" / name
    left = max(1, round(seconds - (time.monotonic() - _BEGAN)))
    with tempfile.TemporaryDirectory() as grown:
        options = [
            sys.argv[0],
            grown,
            str(corpus),
            f"-max_total_time={left}",
            "-max_len=2048",
            "-timeout=10",
            "-rss_limit_mb=4096",
            f"-artifact_prefix={found}/{name}-",
            "-seed=1",
            "-print_final_stats=1",
            "-verbosity=1",
        ]
        atheris.Setup(options, READERS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
