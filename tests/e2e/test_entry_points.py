"""Runs what deployment files start: Slurm's script under a scheduler that binds, KubeRay's job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
import yaml

from infra.cluster.ports import find_port
from tests.e2e.processes import await_no_leftovers, running_pids

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
BINARIES = Path(sys.executable).parent
LONGEST_S = 240.0
"""Ray starts an agent after the head, which takes that long on a machine that does other things."""

TOKEN = "0" * 64
CORES = 2
"""Of each node of the job; a step that does not ask for them has one."""

SRUN = f"""#!{sys.executable}
import os, sys
command = sys.argv[1:]
while command[0].startswith("-"):
    command.pop(0)
mine = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, mine[: int(os.environ.get("SRUN_CPUS_PER_TASK", 1))])
os.execv(command[0], command)
"""
SCONTROL = "#!/bin/sh\necho 127.0.0.1\n"

# A run that tells what it was given and what it finds, and goes on until it is told to stop.
RUN = f"""#!{sys.executable}
import os, pathlib, signal, sys, time
import ray
where = sys.argv[-1].removeprefix("ray.address=")
ray.init(address=where, log_to_driver=False)
cpus = ray.cluster_resources()["CPU"]
told = " ".join(sys.argv[1:3]) + f" on {{cpus:g}} cpus of {{len(os.sched_getaffinity(0))}} cores"
pathlib.Path("told").write_text(told)
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path("stopped").touch(), sys.exit(0)))
time.sleep(200)
"""

# A job's program: where it was started, with which cluster in reach.
JOB = """#!/bin/sh
echo "$PWD $RAY_ADDRESS $*" > told
"""


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def await_file(path: Path, process: subprocess.Popen[bytes], log: Path, seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while not path.is_file() or not path.read_text():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)
    return path.read_text()


def with_programs(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment in which programs of a folder come first, and no token lies about."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    home = folder / "home"
    home.mkdir()
    path = f"{folder / 'bin'}:{BINARIES}:{kept['PATH']}"
    return {**kept, "PATH": path, "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0", **more}


def await_agent(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the agent that starts jobs: a look costs nothing, a submission seconds of CPU."""
    deadline = time.monotonic() + LONGEST_S
    request = f"http://127.0.0.1:{port}/api/local_raylet_healthz"
    while True:
        with suppress(httpx.TransportError):
            if httpx.get(request, headers={"Authorization": f"Bearer {TOKEN}"}).is_success:
                return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def sockets() -> Iterator[str]:
    """A folder whose name is short enough for what Ray puts below it."""
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        yield folder


def start(
    command: list[str], env: Mapping[str, str], cwd: Path, log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            command, env=env, cwd=cwd, stdout=output, stderr=output, start_new_session=True
        )


def end(process: subprocess.Popen[bytes]) -> None:
    """End what was started, and whatever it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_slurm_job_gives_ray_the_nodes_cores_and_a_token_and_hands_the_signal_on(
    tmp_path: Path, log: Path, sockets: str
) -> None:
    before = running_pids()
    write_program(tmp_path / "bin/srun", SRUN)
    write_program(tmp_path / "bin/scontrol", SCONTROL)
    write_program(tmp_path / ".venv/bin/ray", f'#!/bin/sh\nexec {BINARIES}/ray "$@"\n')
    write_program(tmp_path / ".venv/bin/opencharacter", RUN)
    env = with_programs(
        tmp_path,
        SLURM_SUBMIT_DIR=str(tmp_path),
        SLURM_JOB_NODELIST="node1",
        SLURM_JOB_NUM_NODES="1",
        SLURM_CPUS_PER_TASK=str(CORES),
        RAY_PORT=str(find_port()),
        RAY_TMPDIR=sockets,
    )
    script = str(ROOT / "infra/deploy/slurm/run.sbatch")
    process = start(["bash", script, "configs/demo.yaml"], env, tmp_path, log)
    try:
        told = await_file(tmp_path / "told", process, log, LONGEST_S)
        assert told == f"run configs/demo.yaml on {CORES} cpus of {CORES} cores"
        process.send_signal(signal.SIGTERM)  # to the script alone, as Slurm's B: does
        deadline = time.monotonic() + 60
        while not (tmp_path / "stopped").exists():
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
    finally:
        end(process)
    await_no_leftovers(before)


def test_the_ray_job_runs_on_the_head_in_its_folder_with_its_address(
    tmp_path: Path, log: Path, sockets: str
) -> None:
    """KubeRay hands the entry point to a shell of the submitter behind `ray job submit … --`."""
    before = running_pids()
    write_program(tmp_path / "bin/opencharacter", JOB)
    submitter = tmp_path / "submitter"
    submitter.mkdir()
    # The agent's usual port may be taken: other tests have a Ray of their own.
    port, dashboard, agent = find_port(), find_port(), find_port()
    env = with_programs(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=TOKEN)
    ports = [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
    head = ["ray", "start", "--head", "--block", f"--port={port}", *ports]
    process = start([*head, "--num-cpus=1", f"--temp-dir={sockets}"], env, tmp_path, log)
    job = yaml.safe_load((ROOT / "infra/deploy/kubernetes/rayjob.yaml").read_text())["spec"]
    submit = f"ray job submit --address=http://127.0.0.1:{dashboard} -- {job['entrypoint']}"
    elsewhere = {**env, "PATH": f"{BINARIES}:{os.environ['PATH']}"}
    try:
        await_agent(agent, process, log)
        deadline = time.monotonic() + 60
        while True:
            done = subprocess.run(
                ["sh", "-c", submit],
                env=elsewhere, cwd=submitter, capture_output=True, text=True, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                break
            # The head may hear of its agent a little later than it answers.
            assert process.poll() is None and time.monotonic() < deadline, done.stderr[-2000:]
            time.sleep(1)
        folder, address, *arguments = (tmp_path / "told").read_text().split()
        assert folder == str(tmp_path) and address.endswith(f":{port}")
        assert ["opencharacter", *arguments] == job["entrypoint"].split()
    finally:
        end(process)
    await_no_leftovers(before)
