"""Proves that a lock keeps others out and lets them in afterwards."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from infra.file_locks import keep_alone


def test_nobody_else_gets_in_until_it_is_left_even_by_an_error(tmp_path: Path) -> None:
    kept = tmp_path / "model"
    with pytest.raises(RuntimeError), keep_alone(kept):
        with (tmp_path / ".model.lock").open("w") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        raise RuntimeError
    with (tmp_path / ".model.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert not kept.exists()
