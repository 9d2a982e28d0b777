"""Proves that files which are not what they should be are named for what they are."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest

from tests.unit.cards import FLAT

from .situations import Situation, hold_to, tell

LINES = b'{"persona": "A baker from Cork who likes long walks."}\n' * 500
PACKED = gzip.compress(LINES)
PAGE = "<!doctype html><html><body>Sign in</body></html>"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 12\n"
NOISE = random.Random(7).randbytes(3000)


def of_personas(name: str, file: str, data: str | bytes, *words: str, code: int = 2) -> Situation:
    where = ("personas.source",) if code else ()
    return Situation(name, (*where, *words), (f"personas.source={{folder}}/{file}",), {file: data},
                     code=code)  # fmt: skip


def of_questions(name: str, file: str, data: str | bytes, *words: str) -> Situation:
    sets = (f"instructions.sources=[{{folder}}/{file}]",)
    return Situation(name, ("instructions.sources", *words), sets, {file: data})


def of_rows(name: str, key: str, data: str, *words: str, code: int = 2) -> Situation:
    return Situation(name, (key, *words), (f"{key}={{folder}}/own.jsonl",), {"own.jsonl": data},
                     code=code)  # fmt: skip


PERSONAS = [
    Situation("no such file", ("no such file", "none.jsonl"), ("personas.source=none.jsonl",)),
    Situation("no source", ("personas.source",), ("personas.source=null",)),
    Situation("a web address", ("no such file",), ("personas.source=http://host/p.jsonl",)),
    of_personas("empty", "p.jsonl", "", "it is empty"),
    of_personas("blank lines", "p.jsonl", "\n\n \n", "no readable row"),
    of_personas("CSV by another name", "p.jsonl", "persona\nA baker\n", "no JSON", "CSV is told"),
    of_personas("plain text", "p.txt", "A baker from Cork\n", "no JSON", "one JSON object per"),
    of_personas("a cut line", "p.jsonl", '{"persona": "A ba', "p.jsonl:1", "no JSON"),
    of_personas("a list of texts", "p.json", '["a", "b"]', "not an object"),
    of_personas("nested too deep", "p.json", "[" * 200_000 + "]" * 200_000, "nested too deep"),
    of_personas("nested lines", "p.jsonl", "[" * 200_000 + "]" * 200_000, "no readable row"),
    of_personas("noise", "p.jsonl", NOISE, "no readable row"),
    of_personas("another column", "p.jsonl", '{"text": "A baker"}', "no column 'persona'",
                "it has text", "personas.persona_column"),
    of_personas("numbers", "p.jsonl", '{"persona": 5}', "none of its rows is a persona",
                "not text"),
    of_personas("a cut gzip", "p.jsonl.gz", PACKED[: len(PACKED) // 2], "ends early"),
    of_personas("a broken gzip", "p.jsonl.gz", PACKED[:12] + NOISE[:200], "cannot be read"),
    of_personas("a broken Parquet", "p.parquet", b"PAR1" + NOISE[:100] + b"PAR1", "cannot be read"),
    of_personas("a cut Parquet", "p.parquet", b"PAR1" + NOISE[:100], "cannot be read"),
    of_personas("a spreadsheet", "p.xlsx", b"PK\x03\x04" + NOISE[:99], "cannot be read"),
    of_personas("a web page", "p.jsonl", PAGE, "HTML page"),
    of_personas("a pointer", "p.jsonl", POINTER, "Git LFS pointer"),
    of_personas("two columns of a name", "p.csv", "persona,persona\na,b\n", "two columns named"),
    of_personas("a quote left open", "p.csv",
                'persona\n"A baker from Cork who walks\nA pilot from Oslo who sings\n'
                "A nurse from Lima who cooks\n", "2 personas", code=0),
    of_personas("half a letter", "p.jsonl",
                '{"persona": "A baker \\ud800 from Cork who walks"}\n' * 1
                + '{"persona": "A pilot\\u0000 from Oslo who sings"}\n', "2 personas", code=0),
]  # fmt: skip

QUESTIONS = [
    Situation("no questions at all", ("instructions",),
              ("instructions.sources=[]", "instructions.synthesis.count=0")),
    Situation("sources as a text", ("instructions.sources",), ("instructions.sources=q.json",)),
    of_questions("no such file", "other.jsonl", "", "it is empty"),
    of_questions("no known format", "q.jsonl", '{"a": 1, "b": 2}', "in no known format", "a, b"),
    of_questions("noise", "q.jsonl", NOISE, "no readable row"),
    of_questions("a cut gzip", "q.json.gz", PACKED[:99], "ends early"),
    of_questions("conversations of nobody", "q.jsonl", '{"messages": []}', "fix it"),
]  # fmt: skip

BROUGHT = [
    of_rows("profiles of others", "characters.source",
            json.dumps({"persona": "Somebody else.", "character": "Name: Ann"}), "can be taken"),
    of_rows("profiles without a persona", "characters.source", '{"character": "Name: Ann"}',
            "persona"),
    of_rows("profiles that are empty", "characters.source", "", "it is empty"),
    of_rows("dialogues of others", "dialogues.source",
            json.dumps({"persona": "Somebody else.", "question": "Why?", "character_answer": "So"}),
            "can be taken"),
    of_rows("dialogues without turns", "dialogues.source", '{"persona": "A"}', "rename"),
    of_rows("dialogues of ids", "dialogues.source",
            json.dumps({"character_id": "x", "question": "Why?", "character_answer": "So"}),
            "character_id x"),
]  # fmt: skip

CARDS = [
    of_personas("a card without a name", "c.json",
                json.dumps({**FLAT, "name": "", "description": ""}), "c.json"),
    of_personas("a picture without a card", "c.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "c.png"),
    of_personas("a broken archive", "c.charx", b"PK\x03\x04" + NOISE[:80], "c.charx"),
]  # fmt: skip

ALL = [*PERSONAS, *QUESTIONS, *BROUGHT, *CARDS]


@pytest.mark.parametrize("situation", ALL, ids=[one.name for one in ALL])
def test_it_is_named_for_what_it_is(
    situation: Situation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hold_to(situation, tell(situation, tmp_path, capsys), tmp_path)
