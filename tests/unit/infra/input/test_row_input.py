"""Proves that every file format gives the same rows, and bad lines are data."""

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.errors import ConfigError
from infra.input.row_input import (
    BadRow,
    RawRow,
    Source,
    check_columns,
    describe_source,
    find_row_files,
    find_rows,
    read_columns,
    read_rows,
)

PERSONAS = ["A baker", 'An "odd", {{ sailor }}\n<|eot_id|>']
ROWS = [{"persona": text} for text in PERSONAS]
TABLE = pa.Table.from_pylist(ROWS)


def as_lines() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def as_csv(delimiter: str = "") -> bytes:
    more = [f"{delimiter}{text}" if delimiter else "" for text in ("id", "7", "8")]
    return (
        f'persona{more[0]}\nA baker{more[1]}\n"An ""odd"", {{{{ sailor }}}}\n<|eot_id|>"{more[2]}\n'
    ).encode()


def as_array() -> bytes:
    return json.dumps(ROWS, ensure_ascii=False).encode()


def as_parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(TABLE, file)
    return file.getvalue()


def pack(codec: str, data: bytes) -> bytes:
    return bytes(pa.Codec(codec).compress(data, asbytes=True))


def pack_zstd(data: bytes) -> bytes:
    return pack("zstd", data)


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def write_as(text: Callable[[], bytes], encoding: str, path: Path) -> None:
    bom = "\ufeff" if encoding.startswith("\ufeff") else ""
    path.write_bytes((bom + text().decode()).encode(encoding.removeprefix("\ufeff")))


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
        ("r.jsonl.bz2", lambda path: path.write_bytes(bz2.compress(as_lines()))),
        ("r.jsonl.xz", lambda path: path.write_bytes(lzma.compress(as_lines()))),
        ("r.jsonl.zst", lambda path: path.write_bytes(pack_zstd(as_lines()))),
        ("r.csv.zst", lambda path: path.write_bytes(pack_zstd(as_csv()))),
        ("r.json.bz2", lambda path: path.write_bytes(bz2.compress(json.dumps(ROWS).encode()))),
        ("r.jsonl.zip", lambda path: write_zip(path, {"r.jsonl": as_lines()})),
        ("named_otherwise.zip", lambda path: write_zip(path, {"a/r.csv": as_csv()})),
        ("unpacked_on_the_way.jsonl.gz", lambda path: path.write_bytes(as_lines())),
        ("packed_in_secret.jsonl", lambda path: path.write_bytes(gzip.compress(as_lines()))),
        ("twice.jsonl.gz", lambda path: path.write_bytes(gzip.compress(bz2.compress(as_lines())))),
        ("r.parquet.gz", lambda path: path.write_bytes(gzip.compress(as_parquet()))),
        ("parquet_by_its_bytes", lambda path: path.write_bytes(as_parquet())),
        *(
            (f"{encoding}{bom}.{kind}", partial(write_as, text, f"{bom}{encoding}"))
            for kind, text in (("jsonl", as_lines), ("csv", as_csv), ("json", as_array))
            for encoding, bom in (
                ("utf-16-le", ""),
                ("utf-16-be", ""),
                ("utf-16-le", "\ufeff"),
                ("utf-16-be", "\ufeff"),
                ("utf-32-le", "\ufeff"),
            )
        ),
        ("pretty.json", lambda path: path.write_text(json.dumps(ROWS, indent=2))),
        ("pretty.jsonl", lambda path: path.write_text(json.dumps(ROWS, indent=2))),
        ("named.json", lambda path: path.write_text(json.dumps({"version": 2, "data": ROWS}))),
        (
            "columns.json",
            lambda path: path.write_text(
                json.dumps({"persona": dict(enumerate(PERSONAS)), "id": {0: 7, 1: 8}})
            ),
        ),
        (
            "lists.json",
            lambda path: path.write_text(json.dumps({"persona": PERSONAS, "id": [7, 8]})),
        ),
        (
            "split.json",
            lambda path: path.write_text(
                json.dumps({"columns": ["persona"], "data": [[text] for text in PERSONAS]})
            ),
        ),
        ("excel.csv", lambda path: path.write_bytes(b"sep=;\n" + as_csv(";"))),
        ("r.jsonl.lz4", lambda path: path.write_bytes(pack("lz4", as_lines()))),
        (
            "r.jsonl.lzma",
            lambda path: path.write_bytes(lzma.compress(as_lines(), format=lzma.FORMAT_ALONE)),
        ),
        (
            "bytes.parquet",
            lambda path: pq.write_table(
                pa.table({"persona": pa.array([text.encode() for text in PERSONAS])}), path
            ),
        ),
        ("semicolon.csv", lambda path: path.write_bytes(as_csv(";"))),
        ("tab.csv", lambda path: path.write_bytes(as_csv("\t"))),
        ("bar.csv", lambda path: path.write_bytes(as_csv("|"))),
        ("crlf.csv", lambda path: path.write_bytes(as_csv().replace(b"\n", b"\r\n"))),
    ],
)
def test_every_format_gives_the_same_rows(
    tmp_path: Path, name: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    rows = list(read_rows(str(tmp_path / name)))
    found = [row.values["persona"] for row in rows if isinstance(row, RawRow)]
    assert [str(text).replace("\r\n", "\n") for text in found] == PERSONAS
    assert rows[0].origin.startswith(f"{name}:")
    assert len({row.origin for row in rows}) == 2
    assert read_columns(str(tmp_path / name))[0] == "persona"


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
        ("prose.txt", b"just a text\n", "no readable row; none of its 1 lines is one: prose.txt:1"),
        ("cut.jsonl.bz2", bz2.compress(as_lines() * 99)[:60], "it ends early"),
        ("cut.jsonl.xz", lzma.compress(as_lines() * 99)[:60], "it ends early"),
        ("cut.jsonl.zst", pack_zstd(as_lines() * 99)[:40], "it ends early"),
        ("cut.json", as_array()[:-9], "no JSON as a whole"),
        ("r.jsonl.br", pack("brotli", as_lines()), "is packed with brotli"),
        ("r.jsonl.z", b"x\x9c\xabV*H-*", "is packed with zlib"),
        ("picture.jsonl", b"\x89PNG\r\n\x1a\n\0\0", "is a PNG picture"),
        ("paper.jsonl", b"%PDF-1.7 \xff", "is a PDF document"),
        ("page.jsonl", b"\n<!DOCTYPE html><html><body>Log in", "is an HTML page"),
        ("page.json", b"<html lang='en'>", "is an HTML page"),
        ("feed.jsonl", b"<?xml version='1.0'?><a/>", "is an XML document"),
        ("pointer.parquet", b"version https://git-lfs.example/spec/v1\n", "Git LFS pointer"),
        ("model.jsonl", b"GGUF\3\0", "is a GGUF model"),
        ("rows.pkl", b"\x80\x04\x95\0", "is a Python pickle"),
        ("base.jsonl", b"SQLite format 3\0", "is an SQLite database"),
        ("twice.csv", b"persona,persona\na,b\n", "two columns named 'persona'"),
        ("doubled.jsonl", b'{"persona": "a", "persona": "b"}\n', "'persona' is given twice"),
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


def test_archives_are_named_for_what_they_are(tmp_path: Path) -> None:
    write_zip(tmp_path / "two.zip", {"a.jsonl": as_lines(), "b.jsonl": as_lines()})
    write_zip(tmp_path / "book.xlsx", {"[Content_Types].xml": b"", "xl/sheet.xml": b""})
    tar = bytearray(512)
    tar[257:262] = b"ustar"
    (tmp_path / "set.tar.gz").write_bytes(gzip.compress(bytes(tar)))
    for name, says in (
        ("two.zip", "a zip archive of 2 files: a.jsonl, b.jsonl"),
        ("book.xlsx", "an Office document"),
        ("set.tar.gz", "a tar archive"),
    ):
        _, (problem,) = check_columns(str(tmp_path / name), "personas.source")
        assert says in problem.what


def test_tables_with_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([["a"], ["b"]], names=["persona", "persona"])
    with (
        pa.OSFile(str(tmp_path / "t.arrow"), "wb") as file,
        pa.ipc.new_file(file, table.schema) as writer,
    ):
        writer.write_table(table)
    with pytest.raises(ConfigError, match="two columns named 'persona'"):
        list(read_rows(str(tmp_path / "t.arrow")))


def test_a_file_that_ends_early_is_told_after_the_rows_before(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(as_lines() for _ in range(5_000)), mtime=0)
    (tmp_path / "cut.jsonl.gz").write_bytes(packed[: len(packed) // 2])
    found = []
    with pytest.raises(ConfigError, match=r"cut.jsonl.gz: cannot be read: it ends early"):
        for row in read_rows(str(tmp_path / "cut.jsonl.gz")):
            found.append(row)
    assert found


@pytest.mark.parametrize(
    ("text", "good", "bad"),
    [
        ('p,n\n"A baker,1\nA pilot,2\nA judge,3\n', ["A pilot", "A judge"], [2]),
        ('p,n\nA baker,1\n"A pilot,2\n"A judge, old",3\n', ["A baker", "A judge, old"], [3]),
        ('p,n\n"A baker\nA pilot,2\nA judge,"3"\n', ["A pilot", "A judge"], [2]),
        ('p\n"A baker\nA pilot\nA judge\n', ["A pilot", "A judge"], [2]),
        ('p,n\n"A\nbaker",1\nA pilot,2\n', ["A\nbaker", "A pilot"], []),
        ('p,n\n"A \\"true\\" baker",1\nA pilot,2\n', ['A "true" baker', "A pilot"], []),
        ('p,n\nA "true" baker,1\n', ['A "true" baker'], []),
        ('p,n\n"A ""true"" baker",1\n', ['A "true" baker'], []),
        ('p,n\n"A baker,1\n"A pilot,2\n"A judge,3\n', [], [2, 3, 4]),
    ],
)
def test_a_quote_that_is_not_closed_costs_its_own_line(
    tmp_path: Path, text: str, good: list[str], bad: list[int]
) -> None:
    path = tmp_path / "r.csv"
    path.write_text(text)
    rows = list(read_rows(str(path)))
    assert [row.values["p"] for row in rows if isinstance(row, RawRow)] == good
    fallen = [row for row in rows if isinstance(row, BadRow)]
    assert [row.origin for row in fallen] == [f"r.csv:{line}" for line in bad]
    assert all("quote" in row.detail for row in fallen)


LAYOUTS = [
    (["train.jsonl", "test.jsonl"], None, ["train.jsonl"]),
    (["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl", "data/x.json"], None,
     ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"]),
    (["data/train_sft-00000-of-00001.jsonl", "data/test_sft-00000-of-00001.jsonl"], "train_sft",
     ["data/train_sft-00000-of-00001.jsonl"]),
    (["a_train.jsonl", "a_dev.jsonl"], "validation", ["a_dev.jsonl"]),
    (["a_train.jsonl", "a_dev.jsonl"], "valid", ["a_dev.jsonl"]),
    (["rows.jsonl", "more.jsonl", "test.jsonl"], None, ["more.jsonl", "rows.jsonl"]),
    (["rows.jsonl", "more.jsonl"], None, ["more.jsonl", "rows.jsonl"]),
    (["train/a.jsonl", "validation/a.jsonl"], "all", ["train/a.jsonl", "validation/a.jsonl"]),
    (["2023/train.jsonl", "2024/train.jsonl"], None, ["2023/train.jsonl", "2024/train.jsonl"]),
    (["default/train/0000.jsonl", "extra/train/0000.jsonl"], None, ["default/train/0000.jsonl"]),
    (["rows.parquet", "rows.jsonl", "b.jsonl"], None, ["b.jsonl", "rows.parquet"]),
    (["contest.jsonl", "latest.jsonl"], None, ["contest.jsonl", "latest.jsonl"]),
]  # fmt: skip


def lay_out(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            pq.write_table(TABLE, folder / name)
        else:
            (folder / name).write_bytes(as_lines())
    return str(folder)


@pytest.mark.parametrize(("names", "split", "read"), LAYOUTS)
def test_a_folder_gives_the_split_that_is_asked_for(
    tmp_path: Path, names: list[str], split: str | None, read: list[str]
) -> None:
    layout = find_rows(Source(lay_out(tmp_path, *names), split))
    assert [str(Path(stat.path).relative_to(tmp_path)) for stat in layout.files] == read
    assert {*read, *layout.aside} == set(names)


@pytest.mark.parametrize(
    ("names", "split", "subset", "says"),
    [
        (["test.jsonl"], None, None, "no split 'train'; it has test"),
        (["train.jsonl"], "test", None, "no split 'test'; it has train"),
        (["rows.jsonl"], "test", None, "no split 'test', nor any"),
        (["data/sft-00000-of-00001.jsonl"], None, None, "no split 'train'; it has sft"),
        (["main/train.jsonl", "socratic/train.jsonl"], None, None, "several configurations: main"),
        (["main/train.jsonl", "socratic/train.jsonl"], None, "old", "no configuration 'old'"),
        (["rows.jsonl"], None, "main", "no configuration 'main', nor any"),
    ],
)
def test_what_a_folder_has_not_is_told(
    tmp_path: Path, names: list[str], split: str | None, subset: str | None, says: str
) -> None:
    source = Source(lay_out(tmp_path, *names), split, subset)
    with pytest.raises(ConfigError, match=says):
        find_rows(source)
    _, (problem,) = check_columns(source, "personas.source")
    assert says in problem.what


def test_a_card_says_which_files_a_configuration_has(tmp_path: Path) -> None:
    source = lay_out(tmp_path, "people.jsonl", "talks/a.jsonl", "talks/b.jsonl", "spare.jsonl")
    card = """---
configs:
- config_name: people
  data_files: people.jsonl
- config_name: talks
  data_files:
  - {split: train, path: talks/a*}
  - {split: test, path: [talks/b.jsonl]}
---
# Card
"""
    (tmp_path / "README.md").write_text(card)

    def read(split: str | None = None, subset: str | None = None, *likely: str) -> list[str]:
        layout = find_rows(Source(source, split, subset, likely))
        return [str(Path(stat.path).relative_to(tmp_path)) for stat in layout.files]

    assert read(subset="talks") == ["talks/a.jsonl"]
    assert read("test", "talks") == ["talks/b.jsonl"]
    assert read(None, None, "characters", "people") == ["people.jsonl"]
    with pytest.raises(ConfigError, match="several configurations: people, talks"):
        read()
    (tmp_path / "README.md").write_text(card.replace("people\n", "people\n  default: true\n", 1))
    assert read() == ["people.jsonl"]


def test_what_libraries_write_beside_the_data_is_no_data(tmp_path: Path) -> None:
    lay_out(tmp_path, "train/data-00000-of-00001.jsonl", "test/data-00000-of-00001.jsonl")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    for split in ("train", "test"):
        (tmp_path / split / "state.json").write_text("{}")
        (tmp_path / split / "cache-0a1b.arrow").write_bytes(b"")
    layout = find_rows(Source(str(tmp_path)))
    assert (layout.split, layout.aside) == ("train", ("test/data-00000-of-00001.jsonl",))
    told = describe_source(Source(str(tmp_path)))
    assert "split train; train/data-00000-of-00001.jsonl; left aside: test/" in told


def test_a_glob_means_what_it_matches_unless_a_split_is_asked_for(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "train.jsonl", "test.jsonl")
    assert len(find_row_files(f"{folder}/*.jsonl")) == 2
    (only,) = find_row_files(Source(f"{folder}/*.jsonl", "test"))
    assert only.path.endswith("test.jsonl")
