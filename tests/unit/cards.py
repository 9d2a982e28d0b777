"""Builds character cards as chat programs write them: JSON of three versions, PNG, archives."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from typing import Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DESCRIPTION = (
    "{{char}} keeps the lighthouse of Skerry and writes down every ship. <BOT> is 61.\n"
    "Age: 61\nOccupation: keeper. {{user}} is a guest.{{// to be revised }}"
)
FLAT: dict[str, Any] = {
    "name": "Maud Tarn",
    "description": DESCRIPTION,
    "personality": "Dry, patient; fond of {{user}}.",
    "scenario": "{{user}} knocks in a storm.",
    "first_mes": "*{{char}} opens.* You are wet.",
    "mes_example": "<START>\n{{user}}: Hello?\n{{char}}: Mind the step.",
}
PROFILE = (
    "Name: Maud Tarn\n"
    "Maud Tarn keeps the lighthouse of Skerry and writes down every ship. Maud Tarn is 61.\n"
    "Age: 61\nOccupation: keeper. the user is a guest.\n"
    "Personality: Dry, patient; fond of the user."
)
PERSONA = "Maud Tarn keeps the lighthouse of Skerry and writes down every ship."
MORE: dict[str, Any] = {
    "creator_notes": "For long winters.",
    "system_prompt": "{{original}} Be brief.",
    "post_history_instructions": "",
    "alternate_greetings": ["Who is there? \U0001f56f", "Half \ud83d of a sign."],
    "tags": ["sea", "drama"],
    "creator": "someone",
    "character_version": "1.2",
    "extensions": {"depth_prompt": {"depth": 4, "prompt": "fog"}, "talkativeness": 0.5},
    "character_book": {"entries": [{"keys": ["lamp"], "content": "It burns oil.", "id": 1}]},
    "of_a_later_version": [1, None, {"deep": True}],
}


def make_v2(**changes: Any) -> dict[str, Any]:
    return {"spec": "chara_card_v2", "spec_version": "2.0", "data": {**FLAT, **MORE, **changes}}


def make_v3(**changes: Any) -> dict[str, Any]:
    data = {**FLAT, **MORE, "group_only_greetings": [], "assets": [{"type": "icon"}], **changes}
    return {**FLAT, "spec": "chara_card_v3", "spec_version": "3.0", "data": data}


def make_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def make_text(keyword: str, text: bytes, kind: str = "tEXt") -> bytes:
    word = keyword.encode() + b"\0"
    if kind == "tEXt":
        return make_chunk(b"tEXt", word + text)
    if kind == "zTXt":
        return make_chunk(b"zTXt", word + b"\0" + zlib.compress(text))
    packed = kind == "iTXt packed"
    flags = b"\1\0" if packed else b"\0\0"
    return make_chunk(
        b"iTXt", word + flags + b"en\0chara\0" + (zlib.compress(text) if packed else text)
    )


def make_png(*chunks: bytes) -> bytes:
    head = make_chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    pixel = make_chunk(b"IDAT", zlib.compress(b"\0\x10\x20\x30"))
    return b"".join((SIGNATURE, head, pixel, *chunks, make_chunk(b"IEND", b"")))


def encode(card: Any) -> bytes:
    return base64.b64encode(json.dumps(card).encode())


def make_charx(card: bytes, name: str = "card.json") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("assets/icon/main.png", make_png())
        archive.writestr(name, card)
    return file.getvalue()
