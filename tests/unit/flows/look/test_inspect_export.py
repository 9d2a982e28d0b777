"""Proves that a run's answers become one log a model, with that model's answers and no others."""

from __future__ import annotations

import json
from pathlib import Path

from flows.look.inspect_export import render_logs
from infra.store.storage import Storage
from tests.unit.flows.evaluated import World


def test_each_model_has_a_log_of_its_own(tmp_path: Path) -> None:
    world = World(Storage(str(tmp_path)))
    logs = render_logs(world.storage, world.done, "demo", {"ray": "2"})
    assert sorted(logs) == ["base.json", "tuned.json"]
    for model, answers in world.answers.items():
        log = json.loads(logs[f"{model}.json"])
        assert log["eval"]["model"] == model and log["eval"]["task_id"] == f"demo/{model}"
        shown = {
            one["metadata"]["answer_key"]: one["output"]["completion"] for one in log["samples"]
        }
        assert shown == {row.key: row.answer for row in answers}
    assert render_logs(world.storage, {}, "demo", {}) == {}
