"""Proves that YAML is read as it was meant, and that no alias makes more of it than was written."""

from __future__ import annotations

import pytest
import yaml

from infra.yaml_reading import DoubledKey, read_yaml


def test_aliases_and_merges_mean_what_they_say() -> None:
    text = "base: &b {model: m, seed: 1}\nteacher: {<<: *b, seed: 2}\njudges: [*b, *b]\n"
    found = read_yaml(text)
    assert found["teacher"] == {"model": "m", "seed": 2}
    assert found["judges"] == [{"model": "m", "seed": 1}] * 2


def test_a_doubled_key_names_both_lines() -> None:
    with pytest.raises(DoubledKey, match="'a' is given twice, in lines 1 and 3"):
        read_yaml("a: 1\nb: 2\na: 3\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: &x [*x]\n", "inside of what it stands for"),
        ("&x {a: [{b: *x}]}\n", "inside of what it stands for"),
        ("[" * 2000 + "]" * 2000, "nested too deep"),
        ("a: 2020-13-45\n", "month must be in"),
        ("a: " + "9" * 5000, "digits"),
        (
            "a0: &a0 [x, x, x, x, x, x, x, x]\n"
            + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 8)}]\n" for n in range(8)),
            "more than 100,000 values",
        ),
    ],
    ids=[
        "alias of itself",
        "mapping of itself",
        "nested",
        "no date",
        "long number",
        "grown by aliases",
    ],
)
def test_what_nobody_would_write_is_no_yaml(text: str, told: str) -> None:
    with pytest.raises(yaml.YAMLError, match=told):
        read_yaml(text)
