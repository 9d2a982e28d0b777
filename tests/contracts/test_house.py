"""Holds the tree to the house rules that no linter knows."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.mutations import TESTED

ROOT = Path(__file__).parents[2]
LAYERS = ("flows", "tasks", "infra", "configs", "tests")
MOST_LINES = {"tests": 500}
"""Elsewhere 450."""
MOST_MODULES = 15
ROOMS = ("flows", "tasks", "infra")
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}

# Joined here, so that this file does not name what it forbids.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("anaconda", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("crates", "io"),
        ("proxy", "golang", "org"),
    )
)
INDEX_PATH = re.compile(r"https?://\S*/simple\b")
URL_HOST = re.compile(r"https?://(?:[^/\s@]*@)?([A-Za-z0-9._-]+)")
KNOWN_HOSTS = {
    "127.0.0.1", "0.0.0.0", "10.0.0.1", "localhost", "arxiv.org", "www.apache.org", "github.com",
    "git-lfs.github.com",
    "huggingface.co", "api.openai.com", "json-schema.org", "www.w3.org", "creativecommons.org",
}  # fmt: skip
"""Hosts that may stand in a URL: papers, licences, code, the machine itself."""

WORKER_MODULES = (
    "infra.generation.stage_worker",
    "infra.generation.asking",
    "infra.rendering.encoder",
    *sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "infra" / "engines").rglob("*.py")
        if path.stem not in ("__init__", "imports")  # that is for the zygote alone
    ),
    "tasks.characters.writing",
    "tasks.dialogues.players.generation",
    "tasks.dialogues.players.rewriting",
    "tasks.instructions.guessing",
    "tasks.evaluation.answering",
    "tasks.evaluation.judging.judging",
    "tasks.evaluation.questions.writing",
    "tasks.training.ranks.launch",
    "tasks.training.ranks.rank",
    "tasks.training.ranks.trainer",
    "infra.cluster.node_logs",
    "infra.cluster.node_report",
    "infra.cluster.ray_train",
)


@cache
def list_files() -> tuple[Path, ...]:
    """Return what is or would be tracked; everything but hidden folders where git is not."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
        paths = [ROOT / name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [
            path
            for path in ROOT.rglob("*")
            if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
        ]
    return tuple(sorted(path for path in paths if path.is_file()))


def list_modules() -> list[Path]:
    modules = [
        path
        for path in list_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in LAYERS
    ]
    assert len(modules) > 100
    return modules


def name_modules() -> dict[str, Path]:
    named = {}
    for path in list_modules():
        parts = path.relative_to(ROOT).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def read_imports(path: Path) -> Iterator[str]:
    """Return every module that a file imports, wherever in it, packages included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def read_texts() -> dict[str, str]:
    texts: dict[str, str] = {}
    for path in list_files():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            texts[str(path.relative_to(ROOT))] = data.decode("utf-8", "replace")
    return texts


def test_no_module_is_longer_than_a_sitting() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in list_modules()
    }
    most = {name: MOST_LINES.get(name.partition("/")[0], 450) for name in lines}
    assert {name: count for name, count in lines.items() if count > most[name]} == {}


def test_no_room_holds_more_than_can_be_overseen() -> None:
    rooms = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for path in list_modules()
        if path.name != "__init__.py" and path.relative_to(ROOT).parts[0] in ROOMS
    )
    assert {room: count for room, count in rooms.items() if count > MOST_MODULES} == {}


def test_no_module_imports_in_a_circle() -> None:
    imports = {
        name: set(read_imports(path))
        for name, path in name_modules().items()
        if name.partition(".")[0] in ROOMS
    }
    while free := [name for name, found in imports.items() if not found & imports.keys()]:
        for name in free:
            del imports[name]
    assert imports == {}, "these import each other, or what does"


def test_every_module_says_its_purpose_in_one_sentence() -> None:
    silent = []
    for path in list_modules():
        source = path.read_text(encoding="utf-8")
        if not source.strip():
            continue  # an empty package marker
        told = (ast.get_docstring(ast.parse(source)) or "").split("\n")[0]
        if not told.endswith(".") or not told[0].isupper() or len(told.split()) < 2:
            silent.append(f"{path.relative_to(ROOT)}: {told!r}")
    assert silent == []


def test_no_module_or_folder_has_a_name_that_says_nothing() -> None:
    parts = {
        str(path.relative_to(ROOT)): {*path.relative_to(ROOT).parent.parts, path.stem.lower()}
        for path in list_modules()
    }
    assert [name for name, names in parts.items() if names & VAGUE] == []


def test_no_package_registry_is_named_anywhere() -> None:
    named = [
        f"{name}: {registry}"
        for name, text in read_texts().items()
        for registry in REGISTRIES
        if registry in text.lower()
    ]
    indexes = [name for name, text in read_texts().items() if INDEX_PATH.search(text)]
    assert named + indexes == []


def test_every_host_in_a_url_is_known() -> None:
    """A registry's mirror has any name, so what is not known to be harmless is asked about."""
    unknown = {
        (name, host)
        for name, text in read_texts().items()
        for host in URL_HOST.findall(text)
        if "." in host.strip(".")
        and host.strip(".").lower() not in KNOWN_HOSTS
        and not host.endswith((".test", ".example", ".invalid"))
    }
    assert unknown == set(), "if this is no package registry, add it to KNOWN_HOSTS"


@cache
def import_alone(module: str) -> frozenset[str]:
    """Return the top-level names that importing a module in a fresh process brings in."""
    code = (
        f"import json, sys, {module}\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{module}: {done.stderr}"
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


def test_ray_workers_never_import_prefect() -> None:
    together = import_alone(", ".join(WORKER_MODULES))
    if "prefect" in together:
        guilty = [module for module in WORKER_MODULES if "prefect" in import_alone(module)]
        pytest.fail(f"these pull in prefect: {', '.join(guilty)}")
    assert "pyarrow" in together  # the list of modules was really imported


@pytest.mark.parametrize("heavy", ["prefect", "ray", "vllm", "torch", "transformers", "polars"])
def test_help_answers_at_once_because_the_command_line_imports_nothing_heavy(heavy: str) -> None:
    assert heavy not in import_alone("flows.cli.main")


def test_what_mutations_break_is_there_with_its_tests() -> None:
    assert all((ROOT / module).is_file() for module in TESTED)
    assert all((ROOT / "tests/unit" / test).is_file() for test in TESTED.values())
