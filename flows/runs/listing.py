"""Tells what ran in a store, and where one run stands, node by node, while it goes or after."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from io import StringIO
from typing import Literal, TypeVar

import polars as pl
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from flows.runs.history import NodeMark, RunRecord, find_record, read_records, tell_state
from infra.store.manifests import Manifest, manifest_path, read_manifest, stage_folder
from infra.store.row_store import IDENTITY_COLUMNS, read_committed
from infra.store.storage import FileStat, Storage, is_remote
from infra.store.survey import is_row_part

T = TypeVar("T")
NodeState = Literal["done", "begun", "not begun"]

_STEP = re.compile(r"/step-(\d+)/whole\.json$")
_LOOKS = 5


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunLine(_Plain):
    """One start of a run; ``done`` of ``nodes`` are done, rows are those of all its nodes."""

    run: str
    id: str
    began: str
    seconds: float | None
    state: str
    until: str
    done: int
    nodes: int
    accepted: int
    rejected: int
    scores: dict[str, float]
    message: str


class NodeStatus(_Plain):
    """State of a node.

    ``planned`` is ``None`` until the node has said what it plans; ``at`` is when it was done, or
    when its last rows were committed, empty where the storage does not tell.
    """

    node: str
    state: NodeState
    committed: int
    planned: int | None
    rejected: int
    at: str
    note: str = ""


class RunStatus(_Plain):
    """State of a run, and what to do next."""

    run: str
    id: str
    root: str
    state: str
    began: str
    message: str
    nodes: tuple[NodeStatus, ...]
    todo: str


class RunLines(_Plain):
    """What ran in a store, the latest first."""

    root: str
    runs: tuple[RunLine, ...]


def list_runs(root: str, limit: int = 20) -> RunLines:
    """List the latest starts of all runs of a store."""
    storage = Storage(root)
    records = read_records(storage, limit)
    return RunLines(root=storage.root, runs=tuple(_describe(storage, item) for item in records))


def find_status(storage: Storage, name: str, where: str = "RUN") -> RunStatus:
    """Look where a run stands; reads what is committed, so it works while the run goes on."""
    record = find_record(storage, name, where)
    nodes = tuple(_find_node(storage, mark) for mark in record.nodes)
    state = tell_state(record)
    return RunStatus(
        run=record.run,
        id=record.id,
        root=storage.root,
        state=state,
        began=record.began,
        message=record.end.message if record.end else "",
        nodes=nodes,
        todo=_say_todo(record, state, nodes),
    )


def print_runs(lines: RunLines) -> str:
    """Return what ran as a table for people."""
    if not lines.runs:
        return f"nothing ran in {lines.root} yet"
    table = _make_table(("run", "began", "took", "state", "nodes", "rows", "rejected", "scores"))
    for line in lines.runs:
        table.add_row(
            f"{line.run}@{line.id}" if line.id != "summary" else line.run,
            _shorten(line.began),
            _print_time(line.seconds),
            line.state if line.until == "report" else f"{line.state} until {line.until}",
            f"{line.done}/{line.nodes}",
            f"{line.accepted:,}",
            f"{line.rejected:,}",
            _print_scores(line.scores) or line.message,
        )
    return _render(table, 160)


def print_status(status: RunStatus) -> str:
    """Return where a run stands as a table for people."""
    table = _make_table(("node", "state", "rows", "rejected", "last activity", ""))
    for node in status.nodes:
        planned = "?" if node.planned is None else f"{node.planned:,}"
        begun = node.state != "not begun"
        table.add_row(
            node.node,
            node.state,
            f"{node.committed:,}/{planned}" if begun else "",
            f"{node.rejected:,}" if begun else "",
            _shorten(node.at),
            node.note,
        )
    head = f"{status.run}@{status.id} in {status.root}: {status.state}, began {status.began}"
    told = f"{status.message}\n" if status.message else ""
    return f"{head}\n{told}\n{_render(table, 120)}\n\n{status.todo}"


def _describe(storage: Storage, record: RunRecord) -> RunLine:
    end, state = record.end, tell_state(record)
    accepted, rejected = (end.accepted, end.rejected) if end else (0, 0)
    done = len(record.nodes)
    if state != "finished":
        found = [_read_manifest(storage, mark) for mark in record.nodes]
        counts = [manifest.counts for manifest in found if manifest]
        done = len(counts)
        accepted = sum(count.accepted for count in counts)
        rejected = sum(count.rejected for count in counts)
    took = None
    if end is not None and record.id != "summary":
        took = (datetime.fromisoformat(end.at) - record.began_at).total_seconds()
    return RunLine(
        run=record.run,
        id=record.id,
        began=record.began,
        seconds=took,
        state=state,
        until=record.until,
        done=done,
        nodes=len(record.nodes),
        accepted=accepted,
        rejected=rejected,
        scores=end.scores if end else {},
        message=end.message if end else "",
    )


def _find_node(storage: Storage, mark: NodeMark) -> NodeStatus:
    manifest = _read_manifest(storage, mark)
    if manifest is not None:
        counts = manifest.counts
        return NodeStatus(
            node=mark.stage,
            state="done",
            committed=counts.planned,
            planned=counts.planned,
            rejected=counts.rejected,
            at=manifest.provenance.get("made_at", ""),
        )
    folder = stage_folder(mark.stage, mark.recipe)
    listed = storage.list(folder)
    parts = [stat for stat in listed if is_row_part(stat.path.rpartition("/")[2])]
    steps = _find_steps(storage, mark)
    if steps:
        return _begin(mark, 0, None, 0, "", f"checkpoint at step {steps[-1]}")
    members = f"{folder}/{mark.fingerprint}.members.parquet"
    planned = None
    if any(stat.path == members for stat in listed):
        planned = _look(lambda: pl.read_parquet(storage.read_bytes(members)))
    if not parts and planned is None:
        return NodeStatus(
            node=mark.stage, state="not begun", committed=0, planned=None, rejected=0, at=""
        )
    rows = _look(lambda: read_committed(storage, folder))
    note = ""
    if planned is not None:
        rows = rows.join(planned, on=list(IDENTITY_COLUMNS), how="semi")
    else:
        note = "rows of this recipe, whichever run made them"
    rejected = int((rows["status"] == "rejected").sum())
    height = planned.height if planned is not None else None
    return _begin(mark, rows.height, height, rejected, _date(storage, parts), note)


def _begin(
    mark: NodeMark, committed: int, planned: int | None, rejected: int, at: str, note: str
) -> NodeStatus:
    return NodeStatus(
        node=mark.stage,
        state="begun",
        committed=committed,
        planned=planned,
        rejected=rejected,
        at=at,
        note=note,
    )


def _read_manifest(storage: Storage, mark: NodeMark) -> Manifest | None:
    try:
        return read_manifest(storage, manifest_path(mark.stage, mark.recipe, mark.fingerprint))
    except FileNotFoundError:
        return None


def _find_steps(storage: Storage, mark: NodeMark) -> list[int]:
    folder = f"{stage_folder(mark.stage, mark.recipe)}/{mark.fingerprint}.checkpoints"
    found = (_STEP.search(path) for path in storage.walk(folder, "/whole.json"))
    return sorted(int(match[1]) for match in found if match)


def _look(read: Callable[[], T]) -> T:
    """Read what a running stage may be merging: a part that went away is in another one now."""
    for _ in range(_LOOKS - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def _date(storage: Storage, parts: Sequence[FileStat]) -> str:
    """Return when the newest part was written; only a local disk tells."""
    if is_remote(storage.root) or not parts:
        return ""
    newest = max(float(stat.token) for stat in parts)
    return datetime.fromtimestamp(newest, UTC).isoformat(timespec="seconds")


def _say_todo(record: RunRecord, state: str, nodes: Sequence[NodeStatus]) -> str:
    done = sum(node.state == "done" for node in nodes)
    if state == "running":
        return f"It runs on {record.host}, process {record.pid}; {done} of {len(nodes)} nodes done."
    gone = [node.node for node in nodes if node.state != "done"]
    if state == "finished" and not gone:
        return "It is finished; running it again only reuses what is there."
    if state == "finished":
        return f"It finished, but {', '.join(gone)} went since; run it again to make them anew."
    first = f" It comes to {gone[0]} next." if gone else ""
    return (
        f"Run the same command again: it goes on where it stopped, nothing committed is made "
        f"twice.{first}"
    )


def _print_scores(scores: dict[str, float]) -> str:
    shown = {
        name: value
        for name, value in scores.items()
        if not name.endswith(("_gain", "_gain_low", "_gain_high"))
    }
    return ", ".join(f"{name} {value:.3g}" for name, value in list(shown.items())[:4])


def _print_time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _shorten(moment: str) -> str:
    return moment[:19].replace("T", " ")


def _make_table(names: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    numbers = ("took", "nodes", "rows", "rejected")
    for name in names:
        table.add_column(name, justify="right" if name in numbers else "left")
    return table


def _render(table: Table, width: int) -> str:
    text = StringIO()
    Console(file=text, width=width, highlight=False, markup=False).print(table)
    return text.getvalue().rstrip()
