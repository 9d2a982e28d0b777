"""Holds the output of a kind of node to the version that it had: helpers of the golden tests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from flows.recipe.graph import KINDS
from infra.engines.scripted import Script, ScriptedEngine
from infra.generation.asking import AskOptions, RowSession
from infra.store.fingerprints import hash_json
from infra.store.schema import to_plain

OPTIONS = AskOptions(temperature=0.7, top_p=0.9, max_new_tokens=400, max_attempts=2, seed=5)


@dataclass(frozen=True)
class Golden:
    """Is what a stage's output was when its version was set."""

    version: int
    digest: str


def find_version(kind: str) -> int:
    """Return the version of a kind of node."""
    return next(node.version for node in KINDS if node.kind == kind)


def digest_records(*groups: Iterable[object]) -> str:
    return hash_json([[to_plain(record) for record in group] for group in groups])


def make_rows(maker: Any, rows: Sequence[Any], *, both_fates: bool = True) -> str:
    """Run a maker over rows with answers of which some are unusable; digest what comes out."""

    async def make_all() -> list[object]:
        engine = ScriptedEngine(Script(bad_output_share=0.6))
        made: list[object] = []
        for row in rows:
            session = RowSession(row.key, engine, None, OPTIONS)
            outcome = await maker.make(row.key, row, session)
            made.append([to_plain(outcome), session.attempts, session.requests])
        return made

    made = asyncio.run(make_all())
    rejected = sum("reason" in outcome[0] for outcome in made if isinstance(outcome, list))
    assert (0 < rejected < len(made)) == both_fates, f"{rejected} of {len(made)} are rejected"
    return hash_json(made)


def hold_to_version(kind: str, golden: Golden, version: int, found: str) -> None:
    """Fail when the output of a kind moved and its version did not."""
    if version != golden.version:
        pytest.fail(f'{kind} is version {version} now: write Golden({version}, "{found}") here')
    if found != golden.digest:
        pytest.fail(
            f"output of {kind} changed: raise its VERSION to {version + 1} and write "
            f'Golden({version + 1}, "{found}") here; rows of version {version} lie in stores'
        )
