"""Checks runs that make a part again, ask rejects again, or take a part from the store."""

from __future__ import annotations

import polars as pl
import pytest

from flows.plan.planning import plan_run
from infra.errors import ConfigError, InterruptedRun
from tests.e2e.scripted import ScriptedWorld, read_parts
from tests.e2e.test_pipeline import latest_states

pytestmark = pytest.mark.e2e

BAD = ("models.teacher.script={bad_output_share: 0.6}", "characters.max_attempts=1")
LENIENT = (*BAD, "characters.min_yield=0.1", "dialogues.generate.min_yield=0.1")


def list_made() -> set[str]:
    return {name for name, states in latest_states().items() if states[-1] != "Cached"}


def test_a_refreshed_stage_is_made_anew_with_what_hangs_on_it_and_stays_so(
    world: ScriptedWorld,
) -> None:
    world.run()
    before, guesses = world.rows("characters"), world.rows("guesses")
    world.run(refresh=["characters"])
    after = world.rows("characters")
    assert not set(before["key"]) & set(after["key"])
    assert after.height == before.height
    assert list_made() == {
        "characters",
        "dialogues_generate",
        "dialogues_rewrite",
        "curation",
        "export",
        "report",
    }
    assert world.rows("guesses").equals(guesses)
    assert world.manifest("characters").identity["refresh"] == 1

    world.run()
    assert list_made() == set()
    assert world.rows("characters").equals(after)


def test_a_refresh_that_was_interrupted_is_gone_on_with(world: ScriptedWorld) -> None:
    world.run()
    with pytest.raises(ConfigError):
        world.run("characters.model=nobody", refresh=["characters"])
    failing = "models.teacher.script={transient_error_share: 1.0}"
    with pytest.raises(Exception, match="pending"):
        world.run(failing, "retry.retries=0", refresh=["characters"])
    world.run(refresh=["characters"])
    assert world.manifest("characters").identity["refresh"] == 1


def test_rejects_are_asked_again_and_accepted_rows_stay(world: ScriptedWorld) -> None:
    first = world.run(*LENIENT)
    before = world.rows("characters", *LENIENT)
    rejected = before.filter(pl.col("status") == "rejected")
    assert rejected.height == first.counts["characters"].rejected > 0

    again = world.run(*LENIENT, retry_rejects=["characters"])
    after = world.rows("characters", *LENIENT)
    counts = world.manifest("characters", *LENIENT).counts
    assert (counts.made, counts.reused) == (rejected.height, before.height - rejected.height)
    assert set(after["key"]) == set(before["key"])
    assert again.counts["characters"].accepted > first.counts["characters"].accepted
    kept = before.filter(pl.col("status") == "accepted")
    assert after.join(kept, on="key", how="semi").equals(kept)
    retried = after.join(rejected, on="key", how="semi")
    assert (retried["attempts"] == 2).all()
    rows = read_parts(world.root, "characters")
    assert rows.height == before.height + rejected.height

    world.run(*LENIENT)
    assert list_made() == set()
    (plan,) = [n for n in plan_run(world.config, LENIENT).nodes if n.node == "characters"]
    assert plan.make == 0


def test_a_part_is_taken_from_the_store_and_never_made(world: ScriptedWorld) -> None:
    with pytest.raises(ConfigError, match="--from curation"):
        world.run(first="curation")
    assert not (world.root / "characters").exists()
    world.run(until="dialogues")
    result = world.run(first="curation")
    assert result.engines_started == {}
    assert {"curation", "export", "report"} <= list_made()


def test_a_name_that_no_node_has_is_told_with_all_names(world: ScriptedWorld) -> None:
    with pytest.raises(ConfigError) as caught:
        world.run(refresh=["dialogue"], retry_rejects=["nobody"])
    assert len(caught.value.problems) == 2
    assert "dialogues_generate" in str(caught.value)


def test_the_same_words_mean_nothing_more_until_a_run_has_carried_them_out(
    world: ScriptedWorld,
) -> None:
    world.run()
    with pytest.raises(InterruptedRun, match=r"budget\.max_tokens"):
        world.run("budget.max_tokens=3500", refresh=["characters"])
    characters = world.rows("characters")
    assert characters.height == 24
    world.run(refresh=["characters"])
    assert world.manifest("characters").identity["refresh"] == 1
    assert world.rows("characters").equals(characters)
    assert "dialogues_generate" in list_made()
    world.run(refresh=["characters"])
    assert world.manifest("characters").identity["refresh"] == 2


def test_wrong_usage_leaves_the_store_as_it_is(world: ScriptedWorld) -> None:
    world.run(until="characters")
    with pytest.raises(ConfigError, match="--from training"):
        world.run(first="training", refresh=["characters"])
    with pytest.raises(ConfigError, match="asks a model"):
        world.run(retry_rejects=["curation"])
    assert not (world.root / "remakes.json").exists()
