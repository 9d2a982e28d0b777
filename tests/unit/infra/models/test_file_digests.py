"""Proves that a file is digested once, and again once it changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.models import file_digests
from infra.models.exported import digest_file


def test_a_digest_is_kept_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read: list[Path] = []

    def watch(path: Path) -> str:
        read.append(path)
        return digest_file(path)

    monkeypatch.setattr(file_digests, "digest_file", watch)
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = file_digests.digest_once(path)
    assert file_digests.digest_once(path) == first == digest_file(path)
    assert len(read) == 1
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert file_digests.digest_once(path) == digest_file(path) != first
    assert len(read) == 2
