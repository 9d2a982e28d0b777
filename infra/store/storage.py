"""Reads and writes files below one root, on a local disk or on S3, atomically.

This is the only door to fsspec and s3fs. A write is visible whole or not at all: a temporary
file and a rename on a local disk, one PUT on S3. Hiccups are retried with bounded backoff
(:mod:`infra.retrying`), so that no caller has to.

On S3 botocore tries one request up to four times, and one operation is tried up to five times
here. s3fs's own five tries on top are switched off, and so are its cached listings: others write
below the same root, and a file that a stale listing does not know would seem to be missing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import fsspec

from infra.errors import ConfigError, DiskFull, Problem, StorageError
from infra.file_locks import keep_alone
from infra.retrying import retry
from infra.store.root_reading import read_root

_REQUEST_ATTEMPTS = 4
_BLOCK_BYTES = 1 << 20
_PROBE_BYTES = 1 << 16
_RANGE_BYTES = 32 << 20
_RANGES_AT_ONCE = 8
_FULL = (errno.ENOSPC, errno.EDQUOT)
_SWAPS = "opencharacter-swaps"
_REFUSALS, _GONE = (409, 412), 404
"""Answers of S3 to a condition that does not hold: to a race, to another version, to none."""


@dataclass(frozen=True, slots=True)
class FileStat:
    """What a listing tells of a file; ``token`` (time or ETag) moves when it is rewritten."""

    path: str
    size: int
    token: str


@dataclass(frozen=True, slots=True)
class FileVersion:
    """Content of a file, and the token that moves when it is rewritten."""

    data: bytes
    token: str


class Fence(Protocol):
    """Right to write below a root; who lost it gets :class:`~infra.errors.RootLost`."""

    def check(self) -> None:
        """Raise if the right is known to be lost, or may be and is."""

    def confirm(self) -> None:
        """Raise if the right is lost, by what the root says now."""


class Storage:
    """One storage root; paths given to its methods are relative to it. Picklable, opens lazily.

    ``fence`` is asked before every write of the process that holds the root; copies that travel
    have none: what workers write is new, and nobody reads it but through a manifest.
    """

    def __init__(self, root: str) -> None:
        self.root = read_root(root)
        self.fence: Fence | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "fence": None}

    def url(self, path: str = "") -> str:
        """Return the full address of a file below the root."""
        return f"{self.root}/{path}" if path else self.root

    def check_writable(self) -> None:
        """Raise :class:`ConfigError` unless a file can be written and removed below the root."""
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(probe, bytes(_PROBE_BYTES))  # a full disk takes an empty file
            self.remove(probe)
        except (OSError, StorageError, DiskFull) as error:
            raise ConfigError(
                Problem(
                    self.root,
                    f"the storage root cannot be written: {error}",
                    "choose another --set storage.root or fix its permissions",
                )
            ) from error

    def read_bytes(self, path: str) -> bytes:
        """Read a whole file; :class:`FileNotFoundError` if there is none."""
        return retry(lambda: _read_whole(self.url(path)))

    def read_range(self, path: str, start: int, length: int) -> bytes:
        """Read so many bytes from ``start`` on, fewer at the end of the file; one request."""
        end = start + length
        return retry(
            lambda: cast(bytes, _system(self.root).cat_file(self.url(path), start=start, end=end))
        )

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a file so that readers see all of it or nothing."""
        self._check_fence()
        retry(lambda: self._write(path, data))

    def commit(self, path: str, data: bytes) -> None:
        """Write a file that says that something is done; only who holds the root does.

        A process that is frozen between its last look at the lock and the write, for however
        long, does not write over what the next holder has committed meanwhile.
        """
        if self.fence is None:
            self.write_bytes(path, data)
            return
        while True:
            before = self.read_version(path)
            self.fence.confirm()
            if self.swap(path, before, data):
                return

    def read_version(self, path: str) -> FileVersion | None:
        """Read a whole file with its token; ``None`` if there is none.

        The token may be older than the content: then :meth:`swap` refuses it.
        """
        stat = self.stat(path)
        if stat is not None:
            with suppress(FileNotFoundError):
                return FileVersion(self.read_bytes(path), stat.token)
        return None

    def swap(self, path: str, before: FileVersion | None, data: bytes) -> bool:
        """Write a file if it is still the version given (``None``: still absent); tell if it was.

        On S3 the PUT has a condition, on a local disk the root's lock file is held meanwhile.
        """
        if is_remote(self.root):
            token = before.token if before is not None else None
            done = retry(lambda: _put_if_unchanged(self.url(path), token, data))
            if done:
                return True
            now = self.read_version(path)  # of a PUT whose answer was lost the second is refused
            return now is not None and now.data == data
        with keep_alone(Path(self.url(_SWAPS))):
            now = self.read_version(path)
            if (now and now.data) != (before and before.data):
                return False
            retry(lambda: self._write(path, data))
            return True

    def upload(self, path: str, local: Path) -> None:
        """Copy a finished local file below the root, block by block, whole or not at all."""
        self._check_fence()
        retry(lambda: self._upload(path, local))

    def download(self, path: str, local: Path) -> None:
        """Copy a file below the root to a local path, block by block; the caller renames it.

        From S3 it comes in ranges, each tried again by itself: a connection that breaks after
        gigabytes does not start them over.
        """
        if not is_remote(self.root):
            retry(lambda: cast(None, _system(self.root).get_file(self.url(path), str(local))))
            return
        size = retry(lambda: _measure(self.url(path)))
        with local.open("wb") as file, ThreadPoolExecutor(_RANGES_AT_ONCE) as pool:
            file.truncate(size)

            def fetch(start: int) -> None:
                data = self.read_range(path, start, min(_RANGE_BYTES, size - start))
                os.pwrite(file.fileno(), data, start)

            list(pool.map(fetch, range(0, size, _RANGE_BYTES)))

    def stat(self, path: str) -> FileStat | None:
        """Describe a file, or return ``None`` if there is none."""
        try:
            return retry(lambda: _stat(_system(self.root).info(self.url(path)), path))
        except FileNotFoundError:
            return None

    def list(self, folder: str, suffix: str = "") -> list[FileStat]:
        """List the files directly in a folder, sorted by name; a missing folder is empty."""
        try:
            entries = retry(lambda: _system(self.root).ls(self.url(folder), detail=True))
        except FileNotFoundError:
            return []
        stats = [
            _stat(entry, f"{folder}/{entry['name'].rsplit('/', 1)[-1]}")
            for entry in entries
            if _is_file(entry) and entry["name"].endswith(suffix)
        ]
        return sorted(stats, key=lambda stat: stat.path)

    def walk(self, folder: str, suffix: str = "") -> tuple[str, ...]:
        """List the paths of all files below a folder, sorted; a missing folder is empty."""
        try:
            found = retry(lambda: _system(self.root).find(self.url(folder)))
        except FileNotFoundError:
            return ()
        prefix = self.root.removeprefix("s3://") + "/"
        files = (str(name) for name in found if not _marks_folder(str(name)))
        paths = (name.removeprefix("s3://").removeprefix(prefix) for name in files)
        return tuple(sorted(path for path in paths if path.endswith(suffix)))

    def move(self, path: str, target: str) -> None:
        """Rename a file below the root; what lies at the target is replaced."""
        self._check_fence()
        if is_remote(self.root):
            retry(lambda: _system(self.root).copy(self.url(path), self.url(target)))
            self.remove(path)
        else:
            retry(lambda: Path(self.url(path)).replace(self.url(target)))

    def remove(self, path: str) -> None:
        """Remove a file; removing what is not there is no error."""
        self._check_fence()
        try:
            retry(lambda: _system(self.root).rm_file(self.url(path)))
        except FileNotFoundError:
            return

    def _check_fence(self) -> None:
        if self.fence is not None:
            self.fence.check()

    def _write(self, path: str, data: bytes) -> None:
        if is_remote(self.root):
            _system(self.root).pipe_file(self.url(path), data)
            return
        with self._replacing(path) as file:
            file.write(data)

    def _upload(self, path: str, local: Path) -> None:
        if is_remote(self.root):
            _system(self.root).put_file(str(local), self.url(path))
            return
        with local.open("rb") as source, self._replacing(path) as file:
            shutil.copyfileobj(source, file, _BLOCK_BYTES)

    @contextmanager
    def _replacing(self, path: str) -> Iterator[BinaryIO]:
        target = Path(self.url(path))
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in _FULL:
                raise DiskFull(_say_full(target, error)) from error
            raise


