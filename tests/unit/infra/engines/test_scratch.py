"""Checks that an engine's temporary files go with it, or with the next engine if it was killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from infra.engines.vllm import scratch
from infra.engines.vllm.scratch import drop_scratch, take_scratch
from infra.process_life import read_birth


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own, however long its name."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    monkeypatch.setattr(scratch, "_LONGEST_SOCKET", 1000)
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
    code = "from infra.engines.vllm import scratch; scratch._LONGEST_SOCKET = 1000; "
    code += "import os; folder = scratch.take_scratch(); (folder / 'socket').touch(); "
    code += "print(folder, flush=True); os._exit(9)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    (left,) = usual.iterdir()
    assert str(left) == done.stdout.strip()
    other = usual / left.name.replace("oc-engine-", "oc-engine-7", 1)  # of another container
    other.mkdir()
    living = take_scratch()
    tempfile.tempdir = str(usual)
    mine = take_scratch()
    assert sorted(usual.iterdir()) == sorted([other, living, mine])


def test_the_path_of_a_socket_is_short_enough_for_the_system(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the usual folder as long as that can be, else in ``/tmp``."""
    monkeypatch.undo()
    own = len(f"/oc-engine-123456-{os.getpid()}-{read_birth(os.getpid())}-12345678") + 37
    with tempfile.TemporaryDirectory(prefix="x") as folder:
        for length, fits in ((107 - own, True), (108 - own, False)):
            base = Path(folder.ljust(length, "x"))
            base.mkdir(exist_ok=True)
            with monkeypatch.context() as patched:
                patched.setattr(tempfile, "tempdir", str(base))
                patched.setenv("TMPDIR", str(base))
                made = take_scratch()
                assert made.parent == (base if fits else Path("/tmp"))
                address = str(made / f"{uuid.uuid4()}")
                with socket.socket(socket.AF_UNIX) as one:
                    one.bind(address)
                drop_scratch(made)
            base.rmdir()


def test_a_user_without_a_name_has_a_cache_too(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr(scratch, "getuser", fail)
    drop_scratch(take_scratch())
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"].endswith(f"torchinductor_uid_{os.getuid()}")
