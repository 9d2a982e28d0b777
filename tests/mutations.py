"""Changes the modules that decide, one small thing at a time, and asks their tests to notice.

A comparison is turned, a sum becomes a difference, a number grows by one, a condition is negated, a
result is dropped. Each mutant is written over the module in a copy of the project, and the module's
own tests run on it: a mutant that passes them survives and is printed with its place, for
somebody to look at. What is changed is drawn with a seed, so that a run can be had again.

    make mutations [N=12] [SEED=0] [MODULE=leases]
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

ROOT = Path(__file__).parents[1]
TESTED = {
    "infra/store/fingerprints.py": "infra/store/test_fingerprints.py",
    "infra/store/key_index.py": "infra/store/test_key_index.py",
    "infra/generation/dispatcher.py": "infra/generation/test_dispatcher.py",
    "infra/locking/holder.py": "infra/locking/test_root_lock.py",
    "infra/locking/root_lock.py": "infra/locking/test_root_lock.py",
    "infra/generation/leases.py": "infra/generation/test_leases.py",
    "infra/generation/min_yield.py": "infra/generation/test_min_yield.py",
    "infra/generation/reruns.py": "infra/generation/test_reruns.py",
    "infra/generation/stage_counts.py": "infra/generation/test_stage_counts.py",
    "infra/text/languages.py": "infra/text/test_languages.py",
    "infra/text/loops.py": "infra/text/test_loops.py",
    "tasks/measures/statistics.py": "measures/test_statistics.py",
    "tasks/measures/student_t.py": "measures/test_student_t.py",
    "tasks/evaluation/judging/verdicts.py": "evaluation/test_verdicts.py",
    "tasks/evaluation/judging/agreement.py": "evaluation/test_agreement.py",
    "tasks/curation/duplicates.py": "curation/test_duplicates.py",
    "tasks/curation/split.py": "curation/test_split.py",
    "tasks/decontamination.py": "test_decontamination.py",
    "flows/control/budget.py": "flows/control/test_budget.py",
}
"""By module, its own tests below ``tests/unit``."""

_LONGEST_S = 120.0
_TURNED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one change: where, what it says there now, and all of it."""

    line: int
    change: str
    source: str


def list_mutants(source: str) -> Iterator[Mutant]:
    """Give out every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    for place, node in enumerate(_list_changeable(tree)):
        changed = copy.deepcopy(tree)
        twin = _list_changeable(changed)[place]
        before = ast.unparse(twin)
        _change(twin)
        yield Mutant(node.lineno, f"{before}  →  {ast.unparse(twin)}", ast.unparse(changed))


def _list_changeable(tree: ast.Module) -> list[ast.expr | ast.If | ast.While]:
    found = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.expr | ast.If | ast.While) and _is_changeable(node)
    ]
    return sorted(found, key=lambda node: (node.lineno, node.col_offset))


def _is_changeable(node: ast.AST) -> bool:
    match node:
        case ast.Compare():
            return type(node.ops[0]) in _TURNED
        case ast.BinOp() | ast.BoolOp():
            return type(node.op) in _TURNED
        case ast.Constant(value=value):
            return type(value) in (int, float)
        case ast.If() | ast.While() | ast.IfExp():
            return True
        case ast.UnaryOp(op=ast.Not()):
            return True
    return False


def _change(node: ast.AST) -> None:
    match node:
        case ast.Compare():
            node.ops[0] = cast(ast.cmpop, _TURNED[type(node.ops[0])]())
        case ast.BinOp() | ast.BoolOp():
            node.op = _TURNED[type(node.op)]()  # type: ignore[assignment]
        case ast.Constant(value=value):
            assert isinstance(value, int | float)
            node.value = value + 1
        case ast.If() | ast.While() | ast.IfExp():
            node.test = ast.UnaryOp(ast.Not(), node.test)
        case ast.UnaryOp():
            node.op = ast.UAdd()
            node.operand = ast.Call(ast.Name("bool"), [node.operand], [])


def main() -> None:
    """Draw mutants, run the tests on each, and print those that survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("--each", type=int, default=12, help="mutants of a module")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="modules whose path contains this")
    arguments = parser.parse_args()
    chosen = {module: test for module, test in TESTED.items() if arguments.only in module}
    if not chosen:
        raise SystemExit(f"no module contains {arguments.only!r}: {', '.join(TESTED)}")
    told: list[str] = []
    tried = 0
    with tempfile.TemporaryDirectory() as folder:
        copied = _copy_project(Path(folder))
        for module, test in chosen.items():
            source = (ROOT / module).read_text(encoding="utf-8")
            if not _passes(copied, test):
                raise SystemExit(f"{test} fails without any change")
            mutants = list(list_mutants(source))
            draw = random.Random(f"{arguments.seed}/{module}")
            drawn = draw.sample(mutants, min(arguments.each, len(mutants)))
            survived = 0
            for mutant in sorted(drawn, key=lambda one: one.line):
                (copied / module).write_text(mutant.source, encoding="utf-8")
                if _passes(copied, test):
                    survived += 1
                    told.append(f"{module}:{mutant.line}: {mutant.change}")
                    print(f"  survives  {told[-1]}", flush=True)
            (copied / module).write_text(source, encoding="utf-8")
            tried += len(drawn)
            print(f"{module}: {len(drawn) - survived} of {len(drawn)} were noticed", flush=True)
    print(f"{tried - len(told)} of {tried} mutants were noticed, {len(told)} survive")


def _copy_project(folder: Path) -> Path:
    names = ("flows", "tasks", "infra", "configs", "tests", "pyproject.toml", "README.md")
    for name in names:
        if (ROOT / name).is_dir():
            leave_out = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, folder / name, ignore=leave_out)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def _passes(project: Path, test: str) -> bool:
    command = [
        *(sys.executable, "-m", "pytest", f"tests/unit/{test}", "-x", "-q"),
        *("-p", "no:cacheprovider", "-p", "no:xdist"),
    ]
    environment = {**os.environ, "PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=project,
            env=environment,
            capture_output=True,
            timeout=_LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:  # a loop without an end is noticed
        return False
    return done.returncode == 0


if __name__ == "__main__":
    main()
