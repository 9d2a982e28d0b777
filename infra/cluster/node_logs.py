"""Reads the ends of Ray's logs: of this machine's sessions, and of every node of a cluster.

One small task a node reads them there, all at once, and masks what that node's environment says is
secret before it travels. A process of its own joins the cluster for it and is given up when it
takes too long: it leaves nothing behind, and a head that hangs holds nobody up.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.cluster.devices import bind_to, list_offers
from infra.cluster.session import Cluster, RayConfig
from infra.errors import ClusterError, OpenCharacterError
from infra.secrets.masking import Masker

_WORKERS = ("worker-*.err", "worker-*.out")
_SERVICES = ("raylet.err", "raylet.out", "gcs_server.err")
_NOBODY, _JOB_LINE = "ffffffff", ":job_id:"
"""What Ray calls a worker's job before it has one, and what the log says first once it has."""
_TAIL_BYTES = 32_768
_MOST_LOGS = 40
_MOST_IN_ALL = 800
"""Of all nodes together: 25 MiB, a tenth of it in an archive."""
_SLACK_S = 120.0
_NODE_PATIENCE_S = 30.0
_JOINING_PATIENCE_S = 90.0
_PROGRAM = "import sys; from infra.cluster.node_logs import main; sys.exit(main(sys.argv[1]))"
"""Nodes find the function that they call by the name of this module."""


@dataclass(frozen=True, slots=True)
class NodeLogs:
    """What a node gave: the ends of its logs by name, or why there are none.

    They are ``mixed`` where those of other jobs' workers may be among them.
    """

    node: str
    host: str
    texts: dict[str, str] = field(default_factory=dict)
    failure: str = ""
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """Run whose logs are wanted: its driver's process, and from when to when, by the epoch."""

    host: str
    pid: int
    began: float
    ended: float


