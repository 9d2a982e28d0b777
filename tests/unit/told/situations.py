"""Describes what people get wrong, and has the command line say what it thinks of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.unit.flows.worlds import make_config, write_config

MOST_LINES = 12
LONGEST_S = 3.0
"""Processor seconds to the message; other processes on the machine do not count."""

Prepare = Callable[[Path], object]


@dataclass(frozen=True)
class Situation:
    """A mistake, and the words that the message must hold.

    Attributes:
        sets: Overrides; ``{folder}`` stands for the folder of the configuration.
        files: Files to write beside it first, by name.
        command: The words before and after CONFIG; ``plan`` if only that.
        prepare: Changes the folder in any other way.
        longest_s: Processor seconds to the message at most.
    """

    name: str
    words: tuple[str, ...]
    sets: tuple[str, ...] = ()
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    command: tuple[str, ...] = ("plan",)
    after: tuple[str, ...] = ()
    prepare: Prepare | None = None
    code: int = 2
    without_config: bool = False
    config: str = "small.yaml"
    longest_s: float = LONGEST_S


@dataclass(frozen=True)
class Told:
    """What a command printed and how it ended."""

    code: int
    text: str
    seconds: float

    @property
    def lines(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip()]


def say(capsys: pytest.CaptureFixture[str], *words: str) -> Told:
    """Run a command in this process."""
    from flows.cli.main import main

    capsys.readouterr()
    began, code = time.process_time(), 0
    try:
        main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return Told(code, out + err, time.process_time() - began)


def tell(situation: Situation, folder: Path, capsys: pytest.CaptureFixture[str]) -> Told:
    """Put a situation into a folder and run its command."""
    config = write_config(folder, make_config(folder), situation.config)
    for name, data in situation.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    if situation.prepare is not None:
        situation.prepare(folder)
    words = [word.replace("{folder}", str(folder)) for word in situation.command]
    if not situation.without_config:
        words.insert(1, str(config))
    for override in situation.sets:
        words += ["--set", override.replace("{folder}", str(folder))]
    words += [word.replace("{folder}", str(folder)) for word in situation.after]
    return say(capsys, *words)


def hold_to(situation: Situation, told: Told, folder: Path) -> None:
    """Check that a message says what, where and what to do, at once and in few lines."""
    text = told.text.replace(str(folder), "{folder}")
    assert told.code == situation.code, told.text
    for word in situation.words:
        assert word in text, f"{word!r} is not in:\n{told.text}"
    assert "Traceback" not in told.text
    if situation.code:
        assert len(told.lines) <= MOST_LINES, told.text
        assert all(len(line) < 1_500 and line.isprintable() for line in told.lines)
    assert told.seconds < situation.longest_s
