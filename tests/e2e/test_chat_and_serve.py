"""Talks with the demo's teacher as a user would: on a terminal, through a pipe, over HTTP."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from infra.cluster.ports import find_port
from tests.e2e.processes import await_no_leftovers, run_command, running_pids
from tests.e2e.terminal import Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PERSONA = "A retired baker from Cork who likes long walks."
KEY_VARIABLE, KEY = "OC_E2E_SERVE_KEY", "sk-serve-e2e-0917"
START_TIMEOUT_S = 180


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for what is temporary, with a name that is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="chat-") as folder:
        yield Path(folder)


def chat_command(tmp_path: Path, *more: str) -> list[str]:
    root = f"storage.root={tmp_path / 'store'}"
    return ["chat", "configs/demo.yaml", "--set", root, "--persona", PERSONA, *more]


def test_a_chat_on_a_terminal_with_a_profile_that_the_teacher_writes(
    tmp_path: Path, temporary: Path
) -> None:
    before = running_pids()
    more = ("--model", "teacher", "--profile", "make", "--system", "show", "--temperature", "0")
    terminal = Terminal(chat_command(tmp_path, *more), {"TMPDIR": str(temporary)})
    shown = terminal.read_until("you> ", START_TIMEOUT_S)
    assert "# Character Profile" in shown and "/reset forgets" in shown
    name = re.search(r"Name: ([^\r\n]+)", shown)
    assert name is not None

    # Ctrl-C reaches the whole foreground group; the engine must not be in it.
    family = psutil.Process(terminal.pid).children(recursive=True)
    called = {process: " ".join([*process.cmdline(), process.name()]) for process in family}
    engines = [process for process, words in called.items() if "EngineCore" in words]
    assert engines, called
    for process in engines:
        assert os.getpgid(process.pid) != os.getpgid(terminal.pid)

    terminal.type("How do I look after roses?\n")
    first = terminal.read_until("you> ")
    answer = first.split(f"{name.group(1)}> ")[1].removesuffix("you> ")
    assert len(answer.split()) > 5
    terminal.type("/system\n")
    assert "# Persona" in terminal.read_until("you> ")
    terminal.type("And in winter?\n")
    assert f"{name.group(1)}> " in terminal.read_until("you> ")
    time.sleep(0.5)  # no person is as quick as to hit the moment before readline waits for input
    terminal.type("\x03")
    assert terminal.wait() == 0
    await_no_leftovers(before)
    left = {path.name for path in temporary.iterdir()}
    assert left <= {f"torchinductor_{getuser()}"}, "but for code that the next engine can use"


@contextmanager
def serving(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [
        *(sys.executable, "-m", "flows.cli", "serve", "configs/demo.yaml"),
        *("--set", f"storage.root={tmp_path / 'store'}", "--model", "teacher"),
        *("--port", str(port), "--api-key", f"env:{KEY_VARIABLE}", "--name", "baker"),
    ]
    environment = {**os.environ, KEY_VARIABLE: KEY, "HF_HUB_OFFLINE": "1"}
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def test_a_served_model_answers_clients_and_chats_until_it_is_stopped(tmp_path: Path) -> None:
    before = running_pids()
    port = find_port()
    url = f"http://127.0.0.1:{port}/v1"
    with serving(tmp_path, port) as process:
        assert process.stdout is not None
        ready = select.select([process.stdout], [], [], START_TIMEOUT_S)[0]
        assert ready and process.poll() is None, (tmp_path / "log").read_text()[-3000:]
        assert f"baker is served at {url}" in process.stdout.readline()
        everything = " ".join(
            word for one in psutil.process_iter(["cmdline"]) for word in one.info["cmdline"] or []
        )
        assert KEY not in everything

        assert httpx.get(f"{url}/models", timeout=10).status_code == 401
        body = {
            "model": "baker",
            "messages": [{"role": "user", "content": "How do I look after roses?"}],
            "max_tokens": 200,
            "temperature": 0,
        }
        headers = {"Authorization": f"Bearer {KEY}"}
        reply = httpx.post(f"{url}/chat/completions", json=body, headers=headers, timeout=60)
        choice = reply.json()["choices"][0]
        assert choice["finish_reason"] == "stop"
        assert len(choice["message"]["content"].split()) > 5

        endpoint = {
            "engine": "endpoint",
            "model": "baker",
            "base_url": url,
            "api_key": f"env:{KEY_VARIABLE}",
        }
        talked = subprocess.run(
            [
                *(sys.executable, "-m", "flows.cli", *chat_command(tmp_path, "--model", "served")),
                *("--set", f"models.served={json.dumps(endpoint)}", "--temperature", "0"),
            ],
            env={**os.environ, KEY_VARIABLE: KEY},
            input="How do I look after roses?\n/reset\nHow do I look after roses?\n",
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert talked.returncode == 0, talked.stderr[-3000:]
        first, second = talked.stdout.splitlines()
        assert first == second
        assert len(first.split()) > 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    await_no_leftovers(before)


def test_chatting_before_training_says_what_to_do(tmp_path: Path) -> None:
    done = run_command(chat_command(tmp_path), {})
    assert done.returncode == 2
    assert "`opencharacter run` it first, or choose --model: " in done.stderr
