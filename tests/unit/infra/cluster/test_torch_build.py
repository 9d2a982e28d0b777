"""Proves that a PyTorch's build is read from what it says of itself, and PyTorch not imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.cluster.torch_build import TorchBuild, read_torch_build


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("__version__ = '2.13.0+cu130'\ncuda = '13.0'\nhip = None\n", ("cuda", "13.0")),
        ("__version__ = '2.13.0'\ncuda = '13.0'\n", ("cuda", "13.0")),
        ("__version__ = '2.13.0'\ncuda = None\nhip = None\n", ("cpu", "")),
        ("__version__ = '2.13.0+rocm7.1'\ncuda = None\nhip = '7.1.2'\n", ("rocm", "7.1.2")),
        ("__version__ = '2.13.0'\nxpu = '2026.1'\ncuda = None\n", ("cpu", "")),
    ],
)
def test_a_build_is_what_it_was_made_for_whatever_its_version_is_called(
    text: str, build: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "version.py").write_text(text)
    found = read_torch_build(tmp_path)
    assert (found.kind, found.platform) == build


@pytest.mark.torch
def test_it_is_this_environments_and_costs_no_import() -> None:
    code = (
        "import sys\nfrom infra.cluster.torch_build import read_torch_build\n"
        "print(read_torch_build().version)\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    told = "import torch; print(torch.__version__)"
    torch = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == torch.stdout


def test_it_is_named_for_messages() -> None:
    assert str(TorchBuild("2.13.0", "cpu")) == "PyTorch 2.13.0, built for CPUs"
    assert str(TorchBuild("2.13.0", "cuda", "13.0")) == "PyTorch 2.13.0, built for CUDA 13.0"
