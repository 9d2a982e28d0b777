"""Checks that the campaign would notice what it looks for, and dies where it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from infra.store.row_store import commit_chunk, encode_rows, merge_chunks
from infra.store.storage import Storage
from tests.chaos.checks import check_kept, check_same, count_again, find_left_behind
from tests.chaos.fatal_moments import FatalMoment
from tests.chaos.stores import LocalFiles, read_rows
from tests.chaos.table import Line, read_lines, write_table
from tests.unit.infra.nodes import NODE, Note, make_row

ROWS = {"notes": pl.DataFrame({"key": ["a", "b"], "text": ["1", "2"]})}


@pytest.mark.parametrize(
    ("keys", "texts", "said"),
    [
        (["a"], ["1"], "gone or changed"),
        (["a", "b"], ["1", "3"], "gone or changed"),
        (["a", "a", "b"], ["1", "1", "2"], "there twice"),
    ],
    ids=["lost", "changed", "doubled"],
)
def test_what_happens_to_a_committed_row_is_noticed(
    keys: list[str], texts: list[str], said: str
) -> None:
    after = {"notes": pl.DataFrame({"key": keys, "text": texts})}
    with pytest.raises(AssertionError, match=said):
        check_kept(ROWS, after)
    with pytest.raises(AssertionError, match="calm run"):
        check_same(ROWS, after)
    more = {"notes": pl.concat([ROWS["notes"], pl.DataFrame({"key": ["c"], "text": ["3"]})])}
    check_kept(ROWS, more)


def test_of_requests_made_again_none_is_of_a_committed_row() -> None:
    assert count_again(["c-0-0", "d-0-0"], ["c-0-0", "e-0-0"], ROWS) == 1
    with pytest.raises(AssertionError, match="asked again though committed"):
        count_again(["b-0-0"], ["b-0-0"], ROWS)


def test_reading_a_store_counts_a_merged_row_once_and_removes_nothing(tmp_path: Path) -> None:
    storage, files = Storage(str(tmp_path)), LocalFiles(tmp_path)
    chunks = [
        commit_chunk(storage, NODE.folder, encode_rows(Note, [make_row(key)])) for key in "ab"
    ]
    kept = {part.path: files.read(part.path) for part in chunks}
    merge_chunks(storage, NODE.folder, list(kept))
    for path, data in kept.items():  # as if it had died before it removed them
        (tmp_path / path).write_bytes(data)
    stage = NODE.folder.partition("/")[0]
    rows = read_rows(files, (stage, "nothing_yet"))
    assert rows[stage]["key"].to_list() == ["a", "b"] and list(rows) == [stage]
    assert len(files.list(stage)) == 3


@pytest.mark.parametrize(
    ("event", "path", "number", "left"),
    [
        ("os.rename", r"/file$", 2, {"file": b"first", "half": b"second"}),
        ("open", r"/\.file", 2, {"file": b"first"}),
        ("os.rename", r"/file$", 3, {"file": b"second"}),
    ],
    ids=["written, not in place", "about to be written", "never"],
)
def test_a_process_dies_between_two_file_operations(
    tmp_path: Path, event: str, path: str, number: int, left: dict[str, bytes]
) -> None:
    code = (
        "import sys; from tests.chaos.fatal_moments import arm, _DRIVER; arm(_DRIVER)\n"
        "from infra.store.storage import Storage; storage = Storage(sys.argv[1])\n"
        "for data in (b'first', b'second'): storage.write_bytes('file', data)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, **FatalMoment(event, path, number).as_environment()},
        check=False,
    )
    assert done.returncode == (0 if number == 3 else -signal.SIGKILL)
    found = {
        "half" if file.name.startswith(".") else file.name: file.read_bytes()
        for file in tmp_path.iterdir()
    }
    assert found == left


def test_what_stays_of_a_run_is_named_but_for_logs(tmp_path: Path) -> None:
    for name in ("ray", "oc-ranks-1-2-3-x", "torchinductor_me"):
        (tmp_path / name).mkdir()
    assert find_left_behind(tmp_path) == ["oc-ranks-1-2-3-x"]


def test_a_table_is_read_back_by_the_campaign_that_wrote_it(tmp_path: Path) -> None:
    line = Line(3, "driver: SIGKILL", "scripted", "7/3", "2 parts on", "by itself", 4, 1, 9, 2.5)
    text = write_table(tmp_path, "chaos-day", {"seed": 7}, [line]).read_text()
    cells = [cell.strip() for cell in text.splitlines()[-1].strip("|").split("|")]
    assert cells == [
        *("3", "driver: SIGKILL", "scripted", "7/3", "2 parts on", "by itself"),
        *("4", "1", "9", "2"),
    ]
    assert read_lines(tmp_path, "chaos-day", {"seed": 7}) == [line]
    assert read_lines(tmp_path, "chaos-day", {"seed": 8}) == []