def is_remote(path: str) -> bool:
    """Tell an ``s3://`` address from a local path."""
    return path.startswith("s3://")


def find_inputs(source: str, suffixes: Sequence[str]) -> list[FileStat]:
    """Find the files a user named: one file, a glob, or a folder searched for the suffixes.

    Returns them sorted by path with absolute addresses; :class:`FileNotFoundError` if none.
    """
    remote = is_remote(source)
    address = source if remote else str(Path(source).absolute())
    system = _system(address)

    def search() -> list[FileStat]:
        if any(mark in address for mark in "*?[") and not system.exists(address):
            found = system.glob(address, detail=True)
        elif system.isdir(address):
            found = system.find(address, detail=True)
            found = {
                name: info for name, info in found.items() if name.lower().endswith(tuple(suffixes))
            }
        else:
            found = {address: system.info(address)}
        prefix = "s3://" if remote else ""
        return [
            _stat(info, prefix + name.removeprefix("s3://"))
            for name, info in sorted(found.items())
            # A Hugging Face cache holds links only, which fsspec lists as of another type.
            if _is_file(info) or (info.get("islink") and system.isfile(name))
        ]

    files = retry(search)
    if not files:
        raise FileNotFoundError(address)
    return files


def open_input(path: str) -> BinaryIO:
    """Open a user's file for reading bytes; S3 objects are fetched whole, with retries."""
    if is_remote(path):
        return BytesIO(retry(lambda: _read_whole(path)))
    return Path(path).open("rb")


