"""Proves that every knob is declared and that its kind decides where its value goes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field, ValidationError

from infra.knobs import Knobs, execution, group, identity, selection


class Inner(Knobs):
    prompt: str = identity("p", description="Changes rows.")
    limit: int = selection(1, ge=0, description="Changes which rows.")
    window: int = execution(8, description="Changes nothing.")


class Quiet(Knobs):
    window: int = execution(8, description="Changes nothing.")


class Outer(Knobs):
    model: str = identity("m", description="Changes rows.")
    sample: int | None = selection(None, description="Changes which rows.")
    root: str = execution("data", description="Changes nothing.")
    one: Inner = group(Inner, description="A group.")
    maybe: Inner | None = group(None, description="A group, or none.")
    several: tuple[Inner, ...] = group((), description="Groups in order.")
    named: dict[str, Inner] = group(dict, description="Groups by name.")
    quiet: Quiet = group(Quiet, description="A group without rows.")


FULL = Outer(
    sample=5,
    maybe=Inner(prompt="q"),
    several=(Inner(limit=2), Inner(limit=3)),
    named={"z": Inner(prompt="zed"), "a": Inner(prompt="ay")},
)


def test_identity_holds_what_changes_rows_in_every_nested_group() -> None:
    assert FULL.knob_values("identity") == {
        "model": "m",
        "one": {"prompt": "p"},
        "maybe": {"prompt": "q"},
        "several": [{"prompt": "p"}, {"prompt": "p"}],
        "named": {"a": {"prompt": "ay"}, "z": {"prompt": "zed"}},
    }


def test_selection_holds_what_changes_which_rows() -> None:
    assert FULL.knob_values("selection") == {
        "sample": 5,
        "one": {"limit": 1},
        "maybe": {"limit": 1},
        "several": [{"limit": 2}, {"limit": 3}],
        "named": {"a": {"limit": 1}, "z": {"limit": 1}},
    }


def test_execution_holds_the_rest() -> None:
    values = FULL.knob_values("execution")
    assert values["root"] == "data"
    assert values["quiet"] == {"window": 8}
    assert values["named"]["z"] == {"window": 8}


def test_empty_groups_leave_no_trace_so_that_a_default_does_not_move_keys() -> None:
    assert Outer().knob_values("identity") == {"model": "m", "one": {"prompt": "p"}}


def test_groups_come_in_the_order_of_their_names_not_of_the_file() -> None:
    turned = Outer(named={"a": Inner(prompt="ay"), "z": Inner(prompt="zed")})
    assert list(turned.knob_values("identity")["named"]) == list(
        FULL.knob_values("identity")["named"]
    )


def test_values_are_plain_json() -> None:
    class Sized(Knobs):
        sizes: tuple[int, ...] = identity((1, 2), description="Changes rows.")

    assert Sized().knob_values("identity") == {"sizes": [1, 2]}


def test_an_undeclared_field_is_a_type_error_that_names_it() -> None:
    with pytest.raises(TypeError, match=r"Loose\.temperature"):

        class Loose(Knobs):
            temperature: float = 0.7


def test_a_plain_pydantic_field_is_undeclared_too() -> None:
    with pytest.raises(TypeError, match=r"Loose\.top_p"):

        class Loose(Knobs):
            top_p: float = Field(0.9, description="Not said what it changes.")


def test_a_knob_needs_a_description() -> None:
    with pytest.raises(TypeError, match=r"Mute\.seed"):

        class Mute(Knobs):
            seed: int = identity(0, description="")


@pytest.mark.parametrize("given", [{"limits": 1}, {"limit": -1}, {"limit": "many"}])
def test_unknown_keys_and_wrong_values_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Inner.model_validate(given)


def test_a_wrong_default_is_refused_when_it_is_used() -> None:
    class Wrong(Knobs):
        share: float = selection(2.0, le=1, description="At most 1.")

    with pytest.raises(ValidationError):
        Wrong()


def test_knobs_cannot_be_changed_behind_a_fingerprints_back() -> None:
    with pytest.raises(ValidationError):
        Inner().prompt = "other"  # type: ignore[misc]
