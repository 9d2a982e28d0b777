"""Digests large files once: the digest is kept in the user's cache by path, size and time."""

from __future__ import annotations

import os
from pathlib import Path

from infra.models.exported import digest_file
from infra.paths import user_cache
from infra.store.fingerprints import hash_parts


def digest_once(path: Path) -> str:
    """Return a file's digest (BLAKE2b, 128 bits, hexadecimal); read again only once changed."""
    stat = path.stat()
    name = hash_parts(str(path.resolve()), str(stat.st_size), str(stat.st_mtime_ns))
    kept = user_cache("digests") / name
    if kept.is_file():
        return kept.read_text(encoding="utf-8")
    digest = digest_file(path)
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_name(f"{name}.{os.getpid()}.tmp")
    temporary.write_text(digest, encoding="utf-8")
    temporary.replace(kept)
    return digest
