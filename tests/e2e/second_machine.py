"""Starts Ray on two machines that share nothing, or on what comes nearest to that here.

The first is a network of the caller's own, the second what ``second_machine.sh`` makes: another
network, disk, home, environment, user and place of the code. Both are gone with the first process
of each. Where one may have no namespaces, the second is a node of this machine with a home, a
temporary folder and no keys of its own, and :func:`find_hindrance` says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.e2e.hidden_folders import can_hide
from tests.e2e.local_nodes import local_nodes

_CODE = Path(__file__).parents[2]
_SCRIPT = Path(__file__).with_suffix(".sh")
_SEPARATE = ("unshare", "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
_TOOLS = ("unshare", "ip", "mount", "umount", "pivot_root", "setpriv", "bash")
_PAIR = ("link", "add", "first", "type", "veth", "peer", "name", "second")
_FIRST, _SECOND, _BITS = "10.99.0.1", "10.99.0.2", 24
_CPUS = 4
_MEMORY = 100 * 2**20
_UP_S = 90.0
_GLANCE_S = 0.05


@dataclass(frozen=True, slots=True)
class TwoMachines:
    """Two machines with a Ray whose head takes no work.

    The second reaches the first at ``host``; its ``home`` and ``scratch``, which are all that it
    can write to of its own, are named as they are seen from the first. ``logs`` is the first one's,
    of Ray. Both see ``shared``, where each is another user; ``None`` if they are the same one.
    """

    address: str
    host: str
    home: Path
    scratch: Path
    logs: Path
    shared: Path | None = None


@cache
def find_hindrance() -> str:
    """Return why there can be no second machine here; empty if there can be."""
    if os.geteuid() != 0:
        return "only root may make the namespaces of one"
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=_path()) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    for trial in (("ip", *_PAIR), ("mount", "-t", "tmpfs", "trial", "/mnt")):
        done = _run(*_SEPARATE, *trial, check=False)
        if done.returncode != 0:
            return f"{' '.join(trial)}: {' '.join(done.stderr.split())}"
    return ""


def make_first_machine() -> list[str]:
    """Return what runs a command in a network of its own, and ends all that it leaves behind.

    It is empty where that cannot be.
    """
    if find_hindrance():
        return []
    # Bash, as the first process, clears away whoever has nobody else.
    return [*_SEPARATE, "--mount-proc", "bash", "-c", '"$@"; exit $?', "first"]


@contextmanager
def two_machines(folder: Path, hidden: Path, *, separate: bool) -> Iterator[TwoMachines]:
    """Have a Ray on both machines inside the block; ``folder`` becomes the second's.

    ``separate`` tells that this is the first machine of :func:`make_first_machine`. If not, the
    second does not see what is in ``hidden``, as far as that can be.
    """
    folder.mkdir(parents=True)
    with _join_machines(folder) if separate else _share_machine(folder, hidden) as machines:
        yield machines


@contextmanager
def _join_machines(folder: Path) -> Iterator[TwoMachines]:
    _run("ip", "link", "set", "lo", "up")
    _run("ip", *_PAIR)
    _run("ip", "address", "add", f"{_FIRST}/{_BITS}", "dev", "first")
    _run("ip", "link", "set", "first", "up")
    shared = folder.with_suffix(".shared")
    shared.mkdir()
    shared.chmod(0o777)
    with (
        local_nodes(0, [], node_ip_address=_FIRST) as (cluster, _),
        _run_second(folder, cluster, shared) as files,
    ):
        yield TwoMachines(
            address=cluster.address,
            host=_FIRST,
            home=files / "home/second",
            scratch=files / "tmp",
            logs=Path(cluster.head_node.get_session_dir_path()),
            shared=shared,
        )


@contextmanager
def _run_second(folder: Path, cluster: Any, shared: Path) -> Iterator[Path]:
    """Run the second machine, and Ray on it; yield its root as it is seen from here."""
    start = (
        *("/opt/venv/bin/python", "-m", "ray.scripts.scripts", "start", "--block"),
        *(f"--address={cluster.address}", f"--node-ip-address={_SECOND}", f"--num-cpus={_CPUS}"),
        *(f"--object-store-memory={_MEMORY}", "--disable-usage-stats"),
    )
    given = (folder, _CODE, sys.base_prefix, sys.prefix, shared, "second", f"{_SECOND}/{_BITS}")
    log = folder.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*_SEPARATE, "bash", str(_SCRIPT), *map(str, given), *start],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, "PATH": _path()},
        )
    assert process.stdin is not None

    def await_that(happens: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _UP_S
        while not happens():
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(_GLANCE_S)

    try:
        network = Path(f"/proc/{process.pid}/ns/net")
        await_that(lambda: not network.samefile("/proc/self/ns/net"))
        _run("ip", "link", "set", "second", "netns", str(process.pid))
        process.stdin.write(b"\n")
        process.stdin.close()
        await_that(lambda: sum(node["Alive"] for node in cluster.global_state.node_table()) == 2)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        yield Path("/proc", children.read_text().strip(), "root")
    finally:
        process.kill()
        process.wait()


@contextmanager
def _share_machine(folder: Path, hidden: Path) -> Iterator[TwoMachines]:
    home, scratch = folder / "home", folder / "tmp"
    for place in (home, scratch):
        place.mkdir()
    own = {"HOME": str(home), "TMPDIR": str(scratch), "XDG_CACHE_HOME": str(home / ".cache")}
    second: dict[str, Any] = {"num_cpus": _CPUS, "env_vars": own, "lacks": "AWS_"}
    if can_hide():
        second["hidden"] = str(hidden)
    with local_nodes(0, [second]) as (cluster, _):
        yield TwoMachines(
            address=cluster.address,
            host="127.0.0.1",
            home=home,
            scratch=scratch,
            logs=Path(cluster.head_node.get_session_dir_path()),
        )


def _run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": _path()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{' '.join(command)}: {done.stderr}"
    return done


def _path() -> str:
    """Return where programs are, those of a system's administrator too."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
