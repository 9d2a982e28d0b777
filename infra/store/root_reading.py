"""Reads the storage root a person names; no address becomes a folder of that name by mistake."""

from __future__ import annotations

import re
from pathlib import Path

from infra.errors import ConfigError, Problem

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?=/|\\|$)")
_WEB = ("http", "https", "file", "s3", "s3a", "gs", "gcs", "az", "abfs", "hf", "hdfs", "ftp")
_TODO = "give a folder of this machine, or s3://bucket/prefix"


def read_root(text: str) -> str:
    """Return a storage root as it is kept: an ``s3://`` address, or an absolute path.

    A leading ``~`` is the home folder. Raises :class:`ConfigError` for what is neither.
    """
    fault = _find_fault(text)
    if fault is not None:
        shown = text if len(text) <= 200 else f"{text[:200]}…"
        raise ConfigError(Problem(f"storage root {shown!r}", *fault))
    if text.startswith("s3://"):
        return text.rstrip("/")
    try:
        return str(Path(text).expanduser().resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(Problem(f"storage root {text[:200]!r}", str(error), _TODO)) from error


def _find_fault(text: str) -> tuple[str, str] | None:
    """Return what is wrong with a root and what to do; ``None`` if nothing is."""
    if not text.strip():
        return "is empty", _TODO
    if "\0" in text or any(ord(mark) < 32 for mark in text):
        return "holds control characters", _TODO
    if text.startswith("s3://"):
        bucket = text.removeprefix("s3://").partition("/")[0]
        return None if bucket.strip() else ("names no bucket", "write s3://bucket/prefix")
    if re.match(r"\$\{?\w", text):
        return "holds a variable that nobody fills in", "write the path out, or use ~ for home"
    found = _SCHEME.match(text)
    scheme = (found[1] if found else text.partition(":")[0]).lower()
    if found is None and (":" not in text or scheme not in _WEB):
        return None
    if scheme in ("s3", "s3a"):
        return "is no address on S3", "write s3://bucket/prefix, in small letters"
    if scheme == "file":
        return "is an address, and a path is wanted", f"leave {text[:5]}// out"
    if found is not None and len(scheme) == 1:
        return "is a path of another system", _TODO
    return f"is an address of kind {scheme}, where no store can be kept", _TODO
