"""Drives a headless Chromium over its DevTools protocol, and hears what goes wrong in a page."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import connect
from websockets.sync.connection import Connection

_ANSWER_S = 60.0
_START_S = 60.0


class Page:
    """Is one page of the browser.

    Attributes:
        problems: Exceptions, console errors and dialogs, in the order they came.
        requests: Addresses that the page asked for.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._numbers = count(1)
        self._loaded = False
        self.problems: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        number = next(self._numbers)
        self._send(number, method, parameters)
        while True:
            message = self._receive()
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                found: dict[str, Any] = message["result"]
                return found

    def open(self, address: str) -> None:
        """Open an address and wait until all of it is loaded."""
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page; promises are awaited."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def start_anew(self) -> None:
        """Forget what happened, and be a desk's size and light again."""
        self.problems.clear()
        self.requests.clear()
        self.prefer("light")
        self.resize(1280, 900)

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page another size, and on a phone another way to lay itself out."""
        scale = 2 if phone else 1
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=phone,
        )  # fmt: skip

    def prefer(self, scheme: str) -> None:
        """Let the reader prefer a light or a dark page."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def photograph(self, path: Path, *, whole: bool = False) -> Path:
        """Write a picture of what is seen, or of the whole page, however long."""
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(b64decode(found["data"]))
        return path

    def _send(self, number: int, method: str, parameters: dict[str, Any]) -> None:
        message = {"id": number, "method": method, "params": parameters}
        self._connection.send(json.dumps(message))

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._connection.recv(timeout=_ANSWER_S))
        self._hear(message.get("method", ""), message.get("params", {}))
        return message

    def _hear(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.problems.append(json.dumps(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(json.dumps(parameters["entry"]))
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {parameters['message']}")
            self._send(next(self._numbers), "Page.handleJavaScriptDialog", {"accept": True})


@contextmanager
def open_chromium(profile: Path) -> Iterator[Page]:
    """Start Chromium with an empty profile and give its one page."""
    program = shutil.which("chromium")
    if program is None:
        raise RuntimeError("chromium is not installed: apt-get install chromium")
    command = [
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank",
    ]  # fmt: skip
    log = profile.with_suffix(".log")
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
        try:
            port = _await_port(profile / "DevToolsActivePort", process, log)
            targets = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
            address = next(
                item["webSocketDebuggerUrl"] for item in targets if item["type"] == "page"
            )
            with connect(address, max_size=None, proxy=None) as connection:
                yield Page(connection)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _await_port(file: Path, process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"chromium ended: {log.read_text(errors='replace')[-2000:]}")
        if file.is_file() and (lines := file.read_text().split("\n")) and lines[0]:
            return int(lines[0])
        time.sleep(0.05)
    raise RuntimeError(f"chromium did not start: {log.read_text(errors='replace')[-2000:]}")
