"""Proves that JSON is found however a model wraps and misspells it, or is a reject."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import Reject
from infra.text.json_answers import MOST_LEVELS, find_json, find_values

BOAT = {"boat": "Petrel", "crew": 3}
PLAIN = json.dumps(BOAT)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"Of course! The boat: ```json\n{PLAIN}\n```\nFair winds!",
        f"The boat [an old one] {{leaky}}: {PLAIN} – is that all?",
        "{'boat': 'Petrel', 'crew': 3,}",
        "{“boat”: “Petrel”, “crew”: 3}",
        "{boat: 'Petrel', crew: 3}",
        '{"boat": "Petrel", // her name\n "crew": 3}',
        '{"boat": "Petrel"\n "crew": 3}',
        '{"boat": "Gull", "boat": "Petrel", "crew": 3}',
        '{"boat"\uff1a "Petrel"\uff0c"crew": 3}',
    ],
)
def test_one_object_is_read_in_every_dress(text: str) -> None:
    wanted = find_json(text, lambda value: isinstance(value, dict) and "crew" in value)
    assert wanted == BOAT


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        ('{"a": "she said "go" and went", "b": 1,}', {"a": 'she said "go" and went', "b": 1}),
        ("{'a': 'it isn't so', 'b': None}", {"a": "it isn't so", "b": None}),
        ('{"a": NaN, "b": -Infinity, "c": 1e999}', {"a": None, "b": None, "c": None}),
        ('{"a": ' + "7" * 5000 + "}", {"a": None}),
        ('{"a": "\\ud83d", "b": "\\ud83d\\ude00"}', {"a": "\ufffd", "b": "😀"}),
        ('{"a": "\ud83d"}', {"a": "\ufffd"}),
        ('{"a": "\\(x\\)",}', {"a": "\\(x\\)"}),
        ('{"a": "```python\\nx = [1, 2]\\n```"}', {"a": "```python\nx = [1, 2]\n```"}),
    ],
)
def test_values_come_out_storable(text: str, value: object) -> None:
    assert find_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no value here",
        '{"boat": "Pet',
        '{"boat": "Petrel", "crew": ',
        '[{"boat": "Petrel"}, {"boat": "Gu',
        '```json\n{"boats": [{"boat": "Petrel"}, {"boat"\n```',
        "[" * 1500 + "]" * 1500,
        '{"a":' * 1500 + "1" + "}" * 1500,
        "[" * (MOST_LEVELS + 2) + "]" * (MOST_LEVELS + 2),
    ],
)
def test_what_is_cut_off_too_deep_or_not_there_is_a_reject(text: str) -> None:
    found = find_json(text)
    assert isinstance(found, Reject)
    assert found.reason == "not_json"


def test_the_reader_says_which_of_several_counts() -> None:
    text = '{"n": 1} or rather {"n": 2}, not {"m": 3}'
    assert find_json(text) == {"n": 1}
    assert find_json(text, lambda value: "n" in str(value), last=True) == {"n": 2}
    assert find_json(text, lambda value: "m" in str(value)) == {"m": 3}
    assert find_json(text, lambda value: "x" in str(value)) == {"n": 1}


MARKS = st.lists(st.sampled_from([*"{}[]\"':,\\“”\n`#/ a1-.e", "true", "\ud83d", "```"]))


@settings(max_examples=300, deadline=None)
@given(MARKS.map("".join) | st.text(max_size=200))
def test_any_text_gives_storable_values_or_a_reject(text: str) -> None:
    for value in find_values(text):
        if not isinstance(value, Reject):
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    assert isinstance(find_json(text), dict | list | Reject)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=5), VALUES, min_size=1))
def test_valid_json_is_read_as_it_is(value: dict[str, object]) -> None:
    assert find_json(f"Here: {json.dumps(value)} Bye.") == value


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), st.text("xyz é", max_size=20), min_size=1))
def test_a_python_literal_is_read_as_json_is(value: dict[str, str]) -> None:
    assert find_json(repr(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "b', {"a": "b"}),
        ('[{"a": "b"}, {"a": "c', [{"a": "b"}, {"a": "c"}]),
        ('{"a": ["b"', {"a": ["b"]}),
        ('{"a": {"b": "c"}', {"a": {"b": "c"}}),
    ],
)
def test_what_a_model_ended_by_itself_may_lack_its_brackets(text: str, value: object) -> None:
    assert isinstance(find_json(text), Reject)
    assert find_json(text, ended=True) == value
