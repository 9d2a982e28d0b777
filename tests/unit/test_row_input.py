"""Proves that every file format gives the same rows, and bad lines are data."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.row_input import BadRow, RawRow, check_columns, find_row_files, read_columns, read_rows

ROWS = [{"persona": "A baker"}, {"persona": 'An "odd", {{ sailor }}\n<|eot_id|>'}]
TABLE = pa.Table.from_pylist(ROWS)


def as_lines() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def as_csv() -> bytes:
    return b'persona\nA baker\n"An ""odd"", {{ sailor }}\n<|eot_id|>"\n'


def write_arrow_stream(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, TABLE.schema) as writer:
        writer.write_table(TABLE)


def write_arrow_file(path: Path) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, TABLE.schema) as writer:
        writer.write_table(TABLE)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("r.jsonl", lambda path: path.write_bytes(as_lines())),
        ("bom.jsonl", lambda path: path.write_bytes(b"\xef\xbb\xbf" + as_lines())),
        ("r.jsonl.gz", lambda path: path.write_bytes(gzip.compress(as_lines(), mtime=0))),
        ("crlf.jsonl", lambda path: path.write_bytes(as_lines().replace(b"\n", b"\r\n\r\n"))),
        ("r.json", lambda path: path.write_text(json.dumps(ROWS))),
        (
            "r.json.gz",
            lambda path: path.write_bytes(gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ),
        ("nested.json", lambda path: path.write_text(json.dumps({"data": ROWS}))),
        ("lines.json", lambda path: path.write_bytes(as_lines())),
        ("r.csv", lambda path: path.write_bytes(as_csv())),
        ("bom.csv", lambda path: path.write_bytes(b"\xef\xbb\xbf" + as_csv())),
        ("r.csv.gz", lambda path: path.write_bytes(gzip.compress(as_csv(), mtime=0))),
        ("r.tsv", lambda path: path.write_bytes(as_csv())),
        ("r.parquet", lambda path: pq.write_table(TABLE, path)),
        ("stream.arrow", write_arrow_stream),
        ("file.arrow", write_arrow_file),
        ("no_suffix", lambda path: path.write_bytes(as_lines())),
    ],
)
def test_every_format_gives_the_same_rows(
    tmp_path: Path, name: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    rows = list(read_rows(str(tmp_path / name)))
    assert [dict(row.values) for row in rows if isinstance(row, RawRow)] == ROWS
    assert rows[0].origin.startswith(f"{name}:")
    assert len({row.origin for row in rows}) == 2
    assert read_columns(str(tmp_path / name)) == ["persona"]


def test_a_dataset_folder_and_a_glob_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set/data").mkdir(parents=True)
    (tmp_path / "set/.cache").mkdir()
    for shard in "10":
        pq.write_table(TABLE, tmp_path / f"set/data/train-{shard}.parquet")
    (tmp_path / "set/README.md").write_text("# card")
    (tmp_path / "set/data/dataset_info.json").write_text("{}")
    (tmp_path / "set/.cache/x.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    for source in ("set", str(tmp_path / "set"), "set/data/*.parquet", f"{tmp_path}/set/*/t*"):
        names = [Path(stat.path).name for stat in find_row_files(source)]
        assert names == ["train-0.parquet", "train-1.parquet"]
        assert len(list(read_rows(source))) == 4


def test_linked_files_keep_the_name_that_tells_their_format(tmp_path: Path) -> None:
    """Hugging Face's cache links names to blobs that are named by their hash."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    pq.write_table(TABLE, tmp_path / "blobs/0a1b")
    (tmp_path / "snapshot/train.parquet").symlink_to(tmp_path / "blobs/0a1b")
    assert len(list(read_rows(str(tmp_path / "snapshot/train.parquet")))) == 2


def test_bad_lines_are_data_with_a_place(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(
        b'{"persona": "ok"}\n\n{"persona": \n"text"\n{"persona": "\xff\xfe"}\n'
        + b"[" * 100_000
        + b'\n{"persona": "\\ud800"}\n'
    )
    rows = list(read_rows(str(path)))
    bad = [row.origin for row in rows if isinstance(row, BadRow)]
    assert bad == ["r.jsonl:3", "r.jsonl:4", "r.jsonl:5", "r.jsonl:6"]
    assert rows[-1] == RawRow("r.jsonl:7", {"persona": "\ud800"})
    assert all(len(row.detail) < 500 for row in rows if isinstance(row, BadRow))


def test_bad_csv_rows_are_data_with_a_place(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b'persona,id\nok,1\n\ntoo,many,fields\n\xff\xfe,2\n"two\nlines",3\nlast,4\n')
    rows = list(read_rows(str(path)))
    bad = [row.origin for row in rows if isinstance(row, BadRow)]
    good = [(row.origin, row.values["persona"]) for row in rows if isinstance(row, RawRow)]
    assert bad == ["r.csv:4", "r.csv:5"]
    assert good == [("r.csv:2", "ok"), ("r.csv:6", "two\nlines"), ("r.csv:8", "last")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("r.parquet", b"PAR1 but not really", "r.parquet cannot be read"),
        ("r.arrow", b"nothing of the kind", "r.arrow cannot be read"),
        (
            "cut.jsonl.gz",
            gzip.compress(as_lines() * 99, mtime=0)[:60],
            "cut.jsonl.gz cannot be read",
        ),
        ("empty.jsonl", b"", "no readable row"),
        ("empty.csv", b"", "no readable row"),
        ("blank.jsonl", b"\n \n", "no readable row"),
        ("prose.txt", b"just a text\n", "no readable row"),
    ],
)
def test_an_unreadable_file_is_a_problem(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    columns, (problem,) = check_columns(str(tmp_path / name), "personas.source")
    assert columns == []
    assert says in str(problem)
    assert "personas.source" in problem.where


@pytest.mark.parametrize("source", ["absent.jsonl", "absent/*.parquet", "folder"])
def test_nothing_there_is_a_problem(
    tmp_path: Path, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    columns, (problem,) = check_columns(source, "key")
    assert columns == []
    assert "no such file" in problem.what
