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

from infra.cluster.devices import list_offers
from infra.cluster.session import Cluster, RayConfig
from infra.errors import ClusterError, OpenCharacterError
from infra.secrets.masking import Masker

_WORKERS = ("worker-*.err", "worker-*.out")
_SERVICES = ("raylet.err", "raylet.out", "gcs_server.err")
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
    """What a node gave: the ends of its logs by name, or why there are none."""

    node: str
    host: str
    texts: dict[str, str] = field(default_factory=dict)
    failure: str = ""


def fetch_logs(
    address: str, began: float, ended: float, patience_s: float = _NODE_PATIENCE_S
) -> list[NodeLogs]:
    """Return the logs of every node of a cluster from a time, in seconds since the epoch.

    A node that does not answer for ``patience_s`` says so in place of logs. Raises
    :class:`ClusterError` where the cluster cannot be joined.
    """
    with TemporaryDirectory(prefix="opencharacter-logs-") as folder:
        out = Path(folder) / "logs.json"
        given = json.dumps([address, began, ended, patience_s, str(out)])
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


def ask_nodes(ray: Any, began: float, ended: float, patience_s: float) -> list[NodeLogs]:
    """Have each node that lives read its logs; those that are gone are told, too."""
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    offers = list_offers(ray)
    most = max(1, min(_MOST_LOGS, _MOST_IN_ALL // max(1, len(offers))))
    task = ray.remote(max_retries=0, num_cpus=0)(read_own_logs)
    flights = {
        offer.node: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(offer.node, soft=False)
        ).remote(began, ended, most)
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
        found.append(NodeLogs(offer.node, offer.host, texts, failure))
    gone = [node for node in ray.nodes() if not node["Alive"]]
    return found + [
        NodeLogs(str(node["NodeID"]), str(node.get("NodeManagerHostname", "")), {}, "is gone")
        for node in gone
    ]


def read_own_logs(began: float, ended: float, most: int) -> dict[str, str]:
    """Return the ends of the logs of the session that this task runs in, without secrets."""
    folder = Path("/proc/self/fd/1").resolve().parent
    masker = Masker.collect()
    return {name: masker.mask(text) for name, text in read_ends(folder, began, ended, most).items()}


def read_ends(
    folder: Path, began: float = 0.0, ended: float = float("inf"), most: int = _MOST_LOGS
) -> dict[str, str]:
    """Return the ends of the newest logs of a session's folder, by name.

    Of workers those count that wrote last between two times; Ray's own servers write for ever.
    """
    since, until = began - _SLACK_S, ended + _SLACK_S
    services = _list_logs(folder, _SERVICES)
    workers = [item for item in _list_logs(folder, _WORKERS) if since <= item[0] <= until]
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
    address, began, ended, patience_s, out = json.loads(given)
    cluster = Cluster(RayConfig(address=address))
    try:
        found = ask_nodes(cluster.ensure(), began, ended, patience_s)
        Path(out).write_text(json.dumps([asdict(item) for item in found]), encoding="utf-8")
    except OpenCharacterError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return error.exit_code
    finally:
        cluster.close()
    return 0
