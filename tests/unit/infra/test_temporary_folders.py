"""Checks that a temporary folder goes with its process, or with the next one if that was killed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from infra.temporary_folders import name_owned, sweep_folders, take_folder, temporary_folder


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_block(usual: Path) -> None:
    with pytest.raises(OSError, match="full"), temporary_folder("plan") as folder:
        assert folder.parent == usual and folder.name.startswith("oc-plan-")
        (folder / "file").touch()
        raise OSError("full")
    assert list(usual.iterdir()) == []


def test_what_a_killed_process_left_goes_and_what_others_have_stays(usual: Path) -> None:
    code = (
        "import os, tempfile, sys; tempfile.tempdir = sys.argv[1]\n"
        "from infra.temporary_folders import take_folder\n"
        "(take_folder('export') / 'half').touch(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(usual)], check=False)
    (left,) = usual.iterdir()
    assert (left / "half").exists()
    own, nobodys = take_folder("plan"), usual / "oc-notes-of-mine-and-others"
    elsewhere = usual / left.name.replace("oc-export-", "oc-export-7", 1)
    for folder in (nobodys, elsewhere):
        folder.mkdir()
    sweep_folders()
    assert sorted(usual.iterdir()) == sorted((own, nobodys, elsewhere))
    assert own.name.startswith(name_owned("plan"))
