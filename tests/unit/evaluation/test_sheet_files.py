"""Proves that cells are harmless and come back, and that the first line tells a sheet's kind."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from infra.store.fingerprints import content_key
from tasks.evaluation.judging.sheet_files import (
    digest_sheets,
    neutralise,
    read_sheet_files,
    restore,
)

KEYS = [content_key("answer", str(number)) for number in range(4)]


def write(folder: Path, text: str | bytes, name: str = "anna.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@given(st.text(alphabet="'=+-@\t\r\na\uff1d ", max_size=6))
def test_a_neutralised_text_is_harmless_and_comes_back_exactly(text: str) -> None:
    cell = neutralise(text)
    assert cell[:1] not in set("=+-@\t\r\n\uff1d")
    assert restore(cell) == text


def test_digests_move_with_the_content_and_with_the_rater(tmp_path: Path) -> None:
    one = write(tmp_path, f"row,score\n{KEYS[0]},4\n")
    before = digest_sheets([one])
    (tmp_path / "moved").mkdir()
    moved = write(tmp_path / "moved", one.read_bytes())
    assert digest_sheets([moved]) == before
    assert digest_sheets([write(tmp_path, one.read_bytes(), "ben.csv")]) != before
    assert digest_sheets([write(tmp_path, f"row,score\n{KEYS[0]},5\n")]) != before


def test_a_column_of_preferences_makes_a_sheet_of_pairs(tmp_path: Path) -> None:
    write(tmp_path, f"row;score\n{KEYS[0]};4\n", "a.csv")
    write(tmp_path, f"left;right;preferred\n{KEYS[0]};{KEYS[1]};tie\n", "b.csv")
    write(tmp_path, f"left,preferred\n{KEYS[0]},tie\n", "c.csv")
    (scored, paired), problems = read_sheet_files([tmp_path])
    assert (scored.paired, paired.paired) == (False, True)
    assert [line.read("right") for line in paired.lines] == [KEYS[1]]
    assert [problem.what[:29] for problem in problems] == ["must have one column `right`,"]
