"""Proves that a row is one line, whatever is in it."""

import json
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from infra.store.manifests import digest_bytes
from infra.store.schema import to_plain
from infra.store.storage import Storage
from tasks.export.files import encode_json_line, write_rows
from tasks.export.rows import CharacterRow


@given(st.text())
def test_a_row_is_one_line_whoever_splits_it(text: str) -> None:
    line = encode_json_line(to_plain(CharacterRow("1", text, "")))
    assert line.splitlines() == [line[:-1]]
    assert json.loads(line) == {"character_id": "1", "persona": text, "character": ""}


def test_text_is_not_escaped_to_ascii() -> None:
    assert encode_json_line(to_plain(CharacterRow("1", "\u05e9 é", ""))) == (
        '{"character_id": "1", "persona": "\u05e9 é", "character": ""}\n'
    )


def test_one_stream_becomes_several_files(tmp_path: Path) -> None:
    storage, scratch = Storage(str(tmp_path / "root")), tmp_path / "scratch"
    scratch.mkdir()
    rows = [CharacterRow(str(number), "p", "c") for number in range(4_500)]
    names = ["x.jsonl", "x.parquet"]
    frames = pl.DataFrame(rows).iter_slices(1_700)
    parts = write_rows(storage, "folder", names, CharacterRow, frames, scratch)
    lines = storage.read_bytes("folder/x.jsonl").decode().splitlines()
    table = pq.read_table(tmp_path / "root/folder/x.parquet")
    assert [json.loads(line)["character_id"] for line in lines] == [
        row.character_id for row in rows
    ]
    assert table.column("character_id").to_pylist() == [row.character_id for row in rows]
    assert [(part.path, part.rows) for part in parts] == [
        ("folder/x.jsonl", 4_500),
        ("folder/x.parquet", 4_500),
    ]
    assert all(part.digest == digest_bytes(storage.read_bytes(part.path)) for part in parts)
