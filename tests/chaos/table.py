"""Keeps what faults came to, and writes it as a table: Markdown for people, JSON for the rest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_HEAD = (
    "| # | fault | against | seed | moment | how it went on | before | again | after | s |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)


@dataclass
class Line:
    """What a fault came to.

    Attributes:
        number: Place in the campaign's list, from 1.
        seed: Decides everything that is not fixed, with the campaign's seed.
        went_on: By itself, or by the same command after an exit code.
        before: Rows (or steps) that were committed when it struck.
        again: Requests that were made again for it; ``None`` where the engine keeps no ledger.
        after: Rows (or steps) that were committed when the next thing happened.
        seconds: From the wait for its moment until then.
    """

    number: int
    kind: str
    against: str
    seed: str
    moment: str
    went_on: str = ""
    before: int = 0
    again: int | None = None
    after: int = 0
    seconds: float = 0.0

    def describe(self) -> str:
        """Return a row of the table."""
        again = "–" if self.again is None else str(self.again)
        cells = (
            *(self.number, self.kind, self.against, self.seed, self.moment, self.went_on),
            *(self.before, again, self.after, f"{self.seconds:.0f}"),
        )
        return "| " + " | ".join(str(cell) for cell in cells) + " |"


def write_table(folder: Path, name: str, told: dict[str, Any], lines: Sequence[Line]) -> Path:
    """Write ``name``.md and ``name``.json; return the former. ``told`` is what stands above."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {**told, "faults": [asdict(line) for line in lines]}
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    kinds = {line.kind for line in lines}
    head = "".join(f"- {key}: {value}\n" for key, value in told.items())
    text = (
        f"# Chaos\n\n{head}\n{len(lines)} faults of {len(kinds)} kinds. After each: nothing lost,"
        " nothing twice, committed rows as they were, no process and no file left behind.\n"
        "*before* and *after* are committed rows (training: steps), *again* are requests that were"
        f" made a second time.\n\n{_HEAD}"
    )
    path = folder / f"{name}.md"
    path.write_text(text + "".join(f"{line.describe()}\n" for line in lines), encoding="utf-8")
    return path


def read_lines(folder: Path, name: str, told: dict[str, Any]) -> list[Line]:
    """Return the lines of a campaign that was begun; none if that was another one."""
    path = folder / f"{name}.json"
    if not path.exists():
        return []
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if data.get("seed") != told["seed"]:
        return []
    return [Line(**line) for line in data["faults"]]
