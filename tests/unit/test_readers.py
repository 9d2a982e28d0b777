"""Proves that every reader of foreign text takes any bytes: a row, a reject, or its own error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.readers import READERS

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"
SEEDS = [
    "[" * 1500 + "]" * 1500,
    '{"a":' * 1500 + "1" + "}" * 1500,
    '{"Name": "Ann \\ud83d", "Age": 1e999, "Score": NaN}',
    "<think>one</think>two</think><|im_end|>",
    "[user]\n{{ persona }}{% for a in [1] %}{{ query }}{% endfor %}",
    'persona,age\n"A baker, of Cork,1\nb,2\n',
    "a: &x [*x, *x]\n? [b]\n: {<<: *x}\n",
    "{}" * 400,
    "9" * 5000,
    "\x00\ufeff\u2028\u202e",
]
MARKS = st.sampled_from(
    ["{", "}", "[", "]", '"', ":", ",", "\n", "\\u", "\\ud83d", "<think>", "</think>", "```json",
     "{{", "}}", "{%", "%}", "[user]", "Name:", "Age:", "Score", "5/5", "**", "|", "&a", "*a",
     "1e999", "NaN", "null", "\x00", "\u2028", "\r", "\t", "é", "漢", "A baker of Cork"]
)  # fmt: skip
TEXTS = st.one_of(
    st.lists(MARKS, max_size=40).map("".join).map(str.encode),
    st.binary(max_size=300),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=20)),
        lambda inner: st.one_of(st.lists(inner, max_size=4),
                                st.dictionaries(st.text(max_size=10), inner, max_size=4)),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)  # fmt: skip


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60)
@given(data=TEXTS)
def test_any_text_is_read(name: str, data: bytes) -> None:
    READERS[name](data)


@pytest.mark.parametrize("name", READERS)
def test_what_once_hurt_is_read(name: str) -> None:
    for seed in SEEDS:
        READERS[name](seed.encode())
    for path in sorted((CORPUS / name).iterdir()):
        READERS[name](path.read_bytes())
