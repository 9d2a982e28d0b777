"""Checks the whole pipeline with a scripted engine, on real Ray under a real Prefect server."""

from __future__ import annotations

import pkgutil
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.sorting import FlowRunSort

from infra.errors import ConfigError, RequestFailed, StorageError, YieldError
from tests.e2e.scripted import ROW_STAGES, ScriptedWorld, read_parts

pytestmark = pytest.mark.e2e

LATE_S = 10.0
NODES = ("personas", "instructions", *ROW_STAGES, "curation", "export", "report")


def latest_states() -> dict[str, list[str]]:
    """Return the names of all states of each task of the latest flow run, in order.

    A server hears of tasks a little later than of the run; tasks that never began stay pending.
    """
    deadline = time.monotonic() + LATE_S
    with get_client(sync_client=True) as client:
        run = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)[0]
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(str(run.id))]))
        while True:
            tasks = client.read_task_runs(flow_run_filter=chosen)
            told = {task.name: client.read_task_run_states(task.id) for task in tasks}
            ended = all(states and states[-1].is_final() for states in told.values())
            if ended or time.monotonic() > deadline:
                return {name: [state.name or "" for state in told[name]] for name in told}
            time.sleep(0.2)


def same_rows(first: ScriptedWorld, second: ScriptedWorld, *overrides: str) -> None:
    for stage in ROW_STAGES:
        left, right = first.rows(stage), second.rows(stage, *overrides)
        assert left.drop("cached_tokens").equals(right.drop("cached_tokens")), stage


def test_counts_add_up_and_the_rerun_is_cached(world: ScriptedWorld) -> None:
    result = world.run("models.teacher.script={bad_output_share: 0.3}")
    assert set(result.counts) == set(NODES)
    for name, counts in result.counts.items():
        assert counts.planned == counts.accepted + counts.rejected, name
    assert result.counts["characters"].planned == 24
    assert result.counts["dialogues_rewrite"].planned == 30
    assert result.counts["curation"].planned == sum(
        result.counts[name].accepted for name in ("dialogues_generate", "dialogues_rewrite")
    )
    assert result.engines_started == {"teacher": 1}
    states = latest_states()
    assert set(states) == set(NODES)
    assert all(names[-1] == "Completed" for names in states.values())

    again = world.run("models.teacher.script={bad_output_share: 0.3}")
    assert again.counts == result.counts
    assert again.engines_started == {}
    assert {names[-1] for names in latest_states().values()} == {"Cached"}


def test_workers_chunks_and_file_order_are_invisible(world: ScriptedWorld, tmp_path: Path) -> None:
    script = "models.teacher.script={bad_output_share: 0.5}"
    world.run(script)
    other = ScriptedWorld.make(tmp_path / "other")
    numbers = list(range(24))
    random.Random(1).shuffle(numbers)
    folder = tmp_path / "shards"
    folder.mkdir()
    for index in range(3):
        other.write_personas(f"p{index}.jsonl", numbers[index::3]).rename(
            folder / f"p{2 - index}.jsonl"
        )
    changed = (
        script,
        f"personas.source={folder}",
        "models.teacher.replicas=3",
        "models.teacher.max_concurrency=2",
        "runner.chunk_rows=7",
    )
    other.run(*changed)
    assert any(world.rows(stage)["status"].n_unique() == 2 for stage in ROW_STAGES)
    same_rows(world, other, *changed)


def test_a_prompt_change_makes_its_stage_and_what_hangs_on_it(
    world: ScriptedWorld, tmp_path: Path
) -> None:
    world.run()
    prompt = tmp_path / "generate.j2"
    shutil.copy("configs/prompts/generate.j2", prompt)
    prompt.write_text(prompt.read_text().replace("Imagine", "Picture"))
    change = f"dialogues.generate.prompt={prompt}"
    world.run(change)
    states = {name: names[-1] for name, names in latest_states().items()}
    made = {name for name, state in states.items() if state != "Cached"}
    assert made == {"dialogues_generate", "curation", "export", "report"}
    assert world.manifest("dialogues_generate", change).counts.made == 36 + 12


