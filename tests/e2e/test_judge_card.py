"""Measures judges as a user would: a scripted one that is killed, and the demo's own."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.look.judge_card.running import CardResult, judge_card
from tests.e2e.prefect_homes import make_home
from tests.e2e.processes import (
    await_no_leftovers,
    closing_line,
    count_parts,
    run_command,
    run_until,
    running_pids,
)
from tests.e2e.test_pipeline import latest_states

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

NODES = {"calibration_judge", "calibration_second", "probe_judge_padded", "probe_judge_turned"}


def write_config(folder: Path, respond: str, **script: Any) -> Path:
    respond = f"tests.e2e.scripted_judges.{respond}"
    config = {
        "storage": {"root": str(folder / "store")},
        "models": {
            "judge": {
                "engine": "scripted", "model": "script", "max_concurrency": 8,
                "script": {"respond": respond, **script},
            },
            "second": {"engine": "scripted", "model": "two"},
        },
        "evaluation": {"judges": [{"model": "judge"}, {"model": "second"}]},
        "runner": {"chunk_rows": 4},
        "retry": {"first_delay_s": 0.1},
    }  # fmt: skip
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def read_card(result: CardResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(result.card).read_text())
    return found


def find_texts(card: dict[str, Any], good: bool) -> Sequence[str]:
    return [found["text"] for found in card["findings"] if found["good"] is good]


def test_a_card_tells_a_judge_that_counts_words_and_a_second_one_is_free(
    tmp_path: Path, prefect_server: str, ray_cluster: None
) -> None:
    path = write_config(tmp_path, "judge_by_length")
    result = judge_card(str(path))
    assert set(latest_states()) == NODES
    assert result.engines_started == {"judge": 1, "second": 1}
    assert result.worth == "unreliable"
    card = read_card(result)
    figures = card["figures"]
    assert figures["rows"] == 60 and figures["missing"]["mean"] == 0
    assert figures["length"]["judge"]["value"] > figures["length"]["people"]["value"]
    assert any(text.startswith("Empty words raise") for text in find_texts(card, False))
    assert any("does not move its scores" in text for text in find_texts(card, True))
    assert figures["reference"][0]["task"] == "" and figures["reference"][0]["alpha"]["rows"] == 60
    assert card["cost"]["requests"] == pytest.approx(1000)

    again = judge_card(str(path))
    assert again.engines_started == {}
    assert {states[-1] for states in latest_states().values()} == {"Cached"}
    assert (again.page, again.card) == (result.page, result.card)
    assert read_card(again) == card


def test_a_judge_that_takes_the_first_anchor_is_moved_by_their_order(
    tmp_path: Path, prefect_server: str, ray_cluster: None
) -> None:
    card = read_card(judge_card(str(write_config(tmp_path, "judge_by_place"))))
    assert card["figures"]["order"]["shift"]["mean"] == 4
    assert card["figures"]["commonest"]["share"] == 1
    assert any("order of the anchors moves" in text for text in find_texts(card, False))


def test_a_killed_card_goes_on_where_it_stopped(prefect_server: str, tmp_path: Path) -> None:
    path = write_config(tmp_path, "judge_by_length", latency_s=0.4)
    env = {"PREFECT_API_URL": prefect_server}
    command, store = ["judge-card", str(path)], tmp_path / "store"
    before = running_pids()
    code = run_until(
        command, env, lambda: count_parts(store, "probe_judge_padded") >= 2, signal.SIGKILL
    )
    assert code == -signal.SIGKILL
    await_no_leftovers(before)
    assert not list((store / "probe_judge_padded").glob("*/*.json"))
    line = closing_line(run_command(command, env))
    assert Path(line["page"]).is_file() and Path(line["card"]).is_file()
    (manifest,) = (store / "probe_judge_padded").glob("*/*.json")
    counts = json.loads(manifest.read_text())["counts"]
    assert counts["planned"] == 60 and counts["reused"] >= 8


def test_the_demo_s_judge_gets_a_card(tmp_path: Path) -> None:
    """Runs the real engine on every fourth row of the demo's own calibration."""
    known = Path("configs/demo/calibration.jsonl").read_text().splitlines(keepends=True)
    fewer = tmp_path / "rows.jsonl"
    fewer.write_text("".join(known[::4]))
    root = f"storage.root={tmp_path / 'store'}"
    command = ["judge-card", "configs/demo.yaml", "--rows", str(fewer), "--set", root]
    env = {"PREFECT_HOME": str(make_home(tmp_path / "prefect"))}
    line = closing_line(run_command(command, env))
    assert line["judge"] == "teacher"
    assert line["engines_started"] == {"teacher": 1}
    card = json.loads(Path(line["card"]).read_text())
    assert card["judge"]["identity"] and len(card["rows"]["digest"]) == 32
    assert card["figures"]["rows"] == 60
    assert line["scores"]["alpha"] > 0.5
    page = Path(line["page"]).read_text(encoding="utf-8")
    assert "Judge teacher (teacher)" in page and "<script" not in page
