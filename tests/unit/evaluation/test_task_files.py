"""Packs task files, takes away what was packed, and looks at what is laid down elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.errors import ConfigError
from tasks.evaluation.measures import task_files
from tasks.evaluation.measures.task_files import (
    LocalTask,
    TaskParcel,
    find_local_tasks,
    pack_tasks,
    write_anchored,
)

TASK = """\
task: advice
include: ../shared/part.yaml
dataset_path: json
dataset_kwargs:
  data_files:
    test: rows.jsonl
    dev: [../data/*.jsonl, hub.jsonl]
    train: [{far}, {far}/../*.jsonl]
  data_dir: ../own
doc_to_target: !function labels.read
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "home"
    texts = {
        "tasks/own/advice.yaml": TASK.format(far=tmp_path / "far" / "rows.jsonl"),
        "tasks/own/rows.jsonl": '{"row": 1}\n',
        "tasks/own/labels.py": "def read(row): return row",
        "tasks/data/more.jsonl": '{"row": 2}\n',
        "tasks/shared/part.yaml": "test_split: test\n",
        "tasks/shared/beside.py": "",
        "../far/rows.jsonl": '{"row": 3}\n',
    }
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "tasks" / "own"


def read_contents(task: LocalTask) -> dict[str, bytes]:
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in task.files}


def list_paths(value: Any) -> list[str]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (
        [value] if isinstance(value, str) else [path for item in items for path in list_paths(item)]
    )


def test_all_of_a_task_is_there_where_nothing_of_it_lies(own: Path, tmp_path: Path) -> None:
    (before,) = find_local_tasks([str(own)])
    contents, digest = read_contents(before), before.digest()
    parcel = pack_tasks([str(own), "hellaswag"])
    for name in ("home", "far"):
        shutil.rmtree(tmp_path / name)

    (task,) = parcel.unpack()

    assert (task.name, read_contents(task), task.digest()) == ("advice", contents, digest)
    kept = tmp_path / "cache" / "opencharacter" / "tasks"
    (folder,) = (path for path in kept.iterdir() if path.is_dir())
    assert all(path.is_relative_to(folder) for path in (task.path, *task.files))
    files = task.dataset["dataset_kwargs"]["data_files"]
    assert Path(files["test"]).read_text() == '{"row": 1}\n'
    assert Path(files["train"][0]).read_text() == '{"row": 3}\n'
    pattern = Path(files["dev"][0])
    assert [path.name for path in pattern.parent.glob(pattern.name)] == ["more.jsonl"]
    assert files["dev"][1] == "hub.jsonl", "no file of that name was there"
    assert (Path(task.dataset["dataset_kwargs"]["data_dir"]) / "rows.jsonl").is_file()


def test_the_file_that_is_run_names_what_was_laid_down(own: Path, tmp_path: Path) -> None:
    parcel = pack_tasks([str(own / "advice.yaml")])
    shutil.rmtree(own)
    (task,) = parcel.unpack()
    (tmp_path / "run").mkdir()
    write_anchored(task, tmp_path / "run")
    (written,) = (tmp_path / "run").iterdir()
    fields = yaml.safe_load(written.read_text())
    assert Path(fields["include"]).read_text() == task.path.read_text()
    named = [path for path in list_paths(fields["dataset_kwargs"]) if path.startswith("/")]
    assert len(named) == 5
    assert all(path.startswith(str(tmp_path / "cache")) for path in named)


def test_what_a_link_leads_to_lies_where_the_link_was(own: Path, tmp_path: Path) -> None:
    """As in a snapshot of a hub's data set, whose files are links to blobs."""
    for name in ("advice.yaml", "labels.py"):
        (own / name).rename(tmp_path / f"blob-{name}")
        (own / name).symlink_to(tmp_path / f"blob-{name}")
    part = own.parent / "shared" / "part.yaml"
    part.rename(tmp_path / "blob-part")
    part.symlink_to(tmp_path / "blob-part")

    (task,) = pack_tasks([str(own)]).unpack()

    assert (task.path.parent / "../shared/part.yaml").read_text() == "test_split: test\n"
    assert (task.path.parent / "../shared/beside.py").is_file()
    assert (task.path.parent / "labels.py").is_file()


def test_rows_that_only_a_pattern_names_count(own: Path) -> None:
    digests = []
    for text in ("", "more"):
        (own.parent / "data" / "more.jsonl").write_text(text)
        digests.append(find_local_tasks([str(own)])[0].digest())
    assert digests[0] != digests[1]


def test_brackets_in_a_folders_name_are_no_pattern(own: Path) -> None:
    root = own.parent.rename(own.parents[1] / "tasks [v2]")
    (task,) = find_local_tasks([str(root / "own")])
    assert root / "data" / "more.jsonl" in task.files


def test_what_is_laid_down_once_stays_and_other_contents_lie_elsewhere(own: Path) -> None:
    (first,) = pack_tasks([str(own)]).unpack()
    written = first.path.stat().st_mtime_ns
    (again,) = pack_tasks([str(own)]).unpack()
    assert again.path == first.path and again.path.stat().st_mtime_ns == written
    (own / "rows.jsonl").write_text('{"row": 9}\n')
    (other,) = pack_tasks([str(own)]).unpack()
    assert other.path != first.path
    rows = Path(other.dataset["dataset_kwargs"]["data_files"]["test"])
    assert rows.read_text() == '{"row": 9}\n'


def test_what_lies_in_a_cache_that_cannot_be_written_is_used_all_the_same(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parcel = pack_tasks([str(own)])
    first = parcel.unpack()

    def refuse(kept: Path) -> None:
        raise PermissionError(kept)

    monkeypatch.setattr(task_files, "keep_alone", refuse)
    assert parcel.unpack() == first


def test_what_a_killed_process_left_half_done_is_no_obstacle(own: Path, tmp_path: Path) -> None:
    (task,) = pack_tasks([str(own)]).unpack()
    kept = next(
        path for path in (tmp_path / "cache/opencharacter/tasks").iterdir() if path.is_dir()
    )
    kept.rename(kept.with_name(f".{kept.name}.tmp"))
    (again,) = pack_tasks([str(own)]).unpack()
    assert read_contents(again)["own/rows.jsonl"] == b'{"row": 1}\n'
    assert again.path == task.path


def test_data_that_is_too_large_to_be_sent_is_told_before_it_is_read(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (own / "rows.jsonl").open("wb") as file:
        file.truncate(257 * 2**20)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read"))
    with pytest.raises(ConfigError, match=r"have 257\.0 MiB, and at most 256 can .*rows\.jsonl"):
        pack_tasks([str(own)])


def test_named_tasks_alone_need_no_parcel() -> None:
    assert pack_tasks(["hellaswag", "mmlu"]) == TaskParcel()
    assert TaskParcel().unpack() == ()