def digest_input(stat: FileStat) -> str:
    """Return what tells one version of an input file from another: its hash, or its ETag."""
    if is_remote(stat.path):
        return f"etag:{stat.token}:{stat.size}"
    digest = hashlib.blake2b(digest_size=16)
    with Path(stat.path).open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def forget_connections() -> None:
    """Have the next S3 operation read endpoint and credentials anew."""
    if "s3fs" in sys.modules:
        fsspec.get_filesystem_class("s3").clear_instance_cache()


def _system(path: str) -> Any:
    if not is_remote(path):
        return fsspec.filesystem("file")
    retries = {"mode": "standard", "total_max_attempts": _REQUEST_ATTEMPTS}
    system = fsspec.filesystem("s3", use_listings_cache=False, config_kwargs={"retries": retries})
    system.retries = 1
    return system


def _read_whole(address: str) -> bytes:
    # With more than one transfer at once s3fs asks for the size first: a second request.
    alone = {"max_concurrency": 1} if is_remote(address) else {}
    return cast(bytes, _system(address).cat_file(address, **alone))


def _put_if_unchanged(address: str, token: str | None, data: bytes) -> bool:
    """PUT an object if its ETag is still the token, or without one if there is no such object."""
    condition = {"IfNoneMatch": "*"} if token is None else {"IfMatch": f'"{token}"'}
    try:
        _system(address).pipe_file(address, data, **condition)
    except OSError as error:
        answer: dict[str, Any] = getattr(error.__cause__, "response", {})
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if status in _REFUSALS or (status == _GONE and token is not None):
            return False
        raise
    return True


def _measure(address: str) -> int:
    info: dict[str, Any] = _system(address).info(address)
    if info["type"] != "file":
        raise FileNotFoundError(address)
    return int(info["size"])


def _is_file(info: dict[str, Any]) -> bool:
    return info["type"] == "file" and not _marks_folder(str(info["name"]))


def _marks_folder(name: str) -> bool:
    """Tell the empty objects by which consoles and sync tools mark folders on S3 from files."""
    return name.endswith("/")


def _stat(info: dict[str, Any], path: str) -> FileStat:
    token = info.get("ETag") or info.get("mtime") or ""
    return FileStat(path, int(info["size"] or 0), str(token).strip('"'))


def _say_full(target: Path, error: OSError) -> str:
    return (
        f"no room left where {target} was to be written ({error.strerror}). Everything committed "
        "is kept: make room (`opencharacter gc --keep 1 --dry-run` says what can go), then run the "
        "same command again."
    )
