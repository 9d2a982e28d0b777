"""Packs what a bug report needs of a run into one archive: no rows, and no secrets."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime
from importlib.metadata import distributions
from io import BytesIO, StringIO
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from flows.runs.history import RUNS, RunRecord, find_record, read_finished
from flows.runs.listing import find_status, print_status
from infra.cluster.node_logs import Asked, fetch_logs, read_ends
from infra.errors import ClusterError, ConfigError, Problem
from infra.secrets.masking import Masker
from infra.store.storage import Storage

_README = """This archive describes one run of OpenCharacter for a bug report.

config.yaml     the resolved configuration; secrets are references only
record.json     when and where the run started, what it planned, how it ended
summary.json    what it came to, if it finished
status.txt      where each node stands
manifests/      what each finished node was made of: knobs, prompts, counts, reasons
versions.txt    the Python packages
doctor.txt      what `opencharacter doctor` says of the machine
logs/           the ends of the engines' logs: of this machine's Ray, or of all nodes of the cluster
                that the run joined; nodes.txt says which node gave none, and why, and where it
                is not known which workers were the run's: then those of other jobs, which
                others may have run there at that time, are among them

It holds no rows. Known secrets, what looks like a key, and the home folder's name are masked.
Logs are what other programs wrote: look through them before you send this.
"""


class Bundle(BaseModel):
    """Written archive."""

    model_config = ConfigDict(frozen=True)

    path: str
    files: tuple[str, ...]
    size: int


def bundle_run(storage: Storage, name: str, out: Path, where: str = "RUN") -> Bundle:
    """Write the archive of a run, whole or not at all.

    Raises :class:`ConfigError` when there is no such run, or the archive cannot be written.
    """
    record = find_record(storage, name, where)
    texts = dict(_gather(storage, record))
    masker = Masker.collect(*texts.values())
    sink = BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in texts.items():
            archive.writestr(masker.mask(path), masker.mask(text))
    _write(out, sink.getvalue())
    return Bundle(
        path=str(out), files=tuple(masker.mask(path) for path in texts), size=len(sink.getvalue())
    )


def _gather(storage: Storage, record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield the files of the archive, not masked yet."""
    yield "README.txt", _README
    yield "config.yaml", record.config
    yield "record.json", record.model_dump_json(indent=1, exclude={"config"})
    if read_finished(storage, record.run) is not None:
        with suppress(FileNotFoundError):
            summary = storage.read_bytes(f"{RUNS}/{record.run}/summary.json")
            yield "summary.json", summary.decode("utf-8", "replace")
    start = "" if record.id == "summary" else f"@{record.id}"
    yield "status.txt", print_status(find_status(storage, f"{record.run}{start}"))
    for mark in record.nodes:
        with suppress(FileNotFoundError):
            data = storage.read_bytes(mark.manifest)
            yield f"manifests/{mark.stage}.json", data.decode("utf-8", "replace")
    yield "versions.txt", _list_versions()
    yield "doctor.txt", _ask_doctor()
    yield from _read_logs(record)


def _list_versions() -> str:
    found = {f"{item.metadata['Name']}=={item.version}" for item in distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def _ask_doctor() -> str:
    from flows.control.doctor import examine

    told = StringIO()
    with redirect_stdout(told):
        examine(None, ())
    return told.getvalue()


def _read_logs(record: RunRecord) -> Iterator[tuple[str, str]]:
    """Yield the ends of the logs that the run's Ray wrote, on whatever nodes, and who gave none."""
    address = _find_address(record)
    if address is not None:
        yield from _read_cluster_logs(record, address)
        return
    if record.pid:
        for session in sorted(_find_ray_folder().glob(f"session_*_{record.pid}")):
            for name, text in read_ends(session / "logs").items():
                yield f"logs/{session.name}/{name}", text
    if record.host not in ("", platform.node()):
        told = f"The run's Ray was on {record.host}: its logs are there, in {_find_ray_folder()}.\n"
        yield "logs/nodes.txt", told


def _find_address(record: RunRecord) -> str | None:
    """Return the cluster that a run joined."""
    try:
        address = (yaml.safe_load(record.config) or {}).get("ray", {}).get("address")
    except (yaml.YAMLError, AttributeError):
        return None
    return str(address) if address else None


def _read_cluster_logs(record: RunRecord, address: str) -> Iterator[tuple[str, str]]:
    ended = datetime.fromisoformat(record.end.at) if record.end is not None else datetime.now(UTC)
    try:
        began = record.began_at.timestamp()
        nodes = fetch_logs(address, Asked(record.host, record.pid, began, ended.timestamp()))
    except ClusterError as error:
        yield "logs/nodes.txt", f"No logs of the cluster at {address}: {error}\n"
        return
    told = []
    for node in sorted(nodes, key=lambda node: (node.host, node.node)):
        place = f"{node.host}-{node.node[:8]}"
        whose = ", of other jobs too if there were some" if node.mixed else ""
        told.append(f"{place}: {node.failure or f'{len(node.texts)} logs{whose}'}")
        for name, text in node.texts.items():
            yield f"logs/{place}/{name}", text
    yield "logs/nodes.txt", "\n".join(told) + "\n"


def _find_ray_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray"


def _write(out: Path, data: bytes) -> None:
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(out)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        todo = "give --out a file in a folder that exists and can be written"
        raise ConfigError(Problem(f"--out {out}", str(error), todo)) from error


def print_bundle(bundle: Bundle) -> str:
    """Return what was written, as JSON: one line for scripts."""
    return json.dumps({"bundle": bundle.path, "files": len(bundle.files), "bytes": bundle.size})
