"""Proves that what goes to Label Studio and Argilla comes back from them as ratings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError
from tasks.evaluation.judging.argilla import render_records
from tasks.evaluation.judging.label_studio import render_tasks
from tasks.evaluation.judging.people import Rating, SheetRow, read_sheets, tabulate_sheet
from tasks.evaluation.judging.preferences import Preference, read_preferences
from tests.unit.evaluation.test_preferences import ANSWERS, BASE_A, TUNED_A, TUNED_B

ROWS = tuple(
    SheetRow(key, "A baker.", "Name: Ada", "voice", "Voice?", "Who?", "=Me", "tuned", (("j", 2.0),))
    for key in (TUNED_A, BASE_A)
)
BLIND = tabulate_sheet(ROWS, blind=True, note="run demo")
OPEN = tabulate_sheet(ROWS, blind=False, note="run demo")


def write(folder: Path, name: str, data: Any) -> Path:
    path = folder / name
    lines = [json.dumps(row) for row in data]
    path.write_text("\n".join(lines) if name.endswith("l") else f"[{','.join(lines)}]")
    return path


def annotate(task: dict[str, Any], by: Any, **told: Any) -> dict[str, Any]:
    """Return a task as Label Studio exports it when somebody has annotated it."""
    types = {"score": "rating", "comment": "textarea", "preferred": "choices"}
    names = {"rating": "rating", "textarea": "text", "choices": "choices"}
    result = [
        {"from_name": name, "to_name": "answer", "type": types[name],
         "value": {names[types[name]]: value}}
        for name, value in told.items()
    ]  # fmt: skip
    more = {"id": 7, "completed_by": by, "was_cancelled": False, "result": result}
    return {**task, "id": 1, "annotations": [*task.get("annotations", []), more], "predictions": []}


def respond(record: dict[str, Any], **told: list[tuple[Any, str]]) -> dict[str, Any]:
    """Return a record as Argilla 2 gives it when people have responded."""
    responses = {
        name: [{"value": value, "user_id": user} for value, user in given]
        for name, given in told.items()
    }
    return {**record, "responses": responses, "_server_id": "s"}


def test_what_is_blind_tells_neither_tool_a_model_or_a_verdict() -> None:
    for render in (render_tasks, render_records):
        assert b"tuned" not in render(BLIND) and b"tuned" in render(OPEN)
        assert b"=Me" in render(BLIND)  # no spreadsheet reads this: the text is as it is


def test_label_studio_gets_tasks_and_gives_ratings(tmp_path: Path) -> None:
    one, two = json.loads(render_tasks(BLIND))
    assert one["data"]["row"] == TUNED_A and one["data"]["question"] == "Who?"
    one = annotate(one, {"id": 3, "email": "ana@lab.example"}, score=4, comment=["short"])
    one = annotate(one, 12, score=2)
    skipped = annotate(two, 12)
    skipped["annotations"][0]["was_cancelled"] = True
    found = read_sheets([write(tmp_path, "export.json", [one, skipped])], ANSWERS)
    assert found == (
        Rating(TUNED_A, "ana@lab.example", 4.0, "short"),
        Rating(TUNED_A, "12", 2.0),
        Rating(BASE_A, "12", None),
    )


def test_argilla_gets_records_and_gives_ratings(tmp_path: Path) -> None:
    one, two = map(json.loads, render_records(OPEN).splitlines())
    assert one["id"] == TUNED_A and one["fields"]["answer"] == "=Me"
    assert one["metadata"] == {"model": "tuned", "judge_j": "2", "sheet": "run demo"}
    one = respond(one, score=[(5, "u1"), (3, "u2")], comment=[("so so", "u2")])
    expected = (Rating(TUNED_A, "u1", 5.0), Rating(TUNED_A, "u2", 3.0, "so so"))
    for name in ("records.jsonl", "records.json"):
        assert read_sheets([write(tmp_path, name, [one, two])], ANSWERS) == expected


def test_pairs_come_back_from_both(tmp_path: Path) -> None:
    pair = {"left": TUNED_A, "right": BASE_A, "question": "Who?"}
    task = annotate({"data": pair}, 3, preferred=["right"])
    record = respond({"id": "1", "fields": pair}, preferred=[("tie", "u1")])
    paths = [write(tmp_path, "a.json", [task]), write(tmp_path, "b.jsonl", [record])]
    assert read_preferences(paths, ANSWERS) == (
        Preference(TUNED_A, BASE_A, "3", BASE_A),
        Preference(TUNED_A, BASE_A, "u1", ""),
    )
    assert read_sheets(paths, ANSWERS) == ()


def test_a_fault_is_told_with_its_record(tmp_path: Path) -> None:
    good = {"data": {"row": TUNED_B}}
    path = write(tmp_path, "a.json", [annotate(good, 1, score=4), annotate(good, 2, score=7)])
    with pytest.raises(ConfigError, match=r"a\.json: record 2: score '7' is not between 1 and 5"):
        read_sheets([path], ANSWERS)


@pytest.mark.parametrize("text", ["", "[]", "{}", "[1]", '{"data": 3, "annotations": [{}]}', "{"])
def test_other_json_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match="holds no annotations that can be read"):
        read_sheets([tmp_path / "a.json"], ANSWERS)
