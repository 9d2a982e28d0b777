"""Proves that cards come out of pictures and archives, and that no bytes do any harm."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import Reject
from infra.input.card_files import MAX_CARD_BYTES, read_card_file
from tests.unit.cards import (
    SIGNATURE,
    encode,
    make_charx,
    make_chunk,
    make_png,
    make_text,
    make_v2,
    make_v3,
)


def read(data: bytes, name: str = "maud.png") -> dict[str, Any] | Reject:
    return read_card_file(io.BytesIO(data), name)


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt", "iTXt packed"])
def test_a_card_is_read_from_every_kind_of_text_chunk(kind: str) -> None:
    assert read(make_png(make_text("chara", encode(make_v2()), kind))) == make_v2()
    assert read(make_png(make_text("ccv3", encode(make_v3()), kind))) == make_v3()


def test_version_3_goes_before_version_2_wherever_it_stands() -> None:
    two, three = make_text("chara", encode(make_v2())), make_text("ccv3", encode(make_v3()))
    other = make_text("Software", b"painter")
    for chunks in ((two, other, three), (three, other, two)):
        assert read(make_png(*chunks)) == make_v3()


def test_base64_may_be_broken_into_lines_unpadded_or_absent() -> None:
    packed, plain = encode(make_v2()), json.dumps(make_v2()).encode()
    lines = b"\r\n".join(packed[n : n + 76] for n in range(0, len(packed), 76))
    for text in (lines, packed.rstrip(b"="), plain):
        assert read(make_png(make_text("chara", text))) == make_v2()


def test_a_picture_made_by_another_writer_is_read() -> None:
    image = pytest.importorskip("PIL.Image")
    info = pytest.importorskip("PIL.PngImagePlugin").PngInfo()
    info.add_text("chara", encode(make_v2()).decode())
    file = io.BytesIO()
    image.new("RGB", (40, 60)).save(file, "PNG", pnginfo=info)
    assert read(file.getvalue()) == make_v2()


def test_an_archive_is_read() -> None:
    assert read(make_charx(json.dumps(make_v3()).encode()), "Maud.CHARX") == make_v3()


GOOD = make_text("chara", encode(make_v2()))
WRONG = bytearray(GOOD)
WRONG[-1] ^= 1
BOMB = b"chara\0\0" + zlib.compress(b"A" * (200 << 20), 9)
CUT = zlib.compress(encode(make_v2()))[:-20]
BAD = {
    "empty": (b"", "not_png"),
    "text": (json.dumps(make_v2()).encode(), "not_png"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(60), "not_png"),
    "no card": (make_png(make_text("Comment", b"hello")), "no_card"),
    "cut in the card": (make_png(GOOD)[:400], "truncated"),
    "cut after the card": (make_png(GOOD)[:-12], "truncated"),
    "cut in a head": (make_png(GOOD)[:-7], "truncated"),
    "cut in the picture": (make_png()[:50], "truncated"),
    "wrong check sum": (make_png(bytes(WRONG)), "wrong_crc"),
    "huge length": (SIGNATURE + struct.pack(">I4s", 0xFFFFFFFF, b"IDAT"), "oversized"),
    "huge text": (SIGNATURE + struct.pack(">I4s", 0x7000000, b"tEXt"), "oversized"),
    "many chunks": (SIGNATURE + make_chunk(b"aaAa", b"") * 100_001, "oversized"),
    "bomb": (make_png(make_chunk(b"zTXt", BOMB)), "oversized"),
    "cut inside": (make_png(make_chunk(b"zTXt", b"chara\0\0" + CUT)), "broken_text"),
    "unknown packing": (make_png(make_chunk(b"zTXt", b"chara\0\7xx")), "broken_text"),
    "broken packing": (make_png(make_chunk(b"zTXt", b"chara\0\0xx")), "broken_text"),
    "head only": (make_png(make_chunk(b"iTXt", b"chara\0\0\0en")), "broken_text"),
    "not base64": (make_png(make_text("chara", b"***")), "not_base64"),
    "not latin": (make_png(make_text("chara", "\u00e9\u00e9".encode())), "not_base64"),
    "not JSON": (make_png(make_text("chara", encode(make_v2())[:-40])), "not_json"),
    "no object": (make_png(make_text("chara", encode([1]))), "not_json"),
    "huge number": (make_png(make_text("chara", b'{"a": ' + b"9" * 9_999 + b"}")), "not_json"),
    "deep": (make_png(make_text("chara", b'{"a":' * 99 + b"1" + b"}" * 99)), "nested_too_deep"),
    "deepest": (make_png(make_text("chara", b'{"a":' * 99_999)), "nested_too_deep"),
    "large": (make_png(make_text("chara", b"{" + b" " * MAX_CARD_BYTES + b"}")), "oversized"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_picture_is_rejected_with_its_reason(case: str) -> None:
    data, reason = BAD[case]
    found = read(data)
    assert isinstance(found, Reject) and found.reason == reason and found.detail


ARCHIVE = make_charx(json.dumps(make_v3()).encode())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not_charx"),
        (ARCHIVE[:-30], "not_charx"),
        (make_charx(b"{}", "other.json"), "no_card"),
        (make_charx(b"no json"), "not_json"),
        (make_charx(b" " * (64 << 20)), "oversized"),
    ],
)
def test_a_bad_archive_is_rejected_with_its_reason(data: bytes, reason: str) -> None:
    found = read(data, "maud.charx")
    assert isinstance(found, Reject) and found.reason == reason


def test_a_bomb_takes_no_more_room_than_a_card_may() -> None:
    data = make_png(make_chunk(b"zTXt", BOMB))
    tracemalloc.start()
    try:
        read(data)
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX_CARD_BYTES
    finally:
        tracemalloc.stop()


def is_typed(found: object) -> bool:
    return isinstance(found, dict) or (isinstance(found, Reject) and bool(found.reason))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["a.png", "a.charx"]))
def test_no_bytes_at_all_raise(data: bytes, name: str) -> None:
    assert is_typed(read(data, name))
    assert is_typed(read(SIGNATURE + data, name))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["tEXt", "zTXt", "iTXt"]),
    st.sampled_from(["chara", "ccv3", "x"]),
    st.binary(max_size=120),
)
def test_no_text_of_a_sound_chunk_raises(kind: str, keyword: str, body: bytes) -> None:
    raw = make_chunk(kind.encode(), keyword.encode() + b"\0" + body)
    assert is_typed(read(make_png(raw, make_text(keyword, body, kind))))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_no_damage_to_a_good_file_raises(data: st.DataObject) -> None:
    name, good = data.draw(
        st.sampled_from([("a.png", make_png(make_text("ccv3", encode({}), "zTXt"))),
                         ("a.charx", make_charx(b'{"spec": "chara_card_v3"}'))])
    )  # fmt: skip
    harmed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        harmed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    assert is_typed(read(bytes(harmed), name))
