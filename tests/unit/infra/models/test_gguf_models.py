"""Proves what a GGUF file becomes, what it is known by, and how each unfit one is named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.errors import ConfigError
from infra.models import gguf_conversion, gguf_models
from infra.models.gguf_conversion import Unreadable, convert, read_tokenizer
from infra.models.gguf_models import convert_gguf, identify_gguf, is_gguf
from infra.paths import packaged_configs

BASE = packaged_configs() / "demo" / "base"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(
    path: Path,
    *,
    architecture: str = "llama",
    pre: str = "smollm",
    parts: int = 0,
    eos: int | None = None,
    rows: int | None = None,
    scaling: str | None = None,
    more: str | None = None,
) -> Path:
    """Write a file with two small tensors and a vocabulary of bytes and digits."""
    import numpy as np
    from gguf import GGUFWriter
    from tokenizers.pre_tokenizers import ByteLevel

    writer = GGUFWriter(path, architecture)
    tokens = [*sorted(ByteLevel.alphabet()), "12", "<|end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["1 2"])
    writer.add_eos_token_id(len(tokens) - 1 if eos is None else eos)
    if scaling:
        writer.add_string(f"{architecture}.rope.scaling.type", scaling)
    if parts:
        writer.add_uint16("split.count", parts)
    for name in ("token_embd.weight", "output.weight"):
        writer.add_tensor(name, np.ones((rows or len(tokens), 32), dtype=np.float16))
    if more:
        writer.add_tensor(more, np.linspace(1, 9, 16, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_names_end_in_gguf_in_any_case() -> None:
    assert is_gguf("a/B.GGUF")
    assert not is_gguf("a/gguf")


def test_a_file_is_known_by_what_it_holds(tmp_path: Path) -> None:
    one, other = tmp_path / "a.gguf", tmp_path / "b.gguf"
    one.write_bytes(b"GGUF one")
    shutil.copy(one, other)
    assert identify_gguf(one) == identify_gguf(other)
    other.write_bytes(b"GGUF two")
    assert identify_gguf(one) != identify_gguf(other)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"PK\x03\x04 a zip", "no GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"", "no GGUF file"),
        (b"GGUF\0\0\0\0", "format 0, and only 2 and 3"),
    ],
)
def test_what_is_no_gguf_file_is_told_without_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, told: str
) -> None:
    monkeypatch.setattr(gguf_models, "_convert", lambda *_: pytest.fail("started"))
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        convert_gguf(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        convert_gguf(tmp_path / "none.gguf")


def test_a_file_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make(path: Path, kept: Path) -> None:
        made.append(path)
        kept.mkdir()

    monkeypatch.setattr(gguf_models, "_convert", make)
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF\x03\0\0\0 and more")
    assert convert_gguf(path) == convert_gguf(path)
    assert made == [path]


@pytest.mark.torch
def test_what_the_process_refuses_is_told_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", architecture="phonograph")
    with pytest.raises(ConfigError, match=r"m\.gguf.*phonograph"):
        convert_gguf(path)
    assert not [item for item in (tmp_path / "cache").rglob("*.tmp") if item.is_dir()]


def test_split_and_truncated_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="one part of several"):
        convert(write(tmp_path / "part.gguf", parts=2), tmp_path / "out")
    path = write(tmp_path / "cut.gguf")
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises((Unreadable, ValueError)):
        convert(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("odd", "told"),
    [
        ({"eos": 100_257}, "eos token has the id 100257, its vocabulary 258 tokens"),
        ({"rows": 200}, "258 tokens, and embeddings for 200"),
        ({"more": "rope_freqs.weight"}, "rope_freqs.weight"),
        ({"more": "rope_factors_long.weight"}, "rope_factors_long.weight"),
        ({"scaling": "yarn"}, "'yarn'"),
    ],
)
def test_what_would_be_read_wrongly_is_refused_by_name(
    tmp_path: Path, odd: dict[str, Any], told: str
) -> None:
    with pytest.raises(Unreadable, match=told):
        convert(write(tmp_path / "m.gguf", **odd), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.torch
def test_an_unknown_way_to_split_words_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="'tekken-9'"):
        read_tokenizer(write(tmp_path / "m.gguf", pre="tekken-9"))


@pytest.mark.torch
def test_digits_stand_alone_where_the_file_says_so(tmp_path: Path) -> None:
    apart = read_tokenizer(write(tmp_path / "a.gguf", pre="smollm"))
    whole = read_tokenizer(write(tmp_path / "b.gguf", pre="gpt-2"))
    assert apart.tokenize("12") == ["1", "2"]
    assert whole.tokenize("12") == ["12"]


@pytest.mark.torch
def test_a_tokenizer_that_lies_beside_does_not_stand_in(tmp_path: Path) -> None:
    shutil.copy(BASE / "tokenizer.json", tmp_path / "tokenizer.json")
    read = read_tokenizer(write(tmp_path / "m.gguf"))
    assert read.eos_token == "<|end|>"


def test_the_process_says_in_its_last_line_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "part.gguf", parts=3)
    monkeypatch.setattr("sys.argv", ["convert", str(path), str(tmp_path / "out")])
    assert gguf_conversion.main() == 1
    assert "one part of several" in capsys.readouterr().err.strip().splitlines()[-1]