def test_growth_makes_only_what_is_new(world: ScriptedWorld) -> None:
    alone = "instructions.synthesis.count=0"  # who is asked to guess also follows from who is there
    world.run(alone)
    before = world.rows("dialogues_generate", alone)
    known = set(world.rows("characters", alone)["key"])
    world.write_personas("personas.jsonl", range(34))
    world.run(alone)
    characters = world.manifest("characters", alone).counts
    assert (characters.made, characters.reused) == (10, 24)
    after = world.rows("dialogues_generate", alone)
    fresh = set(world.rows("characters", alone)["key"]) - known
    made = after.filter(~after["key"].is_in(before["key"].to_list()))
    assert made.height > 0
    assert set(made["character_key"]) <= fresh
    kept = after.join(before, on="key", how="semi")
    assert kept.sort("key").equals(before.join(after, on="key", how="semi").sort("key"))


@pytest.mark.parametrize(
    ("node", "target"),
    [
        ("personas", "tasks.personas.nodes.read_persona_rows"),
        ("instructions", "tasks.instructions.nodes.select_instructions"),
        ("guesses", "tasks.instructions.nodes.Guesses.make"),
        ("characters", "tasks.characters.nodes.Characters.make"),
        ("dialogues", "tasks.dialogues.nodes.Dialogues.make"),
        ("curation", "tasks.curation.curate.curate"),
        ("export", "tasks.export.dataset.export_dataset"),
    ],
)
def test_a_transient_fault_is_retried(
    world: ScriptedWorld, monkeypatch: pytest.MonkeyPatch, node: str, target: str
) -> None:
    fail_once(monkeypatch, target)
    result = world.run()
    hit = [names for name, names in latest_states().items() if name.startswith(node)]
    assert sum("AwaitingRetry" in names for names in hit) == 1
    assert all(names[-1] == "Completed" for names in hit)
    assert set(result.counts) == set(NODES)


def test_failed_requests_stay_pending_and_the_retry_makes_only_those(world: ScriptedWorld) -> None:
    result = world.run("models.teacher.script={transient_error_share: 0.2}")
    states = latest_states()
    assert any("AwaitingRetry" in names for names in states.values())
    assert all(names[-1] == "Completed" for names in states.values())
    for stage in ROW_STAGES:
        keys = read_parts(world.root, stage)["key"]
        assert keys.len() == keys.n_unique() == result.counts[stage].planned


def test_a_config_error_is_not_retried(world: ScriptedWorld) -> None:
    with pytest.raises(ConfigError) as caught:
        world.run("personas.source=nowhere.jsonl", "characters.model=nobody")
    assert len(caught.value.problems) == 2
    with pytest.raises(RequestFailed, match="refuses"):
        world.run("models.teacher.script={refuse_all: true}")
    assert not any("AwaitingRetry" in names for names in latest_states().values())


def test_a_low_yield_stops_the_run_early_with_reasons(world: ScriptedWorld) -> None:
    with pytest.raises(YieldError, match=r"characters: .*below its min_yield") as caught:
        world.run(
            "models.teacher.script={bad_output_share: 0.95}",
            "instructions.synthesis.count=0",
            "characters.max_attempts=1",
            "runner.yield_check_rows=8",
        )
    assert "show CONFIG rejects" in str(caught.value)
    assert read_parts(world.root, "characters").height < 24


@pytest.mark.parametrize("hard", [False, True])
def test_a_dead_engine_loses_its_window_and_no_more(
    world: ScriptedWorld, tmp_path: Path, hard: bool
) -> None:
    marker = tmp_path / "died"
    script = f"{{die_after: 30, hard: {str(hard).lower()}, die_once_marker: {marker}}}"
    result = world.run(f"models.teacher.script={script}")
    assert marker.exists()
    for stage in ROW_STAGES:
        keys = read_parts(world.root, stage)["key"]
        assert keys.len() == keys.n_unique() == result.counts[stage].planned
    states = latest_states()
    assert not any("AwaitingRetry" in names for names in states.values())


def test_a_store_of_another_format_is_refused(world: ScriptedWorld) -> None:
    from infra.errors import StoreVersionError

    world.root.mkdir()
    (world.root / "opencharacter-store.json").write_text('{"format": 99}')
    with pytest.raises(StoreVersionError, match="format 99"):
        world.run()


def fail_once(monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    """Let a function fail the first time as a storage hiccup does."""
    original: Callable[..., Any] = pkgutil.resolve_name(target)
    failed: list[bool] = []

    def flaky(*args: Any, **kwargs: Any) -> Any:
        if not failed:
            failed.append(True)
            raise StorageError("injected")
        return original(*args, **kwargs)

    monkeypatch.setattr(target, flaky)
