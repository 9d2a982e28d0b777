"""Serves a small hub on the loopback: what pushes and downloads need of it, kept in memory.

It checks what the real one checks (token, parent commit, that large contents were uploaded) and
can be told to fail. Files of :data:`LARGE_BYTES` or more are large, but for cards, so that both
ways are walked.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.e2e.loopback_server import serve_on_loopback

LARGE_BYTES = 2_000
TOKEN = "hub-token-of-the-tests"
USER = "tester"

_REPOSITORY = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/(.*))?")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([0-9a-f]+)/(.+)")
_BATCH = re.compile(r"/(?:datasets/)?([^/]+/[^/]+)\.git/info/lfs/objects/batch")


@dataclass
class Repository:
    """Is a repository: its files at the head, and every commit's summary, the newest last."""

    kind: str
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[tuple[str, str]] = field(default_factory=list)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def commit(self, summary: str) -> str:
        before = self.commits[-1][0] if self.commits else ""
        content = json.dumps(
            sorted((n, hashlib.sha1(d).hexdigest()) for n, d in self.files.items())
        )
        name = hashlib.sha1(f"{before}{summary}{content}".encode()).hexdigest()
        self.commits.append((name, summary))
        return name


@dataclass
class SmallHub:
    """Is what the server knows, for tests to look into and to disturb.

    Attributes:
        requests: Method and path of every request, in order.
        failures: How many of the next requests whose path holds a text get which status.
        lose_commits: How many of the next commits are made but answered with 503.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    failures: dict[str, list[int]] = field(default_factory=dict)
    lose_commits: int = 0

    def add(self, kind: str, name: str, *, private: bool, **files: bytes) -> Repository:
        made = Repository(kind, private, {".gitattributes": b"", **files})
        made.commit("initial commit")
        self.repositories[name] = made
        return made

    def count(self, text: str) -> int:
        return sum(text in request for request in self.requests)


@contextmanager
def run_hub() -> Iterator[SmallHub]:
    """Serve a hub until the context closes."""
    hub = SmallHub()
    with serve_on_loopback(_Handler, known=hub) as address:
        hub.url = address
        yield hub


class _Handler(BaseHTTPRequestHandler):
    known: SmallHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        path = self.path.partition("?")[0]
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._read_chunks()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.known.requests.append(f"{self.command} {path}")
        for text, statuses in self.known.failures.items():
            if text in path and statuses:
                self._answer(statuses.pop(0), {"error": "told to fail"})
                return
        if path.startswith("/contents/"):
            self._take_content(path, body)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid credentials"}, "Invalid credentials")
        elif path == "/api/whoami-v2":
            self._answer(200, {"type": "user", "name": USER, "orgs": []})
        elif path == "/api/validate-yaml":
            self._validate(json.loads(body))
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif found := _BATCH.fullmatch(path):
            self._offer_uploads(found[1], json.loads(body))
        elif found := _FILE.fullmatch(path):
            self._give_file(found[1], found[2], found[3])
        elif found := _REPOSITORY.fullmatch(path):
            self._serve_repository(found[2], found[3] or "", body)
        else:
            self._answer(404, {"error": f"nothing at {path}"})

    def _serve_repository(self, name: str, rest: str, body: bytes) -> None:
        found = self.known.repositories.get(name)
        if found is None:
            self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")
        elif rest in ("", "revision/main", f"revision/{found.head}"):
            siblings = [
                {"rfilename": file, "size": len(found.files[file])} for file in sorted(found.files)
            ]
            facts = {"id": name, "sha": found.head, "private": found.private}
            self._answer(200, {**facts, "siblings": siblings, "tags": [], "downloads": 0})
        elif rest == f"tree/{found.head}":
            self._answer(200, [_describe(*item) for item in sorted(found.files.items())])
        elif rest == "preupload/main":
            files = json.loads(body)["files"]
            self._answer(200, {"files": [_judge(found, file) for file in files]})
        elif rest == "commit/main":
            self._commit(name, found, [json.loads(line) for line in body.splitlines()])
        else:
            self._answer(404, {"error": f"nothing at {rest}"})

    def _give_file(self, name: str, commit: str, file: str) -> None:
        found = self.known.repositories.get(name)
        if found is None or commit != found.head or file not in found.files:
            self._answer(404, {"error": "Entry not found"}, code="EntryNotFound")
            return
        data = found.files[file]
        self.send_response(200)
        self.send_header("ETag", f'"{_describe(file, data)["oid"]}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _validate(self, request: Mapping[str, Any]) -> None:
        if request["content"].startswith("---\n"):
            self._answer(200, {"errors": [], "warnings": []})
        else:
            self._answer(400, {"errors": [{"message": "no metadata"}], "warnings": []})

    def _create(self, request: Mapping[str, Any]) -> None:
        name = f"{request['organization']}/{request['name']}"
        if request["organization"] != USER:
            self._answer(403, {"error": "You have no right to create there"})
        elif name in self.known.repositories:
            self._answer(409, {"error": "You already created it"})
        else:
            kind = request.get("type", "model")
            self.known.add(kind, name, private=request.get("visibility") == "private")
            self._answer(200, {"url": f"{self.known.url}/{name}", "name": name})

    def _offer_uploads(self, name: str, request: Mapping[str, Any]) -> None:
        objects = []
        for wanted in request["objects"]:
            offer: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.known.contents:
                upload = {"href": f"{self.known.url}/contents/{wanted['oid']}"}
                offer["actions"] = {"upload": upload}
            objects.append(offer)
        self._answer(200, {"transfer": "basic", "objects": objects})

    def _take_content(self, path: str, body: bytes) -> None:
        name = path.rsplit("/", 1)[-1]
        if hashlib.sha256(body).hexdigest() != name:
            self._answer(400, {"error": "another content than was announced"})
            return
        self.known.contents[name] = body
        self._answer(200, {})

    def _commit(self, name: str, found: Repository, lines: list[dict[str, Any]]) -> None:
        header, *operations = lines
        parent = header["value"].get("parentCommit")
        if parent not in (None, found.head):
            self._answer(412, {"error": "A commit has happened since"})
            return
        files = dict(found.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.known.contents[value["oid"]]
            elif operation["key"] == "deletedFile":
                del files[value["path"]]
        found.files = files
        commit = found.commit(header["value"]["summary"])
        if self.known.lose_commits:
            self.known.lose_commits -= 1
            self._answer(503, {"error": "lost"})
            return
        url = f"{self.known.url}/{name}/commit/{commit}"
        self._answer(200, {"commitUrl": url, "commitOid": commit, "success": True})

    def _read_chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, content: object, message: str = "", code: str = "") -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if message:
            self.send_header("X-Error-Message", message)
        if code:
            self.send_header("X-Error-Code", code)
        self.end_headers()
        self.wfile.write(data)


def _describe(path: str, data: bytes) -> dict[str, Any]:
    """Describe a file as a listing does."""
    git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": git}


def _judge(found: Repository, file: Mapping[str, Any]) -> dict[str, Any]:
    """Say how a file is to come, and which content of that name is there already."""
    large = file["size"] >= LARGE_BYTES and not file["path"].endswith(".md")
    verdict = {"path": file["path"], "uploadMode": "lfs" if large else "regular"}
    present = found.files.get(file["path"])
    oid = None
    if present is not None:
        git = hashlib.sha1(f"blob {len(present)}\0".encode() + present).hexdigest()
        oid = hashlib.sha256(present).hexdigest() if large else git
    return {**verdict, "shouldIgnore": False, **({"oid": oid} if oid else {})}
