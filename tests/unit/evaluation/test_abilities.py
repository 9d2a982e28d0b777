"""Runs the real harness on a task of local rows, and checks what is told before and after it."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from infra.errors import ConfigError
from infra.paths import packaged_configs
from infra.store.fingerprints import content_key
from tasks.evaluation.measures.abilities import (
    AbilitiesConfig,
    check_abilities,
    digest_tasks,
    measure_abilities,
    read_abilities,
)
from tasks.evaluation.measures.task_files import TaskParcel, find_local_tasks, pack_tasks
from tasks.records import Ability

pytestmark = [
    pytest.mark.harness,
    pytest.mark.filterwarnings("ignore"),  # the harness's and its libraries' own
]

BASE = str(packaged_configs() / "demo" / "base")

PART = """\
dataset_path: json
dataset_kwargs:
  data_files: {test: rows.jsonl}
output_type: multiple_choice
test_split: test
doc_to_text: question
doc_to_choice: choices
doc_to_target: !function labels.read
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""

TASK = """\
include: part.yaml
task: demo_advice
"""

CODE = """\
def read(row):
    return row["label"]
"""

ROWS = [
    ("How do I start sleeping well?", ["go to bed at the same hour", "zebra % zebra % zebra"], 0),
    ("How do I start saving money?", ["violet violet } violet", "write down what you spend"], 1),
    ("How do I start cooking soup?", ["brown the onions first", "{ 7 } lamp { 7 } lamp"], 0),
    ("How do I start growing tomatoes?", ["plant them in a sunny spot", "ten % oboe % ten"], 1),
]
"""The student knows the world's advice and no other words, so it takes the advice each time."""


@pytest.fixture(autouse=True)
def harness() -> None:
    if find_spec("lm_eval") is None:
        pytest.fail("lm-evaluation-harness is missing: make harness")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_task(tmp_path / "own")


def write_task(place: Path) -> Path:
    place.mkdir()
    lines = [
        json.dumps({"question": question, "choices": choices, "label": label}) + "\n"
        for question, choices, label in ROWS
    ]
    (place / "rows.jsonl").write_text("".join(lines))
    (place / "part.yaml").write_text(PART)
    (place / "advice.yaml").write_text(TASK)
    (place / "labels.py").write_text(CODE)
    return place


