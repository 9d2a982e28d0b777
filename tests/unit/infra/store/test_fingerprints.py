"""Proves that keys move exactly when what they name moves, and never by themselves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.store.fingerprints import (
    content_key,
    hash_json,
    hash_parts,
    node_fingerprint,
    recipe_key,
    request_seed,
    row_key,
)

TEXTS = st.lists(st.text(max_size=4), max_size=4)


@given(TEXTS, TEXTS)
def test_two_lists_share_a_hash_only_when_they_are_equal(left: list[str], right: list[str]) -> None:
    assert (hash_parts(*left) == hash_parts(*right)) == (left == right)


def test_where_one_part_ends_counts() -> None:
    assert hash_parts("ab", "c") != hash_parts("a", "bc")
    assert hash_parts("a") != hash_parts("a", "")


def test_a_broken_surrogate_has_a_hash_of_its_own() -> None:
    assert hash_parts("\ud800") != hash_parts("\ud801")


def test_hashes_stay_what_they_were_when_stores_were_written() -> None:
    assert hash_parts("persona", "A baker.") == content_key("persona", "A baker.")
    assert content_key("persona", "A baker.") == "b8f7a86f1faa0eca8af1a3725db17306"
    assert hash_json({"b": [1, None], "a": "é"}) == "46ee1bb8a4f0de0de6d0fb94306553f8"
    assert request_seed(0, "key", 1, 2) == 1034659097


def test_the_order_of_mapping_keys_does_not_matter_but_the_order_of_lists_does() -> None:
    assert hash_json({"a": 1, "b": {"c": 2, "d": 3}}) == hash_json({"b": {"d": 3, "c": 2}, "a": 1})
    assert hash_json([1, 2]) != hash_json([2, 1])
    assert hash_json({"a": 1}) != hash_json({"a": "1"})


RECIPE = recipe_key("characters", 1, {"temperature": 0.7})


@pytest.mark.parametrize(
    "other",
    [
        recipe_key("answers", 1, {"temperature": 0.7}),
        recipe_key("characters", 2, {"temperature": 0.7}),
        recipe_key("characters", 1, {"temperature": 0.8}),
        recipe_key("characters", 1, {"temperature": 0.7, "top_p": 0.9}),
    ],
    ids=["stage", "version", "value", "knob"],
)
def test_a_recipe_moves_with_each_of_its_parts(other: str) -> None:
    assert other != RECIPE


def test_a_row_is_named_by_its_recipe_its_parents_in_order_and_its_sample() -> None:
    keys = {
        row_key("r", ["a", "b"]),
        row_key("s", ["a", "b"]),
        row_key("r", ["b", "a"]),
        row_key("r", ["a"]),
        row_key("r", ["a", "b"], 1),
    }
    assert len(keys) == 5


def test_the_order_of_source_files_does_not_move_a_node() -> None:
    assert node_fingerprint("r", {}, ["u"], ["x", "y"]) == node_fingerprint(
        "r", {}, ["u"], ["y", "x"]
    )


@pytest.mark.parametrize(
    "moved",
    [
        lambda: node_fingerprint("s", {"limit": 1}, ["u", "v"], ["x"]),
        lambda: node_fingerprint("r", {"limit": 2}, ["u", "v"], ["x"]),
        lambda: node_fingerprint("r", {"limit": 1}, ["v", "u"], ["x"]),
        lambda: node_fingerprint("r", {"limit": 1}, ["u", "v"], ["z"]),
        lambda: node_fingerprint("r", {"limit": 1}, ["u", "v"]),
    ],
    ids=["recipe", "selection", "upstream", "source", "no source"],
)
def test_a_node_moves_with_each_of_its_parts(moved: Callable[[], str]) -> None:
    assert moved() != node_fingerprint("r", {"limit": 1}, ["u", "v"], ["x"])


@given(st.integers(), st.text(max_size=8), st.integers(0, 9), st.integers(0, 9))
def test_seeds_fit_signed_31_bits(seed: int, key: str, call: int, attempt: int) -> None:
    assert 0 <= request_seed(seed, key, call, attempt) < 2**31


def test_every_attempt_of_every_call_draws_from_another_seed() -> None:
    seeds = {
        request_seed(run, key, call, attempt)
        for run in range(2)
        for key in ("a", "b")
        for call in range(4)
        for attempt in range(4)
    }
    assert len(seeds) == 2 * 2 * 4 * 4
