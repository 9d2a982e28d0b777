"""Starts PostgreSQL, a Prefect server and a worker, and speaks to the API as the UI does.

Each is a process of the test's own, on a free port of the loopback device and in a folder of its
own, and is ended by its id.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]

from infra.cluster.ports import find_port

ROOT = Path(__file__).parents[2]
PREFECT = [sys.executable, "-m", "prefect"]
POOL = "opencharacter"
_DATABASE = "prefect"
_FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}


@contextmanager
def run_process(
    command: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    user: str | None = None,
    number: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command beside the block; at its end the process and its children are gone."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT if user is None else "/",
            env={**os.environ, **(env or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
        )
    try:
        yield process
    finally:
        family = []
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in family:
            if child.is_running():
                child.kill()


@dataclass(frozen=True)
class Postgres:
    """Is a running PostgreSQL with one database that can be emptied."""

    binaries: Path
    port: int
    user: str

    @property
    def address(self) -> str:
        """Return the database's address as Prefect takes it."""
        return f"postgresql+asyncpg://{self.user}@127.0.0.1:{self.port}/{_DATABASE}"

    def create(self) -> None:
        """Make the database, without a table."""
        self._tell("postgres", f"CREATE DATABASE {_DATABASE}")

    def empty(self) -> None:
        """Take every row out of the database; the tables stay, for making them takes a while.

        A server that writes meanwhile may hold one table and want another that is locked already:
        the one of the two that the database calls off is this one, which begins again.
        """
        self._tell(
            _DATABASE,
            "DO $$ BEGIN LOOP BEGIN"
            " EXECUTE (SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ')"
            " || ' CASCADE' FROM pg_tables WHERE schemaname = 'public'"
            " AND tablename <> 'alembic_version'); RETURN;"
            " EXCEPTION WHEN deadlock_detected THEN PERFORM pg_sleep(0.1); END; END LOOP; END $$",
        )

    def _tell(self, database: str, statement: str) -> None:
        done = subprocess.run(
            [
                *(str(self.binaries / "psql"), "--no-psqlrc", "--quiet", "--host=127.0.0.1"),
                *(f"--port={self.port}", f"--username={self.user}", f"--dbname={database}"),
                f"--command={statement}",
            ],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@contextmanager
def run_postgres() -> Iterator[Postgres]:
    """Run Debian's PostgreSQL; root may not, so then it runs as the user it came with."""
    user = "postgres" if os.geteuid() == 0 else None
    owner = user or pwd.getpwuid(os.geteuid()).pw_name
    binaries = _find_binaries()
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        subprocess.run(
            [
                *(str(binaries / "initdb"), f"--pgdata={data}", f"--username={owner}"),
                *("--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            cwd="/",
            user=user,
            timeout=60,
        )
        port = find_port()
        command = [
            *(str(binaries / "postgres"), "-D", str(data), "-k", str(folder), "-p", str(port)),
            *("-h", "127.0.0.1", "-F", "-c", "max_connections=50"),
        ]
        # SIGINT ends sessions too; SIGTERM would wait for them.
        with run_process(command, folder / "log", user=user, number=signal.SIGINT):
            _await_ready(binaries, port)
            database = Postgres(binaries, port, owner)
            database.create()
            yield database
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Server:
    """Is a running Prefect server; requests are those that the UI makes."""

    url: str
    env: Mapping[str, str]

    def call(self, *arguments: str) -> str:
        """Run a command of Prefect's to its end, in the project's folder."""
        done = subprocess.run(
            [*PREFECT, "--no-prompt", *arguments],
            cwd=ROOT,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def get(self, path: str) -> Any:
        """Return what a GET answers."""
        return httpx.get(self.url + path, timeout=30).raise_for_status().json()

    def post(self, path: str, body: Mapping[str, Any] | Sequence[Any]) -> httpx.Response:
        """Return the answer to a POST, whatever its status."""
        return httpx.post(self.url + path, json=body, timeout=30)

    def find(self, path: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return what a filter finds."""
        found: list[dict[str, Any]] = self.post(path, body).raise_for_status().json()
        return found

    def start(self, deployment: str, parameters: Mapping[str, Any]) -> httpx.Response:
        """Ask for a run of a deployment with what a person put into the form."""
        known = self.get(f"/deployments/name/{deployment}/{deployment}")
        body = {"parameters": dict(parameters), "state": {"type": "SCHEDULED"}}
        return self.post(f"/deployments/{known['id']}/create_flow_run", body)

    def cancel(self, run: str) -> None:
        """Cancel a run as the UI's button does."""
        state = {"type": "CANCELLING", "name": "Cancelling"}
        self.post(f"/flow_runs/{run}/set_state", {"state": state}).raise_for_status()

    def delete(self, path: str) -> None:
        """Delete what is at a path."""
        httpx.delete(self.url + path, timeout=30).raise_for_status()

    def await_end(self, run: str, timeout_s: float) -> dict[str, Any]:
        """Return a run once its state is final."""
        return self.await_state(run, "", timeout_s)

    def await_state(self, run: str, wanted: str, timeout_s: float) -> dict[str, Any]:
        """Return a run once it is in a state of the wanted type, or in a final one."""
        deadline = time.monotonic() + timeout_s
        while True:
            found: dict[str, Any] = self.get(f"/flow_runs/{run}")
            if found["state_type"] == wanted or found["state_type"] in _FINAL:
                return found
            assert time.monotonic() < deadline, f"still {found['state_type']}"
            time.sleep(0.5)

    def await_input(self, run: str, key: str) -> str:
        """Return what a paused run shows or asks for, of which its server hears after the pause."""
        deadline = time.monotonic() + 20
        while True:
            found = httpx.get(f"{self.url}/flow_runs/{run}/input/{key}", timeout=30)
            if found.status_code != 404 or time.monotonic() > deadline:
                shown: str = found.raise_for_status().json()
                return shown
            time.sleep(0.1)

    def await_states(self, run: str) -> dict[str, str]:
        """Return the names of the states of a finished run's nodes, of which it hears later."""
        deadline = time.monotonic() + 20
        while True:
            states = self.read_states(run)
            if set(states.values()) <= {"Completed", "Cached"} or time.monotonic() > deadline:
                return states
            time.sleep(0.2)

    def await_log(self, run: str, words: str) -> None:
        """Wait until a run logged some words, which a server hears after the run's last state."""
        deadline = time.monotonic() + 60
        while words not in (log := self.read_whole_log(run)):
            assert time.monotonic() < deadline, f"no {words!r} in: {log[-4000:]}"
            time.sleep(0.2)

    def read_states(self, run: str) -> dict[str, str]:
        """Return the names of the states of a run's nodes."""
        body = {"flow_runs": {"id": {"any_": [run]}}, "limit": 200}
        return {item["name"]: item["state_name"] for item in self.find("/task_runs/filter", body)}

    def read_log(self, run: str) -> str:
        """Return the end of what a run logged, for a message when it ended otherwise."""
        return self.read_whole_log(run)[-4000:]

    def read_whole_log(self, run: str) -> str:
        """Return what a run logged."""
        body = {"logs": {"flow_run_id": {"any_": [run]}}, "limit": 200}
        return "\n".join(item["message"] for item in self.find("/logs/filter", body))


@contextmanager
def run_server(postgres: Postgres, folder: Path) -> Iterator[Server]:
    """Run a Prefect server on a database; a new one gets its tables first."""
    port = find_port()
    env = {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": postgres.address,
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "DO_NOT_TRACK": "1",
    }
    command = [*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with run_process(command, folder / "server.log", env):
        server = Server(env["PREFECT_API_URL"], env)
        deadline = time.monotonic() + 120
        while True:
            try:
                server.get("/health")
                break
            except httpx.HTTPError:
                assert time.monotonic() < deadline, (folder / "server.log").read_text()[-3000:]
                time.sleep(0.5)
        yield server


@contextmanager
def run_worker(server: Server, folder: Path) -> Iterator[None]:
    """Run a process worker of the pool that the deployments name."""
    command = [*PREFECT, "worker", "start", "--pool", POOL, "--type", "process"]
    with run_process(command, folder / "worker.log", server.env):
        yield


def deploy(server: Server, *chosen: str) -> None:
    """Make the pool and register deployments: all, or those that ``prefect deploy`` is told of."""
    server.call("work-pool", "create", "opencharacter", "--type", "process", "--overwrite")
    which = chosen or ("--all",)
    server.call("deploy", *which, "--prefect-file", "infra/deploy/prefect/prefect.yaml")


def _find_binaries() -> Path:
    """Return the folder of the newest PostgreSQL; Debian keeps ``initdb`` off the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    for folder in (*reversed(debian), *map(Path, os.get_exec_path())):
        if (folder / "initdb").exists() and (folder / "psql").exists():
            return folder
    raise AssertionError("no PostgreSQL here: apt-get install postgresql")


def _await_ready(binaries: Path, port: int, timeout_s: float = 30) -> None:
    """Wait until PostgreSQL takes sessions; it listens a little before that."""
    deadline = time.monotonic() + timeout_s
    command = [str(binaries / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}"]
    while subprocess.run(command, check=False, timeout=30).returncode != 0:
        assert time.monotonic() < deadline, f"PostgreSQL does not answer at {port}"
        time.sleep(0.1)
