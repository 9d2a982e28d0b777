"""Proves that FlashInfer's sampler is off where it cannot be compiled, and only there."""

from __future__ import annotations

import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from infra.cluster.torch_build import Kind, TorchBuild
from infra.engines.vllm import sampler
from infra.engines.vllm.sampler import SWITCH, find_missing_compiler, find_nvcc, settle_sampler


def write_program(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a machine with a GPU and no compiler at all."""
    for name in (SWITCH, "CUDA_HOME", "CUDA_PATH", "FLASHINFER_NVCC", "CXX"):
        # Set before it is deleted, so that what the code under test sets is undone too.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sampler, "_USUAL_PLACE", str(tmp_path / "usual"))
    build_for("cuda", monkeypatch)


def build_for(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "read_torch_build", lambda: TorchBuild("2.13.0", kind))


def test_without_nvcc_it_is_off_and_that_is_told() -> None:
    assert "no nvcc" in settle_sampler()
    assert os.environ[SWITCH] == "0"
    assert settle_sampler() == ""  # once is enough


def test_with_nvcc_but_nothing_for_it_to_call_it_is_off_too(tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "nvcc")
    assert "no C++ compiler" in settle_sampler()
    assert os.environ[SWITCH] == "0"


def test_with_both_it_stays(tmp_path: Path) -> None:
    write_program(tmp_path / "bin" / "nvcc")
    write_program(tmp_path / "bin" / "g++")
    assert settle_sampler() == "" and SWITCH not in os.environ
    assert find_missing_compiler() == ""


@pytest.mark.parametrize("choice", ["0", "1"])
def test_a_choice_that_was_made_stays(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, choice)
    assert settle_sampler() == ""
    assert os.environ[SWITCH] == choice


@pytest.mark.parametrize("kind", ["cpu", "rocm"])
def test_elsewhere_than_on_cuda_there_is_none(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    build_for(kind, monkeypatch)
    assert settle_sampler() == "" and SWITCH not in os.environ


def test_kernels_that_are_compiled_already_need_no_compiler(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler, "find_spec", lambda name: ModuleSpec(name, None))
    assert settle_sampler() == "" and SWITCH not in os.environ


def test_nvcc_is_looked_for_where_flashinfer_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_nvcc() is None
    usual = write_program(tmp_path / "usual" / "bin" / "nvcc")
    assert find_nvcc() == usual
    on_path = write_program(tmp_path / "bin" / "nvcc")
    assert find_nvcc() == on_path
    home = write_program(tmp_path / "home" / "bin" / "nvcc")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert find_nvcc() == home
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    assert find_nvcc() is None  # FlashInfer would not look further either