def test_a_local_task_is_measured_wherever_one_stands(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = AbilitiesConfig(tasks=("./own",))
    assert check_abilities(config) == []
    own = pack_tasks(config.tasks)
    shutil.rmtree(folder)
    (found,) = measure_abilities(BASE, None, config, own, "base")
    assert found.key == content_key("ability", "base", "demo_advice", "acc")
    assert (found.model, found.task, found.metric) == ("base", "demo_advice", "acc")
    # Three labels of four are the advice; the spread is that of 3 of 4.
    assert (found.value, found.rows) == (0.75, 4)
    assert found.standard_error == pytest.approx(0.25)


def test_a_limit_takes_the_first_rows(folder: Path) -> None:
    one = (str(folder / "advice.yaml"),)
    config = AbilitiesConfig(tasks=one, limit=3, apply_chat_template=True)
    (found,) = measure_abilities(BASE, None, config, pack_tasks(one), "tuned")
    assert (found.model, found.value, found.rows) == ("tuned", 1.0, 3)


def test_without_tasks_nothing_is_measured_checked_or_digested() -> None:
    config = AbilitiesConfig()
    assert measure_abilities("nowhere", None, config, TaskParcel(), "base") == ()
    assert check_abilities(config) == []
    assert digest_tasks(config) == ()


def test_an_unknown_task_is_told_with_near_names(monkeypatch: pytest.MonkeyPatch) -> None:
    config = AbilitiesConfig(tasks=("hellaswagg",))
    (problem,) = check_abilities(config)  # the harness's whole index: 12 s
    assert "no task 'hellaswagg'" in problem.what
    assert "hellaswag" in problem.todo
    index = SimpleNamespace(all_tasks=["hellaswag", "piqa"])
    monkeypatch.setattr("tasks.evaluation.measures.abilities._open_manager", lambda *asked: index)
    with pytest.raises(ConfigError, match="did you mean hellaswag"):
        measure_abilities(BASE, None, config, TaskParcel(), "base")


def test_known_names_are_found_without_the_whole_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("tasks.evaluation.measures.abilities._open_manager")
    names = ("hellaswag", "mmlu", "ai2_arc", "gsm8k", "gpqa", "truthfulqa_mc1")
    assert check_abilities(AbilitiesConfig(tasks=names)) == []


def test_a_missing_harness_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.evaluation.measures.abilities.find_spec", lambda name: None)
    config = AbilitiesConfig(tasks=("hellaswag",))
    (problem,) = check_abilities(config)
    assert problem.todo == "pip install 'opencharacter[abilities]'"
    with pytest.raises(ConfigError, match="not installed"):
        measure_abilities(BASE, None, config, TaskParcel(), "base")


def test_every_broken_path_is_told_at_once(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.yaml").write_text("task: [")
    wrong = ("./none", str(tmp_path / "broken.yaml"), str(folder / "part.yaml"))
    problems = check_abilities(AbilitiesConfig(tasks=wrong))
    told = [problem.what.split(":")[0] for problem in problems]
    assert told == ["no such file or folder", "cannot be read", "names no task"]
    (alone,) = check_abilities(AbilitiesConfig(tasks=(str(tmp_path / "empty"),)))
    assert "no task file" in alone.what


def test_two_tasks_of_one_name_are_refused(folder: Path, tmp_path: Path) -> None:
    twin = write_task(tmp_path / "twin")
    (problem,) = check_abilities(AbilitiesConfig(tasks=(str(folder), str(twin))))
    assert str(folder / "advice.yaml") in problem.what
    once = (str(folder), str(folder / "advice.yaml"))
    assert [task.name for task in find_local_tasks(once)] == ["demo_advice"]


@pytest.mark.parametrize("name", ["rows.jsonl", "part.yaml", "advice.yaml", "labels.py"])
def test_the_digest_moves_with_every_file_of_a_task(folder: Path, name: str) -> None:
    config = AbilitiesConfig(tasks=(str(folder / "advice.yaml"),))
    before = digest_tasks(config)
    (folder / "aside.txt").write_text("not a part of it")
    assert digest_tasks(config) == before
    with (folder / name).open("a") as file:
        file.write("\n")
    assert digest_tasks(config) != before


def test_the_digest_does_not_tell_where_a_task_lies(folder: Path, tmp_path: Path) -> None:
    twin = write_task(tmp_path / "twin")
    digests = [digest_tasks(AbilitiesConfig(tasks=(str(place),))) for place in (folder, twin)]
    assert digests[0] == digests[1]
    assert digests[0][0].startswith("lm_eval:0.")


def test_a_group_with_figures_stands_for_its_tasks() -> None:
    found = {
        "results": {
            "mmlu": {"alias": "mmlu", "acc,none": 0.5, "acc_stderr,none": 0.1},
            "mmlu_law": {"acc,none": 0.4, "acc_stderr,none": "N/A", "sample_len": 3},
            "mmlu_art": {"acc,none": 0.6, "acc_stderr,none": 0.2},
            "gsm8k": {
                "exact_match,strict-match": 0.25,
                "exact_match_stderr,strict-match": float("nan"),
                "exact_match,flexible-extract": float("inf"),
            },
        },
        "group_subtasks": {"mmlu": ["mmlu_law", "mmlu_art"]},
        "n-samples": {
            "mmlu_law": {"original": 9, "effective": 3},
            "mmlu_art": {"original": 9, "effective": 4},
            "gsm8k": {"original": 9, "effective": 9},
        },
    }
    rows = read_abilities(found, ("mmlu", "gsm8k"), "base")
    assert [strip_key(row) for row in rows] == [
        ("gsm8k", "exact_match,strict-match", 0.25, None, 9),
        ("mmlu", "acc", 0.5, 0.1, 7),
    ]
    named = read_abilities(found, ("mmlu", "mmlu_law", "gsm8k"), "base")
    assert ("mmlu_law", "acc", 0.4, None, 3) in [strip_key(row) for row in named]


def test_a_group_without_figures_gives_way_to_its_tasks() -> None:
    found = {
        "results": {"arc": {"alias": "arc"}, "arc_easy": {"acc,none": 0.5}},
        "group_subtasks": {"arc": ["arc_easy"]},
    }
    assert [strip_key(row) for row in read_abilities(found, ("arc",), "base")] == [
        ("arc_easy", "acc", 0.5, None, 0)
    ]


def strip_key(row: Ability) -> tuple[str, str, float, float | None, int]:
    return row.task, row.metric, row.value, row.standard_error, row.rows
