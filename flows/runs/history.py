"""Records every start of a run and how it ended, and lists what ran.

A start is a file of its own, ``runs/<name>/starts/<time>-<mark>.json``, written before the first
node and again at the end. It holds the resolved configuration and the nodes, so a run that died
can be looked at, compared and kept like one that finished.
"""

from __future__ import annotations

import os
import platform
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from infra.errors import ConfigError, InterruptedRun, OpenCharacterError, Problem
from infra.store.fingerprints import hash_parts
from infra.store.manifests import Manifest, NodeSpec, manifest_path
from infra.store.storage import Storage, is_remote

if TYPE_CHECKING:
    from flows.recipe.settings import Settings

RUNS = "runs"
Outcome = Literal["finished", "failed", "interrupted"]

_START = re.compile(rf"{RUNS}/(?P<run>[^/]+)/starts/(?P<id>[^/]+)\.json")
_SUMMARY = re.compile(rf"{RUNS}/(?P<run>[^/]+)/summary\.json")
_MESSAGE_CHARS = 500
_PID_SLACK_S = 60.0
_DAY = timedelta(days=1)


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class NodeMark(_Plain):
    """Name of a node that a run planned."""

    stage: str
    recipe: str
    fingerprint: str

    @property
    def manifest(self) -> str:
        """Return where the node's manifest lies below the storage root, once it is done."""
        return manifest_path(self.stage, self.recipe, self.fingerprint)


class RunEnd(_Plain):
    """End of a run; rows are those of all its nodes, made now or reused."""

    at: str
    outcome: Outcome
    message: str = ""
    accepted: int = 0
    rejected: int = 0
    scores: dict[str, float] = {}


class RunRecord(_Plain):
    """One start of a run.

    Attributes:
        id: Tells the starts of a run apart; sorts by time.
        began: When, in ISO 8601, UTC.
        until: The last stage it was to run.
        config: The resolved configuration as YAML; empty if it is not known.
        nodes: What it planned, upstream first.
        end: ``None`` while it runs, and for good if it was killed.
    """

    run: str
    id: str
    began: str
    host: str = ""
    pid: int = 0
    until: str = "report"
    config: str = ""
    config_digest: str = ""
    provenance: dict[str, str] = {}
    nodes: tuple[NodeMark, ...] = ()
    end: RunEnd | None = None

    @property
    def path(self) -> str:
        """Return where the record lies below the storage root."""
        return f"{RUNS}/{self.run}/starts/{self.id}.json"

    @property
    def began_at(self) -> datetime:
        """Return when it began."""
        return datetime.fromisoformat(self.began)


class RunSummary(_Plain):
    """Part of a finished run's ``summary.json`` that is read; ``model`` is the one it trained."""

    model: str = ""
    manifests: dict[str, str] = {}
    scores: dict[str, float] = {}
    counts: dict[str, dict[str, int]] = {}
    provenance: dict[str, str] = {}


def note_start(
    storage: Storage,
    settings: Settings,
    nodes: Iterable[NodeSpec],
    *,
    provenance: Mapping[str, str],
    until: str = "report",
) -> RunRecord:
    """Write that a run begins; ``nodes`` are those it is to make, up to ``until``."""
    from flows.recipe.settings import dump_settings

    now, config = datetime.now(UTC), dump_settings(settings)
    record = RunRecord(
        run=settings.run.name,
        id=f"{now:%Y%m%dT%H%M%S}{now.microsecond // 1000:03d}-{uuid.uuid4().hex[:6]}",
        began=now.isoformat(timespec="seconds"),
        host=platform.node(),
        pid=os.getpid(),
        until=until,
        config=config,
        config_digest=hash_parts(config),
        provenance=dict(provenance),
        nodes=tuple(
            NodeMark(stage=node.stage, recipe=node.recipe, fingerprint=node.fingerprint)
            for node in nodes
        ),
    )
    _write(storage, record)
    return record


def note_end(
    storage: Storage,
    record: RunRecord,
    outcome: Outcome,
    *,
    message: str = "",
    manifests: Iterable[Manifest] = (),
    scores: Mapping[str, float] | None = None,
) -> RunRecord:
    """Write how a run ended: ``manifests`` of its nodes and its headline scores, if finished."""
    counts = [manifest.counts for manifest in manifests]
    end = RunEnd(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        outcome=outcome,
        message=message[:_MESSAGE_CHARS],
        accepted=sum(count.accepted for count in counts),
        rejected=sum(count.rejected for count in counts),
        scores=dict(scores or {}),
    )
    ended = record.model_copy(update={"end": end})
    _write(storage, ended)
    return ended


@contextmanager
def record_run(
    storage: Storage,
    settings: Settings,
    nodes: Iterable[NodeSpec],
    *,
    provenance: Mapping[str, str],
    until: str = "report",
) -> Iterator[RunRecord]:
    """Note a start, and the end if the block raises; a block that ends well calls `note_end`."""
    record = note_start(storage, settings, nodes, provenance=provenance, until=until)
    try:
        yield record
    except BaseException as error:
        stopped = isinstance(error, InterruptedRun) or not isinstance(error, Exception)
        message = str(error).strip().split("\n")[0] or type(error).__name__
        with suppress(OpenCharacterError, OSError):  # the run's own error is the one to tell
            note_end(storage, record, "interrupted" if stopped else "failed", message=message)
        raise


