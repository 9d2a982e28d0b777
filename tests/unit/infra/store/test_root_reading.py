"""Proves what is a storage root, and what is an address or a slip."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import ConfigError
from infra.store.root_reading import read_root


def test_folders_are_absolute_and_addresses_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    assert read_root("data") == str(tmp_path / "data")
    assert read_root("a:b/c") == str(tmp_path / "a:b" / "c")
    assert read_root("~/rows") == "/home/ann/rows"
    assert read_root("s3://bucket/prefix/") == "s3://bucket/prefix"


@given(st.text(max_size=60))
def test_any_text_is_a_root_or_refused(text: str) -> None:
    try:
        found = read_root(text)
    except ConfigError as error:
        (problem,) = error.problems
        assert problem.what
        assert problem.todo
    else:
        assert found.startswith(("/", "s3://"))
