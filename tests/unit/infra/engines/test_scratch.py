"""Checks that an engine's temporary files go with it, or with the next engine if it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from infra.engines.vllm import scratch
from infra.engines.vllm.scratch import drop_scratch, take_scratch


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own, however long its name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr(scratch, "_LONGEST_FOLDER", 1000)
    return tmp_path


def test_what_is_temporary_is_in_a_folder_that_goes_in_the_end(usual: Path) -> None:
    folder = take_scratch()
    found = subprocess.run(
        [sys.executable, "-c", "import tempfile; print(tempfile.mkdtemp())"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert Path(found.stdout.strip()).parent == folder == Path(tempfile.gettempdir())
    drop_scratch(folder)
    assert list(usual.iterdir()) == [] and tempfile.gettempdir() == str(usual)


def test_compiled_code_stays_where_the_next_engine_looks_for_it(usual: Path) -> None:
    drop_scratch(take_scratch())
    kept = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    assert kept.parent == usual and kept.name.startswith("torchinductor_")


def test_of_killed_engines_the_next_one_clears_away_and_of_living_ones_not(usual: Path) -> None:
    code = "from infra.engines.vllm import scratch; scratch._LONGEST_FOLDER = 1000; "
    code += "import os; folder = scratch.take_scratch(); (folder / 'socket').touch(); "
    code += "print(folder, flush=True); os._exit(9)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    (left,) = usual.iterdir()
    assert str(left) == done.stdout.strip()
    other = usual / left.name.replace("engine-", "engine-7", 1)  # of another container
    other.mkdir()
    living = take_scratch()
    tempfile.tempdir = str(usual)
    mine = take_scratch()
    assert sorted(usual.iterdir()) == sorted([other, living, mine])


def test_the_path_of_a_socket_is_short_enough_for_the_system(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "_LONGEST_FOLDER", 10)
    folder = take_scratch()
    try:
        assert folder.parent == Path("/tmp")
        assert len(str(folder)) + 38 < 108
    finally:
        drop_scratch(folder)