def list_starts(storage: Storage) -> list[tuple[str, str]]:
    """Return run and id of every start on record, the latest first."""
    matches = filter(None, map(_START.fullmatch, storage.walk(RUNS, ".json")))
    return sorted(((match["run"], match["id"]) for match in matches), key=lambda pair: pair[1])[
        ::-1
    ]


def read_start(storage: Storage, run: str, start: str) -> RunRecord | None:
    """Read one start; ``None`` if the file is gone or none of ours."""
    with suppress(FileNotFoundError, ValidationError):
        data = storage.read_bytes(f"{RUNS}/{run}/starts/{start}.json")
        return RunRecord.model_validate_json(data)
    return None


def read_records(storage: Storage, limit: int | None = None) -> list[RunRecord]:
    """Read the starts, the latest first, then finished runs of which only a summary tells."""
    starts = list_starts(storage)
    found = [read_start(storage, *pair) for pair in starts[:limit]]
    known = {run for run, _ in starts}
    matches = filter(None, map(_SUMMARY.fullmatch, storage.walk(RUNS, "/summary.json")))
    older = [read_finished(storage, match["run"]) for match in matches if match["run"] not in known]
    return [record for record in (*found, *older) if record is not None][:limit]


def read_summary(storage: Storage, run: str) -> RunSummary:
    """Read what a run came to; ``FileNotFoundError`` or ``ValidationError`` where it cannot be."""
    return RunSummary.model_validate_json(storage.read_bytes(f"{RUNS}/{run}/summary.json"))


def read_finished(storage: Storage, run: str) -> RunRecord | None:
    """Return the last finished state of a run as a record, from its summary."""
    try:
        summary = read_summary(storage, run)
    except (FileNotFoundError, ValidationError):
        return None
    config = ""
    with suppress(FileNotFoundError, UnicodeDecodeError):
        config = storage.read_bytes(f"{RUNS}/{run}/config.yaml").decode()
    at = summary.provenance.get("made_at", "1970-01-01T00:00:00+00:00")
    return RunRecord(
        run=run,
        id="summary",
        began=at,
        host=summary.provenance.get("host", ""),
        config=config,
        config_digest=hash_parts(config),
        provenance=summary.provenance,
        nodes=tuple(
            NodeMark(stage=node, recipe=path.split("/")[-2], fingerprint=path.split("/")[-1][:-5])
            for node, path in summary.manifests.items()
        ),
        end=RunEnd(
            at=at,
            outcome="finished",
            accepted=sum(count.get("accepted", 0) for count in summary.counts.values()),
            rejected=sum(count.get("rejected", 0) for count in summary.counts.values()),
            scores=summary.scores,
        ),
    )


def find_record(storage: Storage, name: str, where: str) -> RunRecord:
    """Return a run's latest start, or with ``name@id`` the start whose id begins so.

    Raises :class:`ConfigError` naming the runs there are.
    """
    run, _, start = name.partition("@")
    for found_run, found_id in list_starts(storage):
        if found_run == run and found_id.startswith(start):
            record = read_start(storage, found_run, found_id)
            if record is not None:
                return record
    finished = None if start else read_finished(storage, run)
    if finished is not None:
        return finished
    names = sorted({record.run for record in read_records(storage)})
    todo = f"runs there: {', '.join(names)}" if names else "run it with `opencharacter run`"
    if not names and not is_remote(storage.root) and not Path(storage.root).is_dir():
        raise ConfigError(Problem(where, f"no such folder: {storage.root}", "fix the root"))
    raise ConfigError(Problem(where, f"no run {name} in {storage.root}", todo))


def tell_state(record: RunRecord) -> str:
    """Return ``finished``, ``failed``, ``interrupted``, ``running`` or ``died``.

    A run without an end on another host counts as running for a day: its process cannot be seen.
    """
    if record.end is not None:
        return record.end.outcome
    if record.host == platform.node():
        return "running" if _is_alive(record) else "died"
    return "running" if _is_young(record) else "died"


def may_run(record: RunRecord) -> bool:
    """Tell whether a run may be at work; when in doubt it is."""
    return record.end is None and (_is_young(record) or tell_state(record) == "running")


def _write(storage: Storage, record: RunRecord) -> None:
    storage.write_bytes(record.path, record.model_dump_json(indent=1).encode())


def _is_young(record: RunRecord) -> bool:
    return datetime.now(UTC) - record.began_at < _DAY


def _is_alive(record: RunRecord) -> bool:
    """Tell whether the process is there; one that began after the run only has its number."""
    import psutil  # type: ignore[import-untyped]

    with suppress(psutil.Error):
        created = float(psutil.Process(record.pid).create_time())
        return created <= record.began_at.timestamp() + _PID_SLACK_S
    return False