def fetch_logs(address: str, run: Asked, patience_s: float = _NODE_PATIENCE_S) -> list[NodeLogs]:
    """Return the logs of every node of a cluster that a run left.

    A node that does not answer for ``patience_s`` says so in place of logs. Raises
    :class:`ClusterError` where the cluster cannot be joined.
    """
    with TemporaryDirectory(prefix="opencharacter-logs-") as folder:
        out = Path(folder) / "logs.json"
        given = json.dumps([address, asdict(run), patience_s, str(out)])
        paths = os.pathsep.join(filter(None, sys.path))
        try:
            done = subprocess.run(
                [sys.executable, "-c", _PROGRAM, given],
                env={**os.environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_JOINING_PATIENCE_S + patience_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"it did not answer within {error.timeout:.0f} s") from error
        if done.returncode:
            raise ClusterError(_last_line(done.stderr) or f"exit code {done.returncode}")
        return [NodeLogs(**item) for item in json.loads(out.read_text(encoding="utf-8"))]


def ask_nodes(ray: Any, run: Asked, jobs: Sequence[str], patience_s: float) -> list[NodeLogs]:
    """Have each node that lives read its logs of some jobs; those that are gone are told, too.

    Without ``jobs``, by Ray's ids, the logs of all that were at work meanwhile are read.
    """
    from ray.exceptions import RayError

    offers = list_offers(ray)
    most = max(1, min(_MOST_LOGS, _MOST_IN_ALL // max(1, len(offers))))
    task = ray.remote(max_retries=0, num_cpus=0)(read_own_logs)
    flights = {
        offer.node: task.options(**bind_to(offer.node)).remote(
            run.began, run.ended, most, tuple(jobs)
        )
        for offer in offers
    }
    done, _ = ray.wait(list(flights.values()), num_returns=len(flights), timeout=patience_s)
    found = []
    for offer in offers:
        flight, texts, failure = flights[offer.node], {}, ""
        if flight not in done:
            ray.cancel(flight, force=True)
            failure = f"did not answer within {patience_s:.0f} s"
        else:
            try:
                texts = ray.get(flight)
            except RayError as error:
                failure = f"could not read its logs: {_last_line(str(error))}"
        found.append(NodeLogs(offer.node, offer.host, texts, failure, bool(texts and not jobs)))
    gone = [node for node in ray.nodes() if not node["Alive"]]
    return found + [
        NodeLogs(str(node["NodeID"]), str(node.get("NodeManagerHostname", "")), {}, "is gone")
        for node in gone
    ]


def find_jobs(ray: Any, run: Asked) -> list[str]:
    """Return the ids of the jobs that a run's driver was to Ray; none where it is not known.

    A driver is on a node of its cluster, unless it came by Ray's client. Ray tells of its jobs by
    its dashboard, which need not be there, or by a module that is its own.
    """
    hosts = {node["NodeManagerAddress"]: node["NodeManagerHostname"] for node in ray.nodes()}
    try:
        from ray._private.state import jobs as list_jobs

        return [
            str(job["JobID"])
            for job in list_jobs()
            if job["DriverPid"] == run.pid
            and hosts.get(job["DriverIPAddress"]) == run.host
            and run.began - _SLACK_S <= job["StartTime"] / 1000 <= run.ended
        ]
    except (ImportError, KeyError, TypeError):
        return []


def read_own_logs(began: float, ended: float, most: int, jobs: Sequence[str]) -> dict[str, str]:
    """Return the ends of the logs of the session that this task runs in, without secrets."""
    folder = Path("/proc/self/fd/1").resolve().parent
    masker = Masker.collect()
    found = read_ends(folder, began, ended, most, jobs)
    return {name: masker.mask(text) for name, text in found.items()}


def read_ends(
    folder: Path,
    began: float = 0.0,
    ended: float = float("inf"),
    most: int = _MOST_LOGS,
    jobs: Sequence[str] = (),
) -> dict[str, str]:
    """Return the ends of the newest logs of a session's folder, by name.

    Of workers those count that wrote last between two times, and if ``jobs`` are given were theirs
    or nobody's; Ray's own servers write for ever.
    """
    since, until = began - _SLACK_S, ended + _SLACK_S
    services = _list_logs(folder, _SERVICES)
    workers = [
        (at, path)
        for at, path in _list_logs(folder, _WORKERS)
        if since <= at <= until and (not jobs or _read_job(path) in (*jobs, _NOBODY))
    ]
    newest = sorted(workers, reverse=True)[: max(0, most - len(services))]
    found = {}
    for _, path in sorted([*services, *newest], key=lambda item: item[1]):
        with suppress(OSError):
            text = _read_end(path)
            if text.strip():
                found[path.name] = text
    return found


def _list_logs(folder: Path, patterns: Sequence[str]) -> list[tuple[float, Path]]:
    return [
        (_date(path), path)
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.is_file()
    ]


def _date(path: Path) -> float:
    with suppress(OSError):
        return path.stat().st_mtime
    return 0.0


def _read_job(path: Path) -> str:
    """Return the job that a worker was of: a log of one that waited for any has a line on it."""
    job = (path.stem.split("-") + [_NOBODY] * 3)[2]
    if job == _NOBODY:
        with suppress(OSError), path.open("rb") as file:
            start = file.readline(64).decode("utf-8", "replace").strip()
            if start.startswith(_JOB_LINE):
                return start.removeprefix(_JOB_LINE)
    return job


def _read_end(path: Path) -> str:
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        text = file.read().decode("utf-8", "replace")
    if size > _TAIL_BYTES:  # a cut line could begin in the middle of a secret
        text = text.partition("\n")[2]
    return text


def _last_line(text: str) -> str:
    lines: Iterator[str] = (line.strip() for line in reversed(text.splitlines()))
    return next((line for line in lines if line), "")


def main(given: str) -> int:
    """Join a cluster, ask its nodes, and write what they said where it is wanted."""
    address, asked, patience_s, out = json.loads(given)
    cluster, run = Cluster(RayConfig(address=address)), Asked(**asked)
    try:
        ray = cluster.ensure()
        found = ask_nodes(ray, run, find_jobs(ray, run), patience_s)
        Path(out).write_text(json.dumps([asdict(item) for item in found]), encoding="utf-8")
    except OpenCharacterError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    finally:
        cluster.close()
    return 0
