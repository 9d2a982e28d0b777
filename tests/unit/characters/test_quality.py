"""Proves which profiles are unfit to play from, and what is trimmed instead."""

from __future__ import annotations

import json

import pytest

from infra.errors import Reject
from tasks.characters.profile import parse_profile
from tasks.characters.quality import find_profile_fault, tidy_profile

LABELS = {
    "Name": "Ingrid Solheim",
    "Age": "47",
    "Gender": "female",
    "Race": "white",
    "Birth Place": "Bergen",
    "Appearance": "Broad shoulders and a scar on her chin.",
    "General Experience": "She has steered ferries through the fjords for twenty years.",
    "Personality": "Calm, curt and loyal",
}


def judge(persona: str = "A ferry captain", **changes: str) -> dict[str, str] | Reject:
    fields = LABELS | {label.replace("_", " "): text for label, text in changes.items()}
    profile = parse_profile(json.dumps(fields))
    assert not isinstance(profile, Reject), profile
    tidy = tidy_profile(profile)
    return find_profile_fault(tidy, persona) or tidy


@pytest.mark.parametrize(
    ("label", "text", "kept"),
    [
        ("Name", "**Ingrid Solheim**", "Ingrid Solheim"),
        ("Name", '"Ingrid Solheim"', "Ingrid Solheim"),
        ("Name", "My name is Ingrid Solheim.", "Ingrid Solheim"),
        ("Name", "María del Carmen de la Cruz y Vega", "María del Carmen de la Cruz y Vega"),
        ("Name", "王小梅", "王小梅"),
        ("Name", "The Ferrywoman", "The Ferrywoman"),
        ("Personality", "Calm and curt.<|im_end|>", "Calm and curt."),
        ("Personality", "Calm, calm as the fjord, and loyal", "Calm, calm as the fjord, and loyal"),
        (
            "General_Experience",
            "She steered ferries for twenty years in the fjords. Then she moved to the",
            "She steered ferries for twenty years in the fjords.",
        ),
    ],
)
def test_what_belongs_to_nobody_is_trimmed(label: str, text: str, kept: str) -> None:
    found = judge(**{label: text})
    assert not isinstance(found, Reject), found
    assert kept in found.values()


@pytest.mark.parametrize(
    ("label", "text", "reason"),
    [
        ("Name", "a ferry captain who hates the tunnel", "name_is_persona"),
        ("Name", "Ferry Captain", "name_is_persona"),
        ("Name", "A Ferry Captain Who Hates The Tunnel", "name_is_persona"),
        ("Name", "captain", "name_is_persona"),
        ("Name", "She is a woman of the sea", "name_is_sentence"),
        ("Personality", "Calm, Loyal, " + "Unmoved, " * 30 + "Unmoved", "repetition"),
        ("Personality", "calm, loyal, calm, loyal, calm, loyal", "repetition"),
        ("Appearance", "She wears a red coat.She wears a red coat.", "repetition"),
        ("Appearance", LABELS["General Experience"], "repetition"),
        ("Appearance", "Broad <|pad|> shoulders", "control_tokens"),
        ("Appearance", "Broad shoulders, she saysâ€¦ donâ€™t ask", "broken_text"),
        ("Appearance", 'Broad", "Personality": "calm', "broken_text"),
        ("Appearance", "Broad. Personality: calm", "broken_text"),
        ("Appearance", "Broad<br>and tall", "broken_text"),
        ("Appearance", "Known as {{char}} in Bergen", "placeholder"),
        ("Appearance", "Broad shoulders and a", "cut_off"),
    ],
)
def test_an_unfit_profile_is_rejected_with_its_reason(label: str, text: str, reason: str) -> None:
    found = judge("a ferry captain who hates the tunnel", **{label: text})
    assert isinstance(found, Reject), found
    assert found.reason == reason


@pytest.mark.parametrize(
    ("persona", "age"),
    [
        ("A 62-year-old ferry captain", "12"),
        ("Olga, a 62-year-old captain", "31"),
        ("A captain in her 60s", "34"),
        ("An aging priest", "12"),
        ("A retired captain", "9 years old"),
        ("A high school student who sails", "58"),
        ("A grandmother who knits sails", "19"),
        ("A surgeon at sea", "8"),
    ],
)
def test_an_age_that_the_persona_excludes_is_rejected(persona: str, age: str) -> None:
    found = judge(persona, Age=age)
    assert isinstance(found, Reject), found
    assert found.reason == "age_contradicts_persona"


@pytest.mark.parametrize(
    ("persona", "age"),
    [
        ("A 62-year-old ferry captain", "62"),
        ("A 62-year-old ferry captain", "early 60s"),
        ("The mother of a 5-year-old", "34"),
        ("A teacher of high school students", "51"),
        ("A former high school student of the captain", "40"),
        ("A nurse who cares for elderly sailors", "25"),
        ("A child psychologist", "44"),
        ("A retired gymnast", "24"),
        ("A captain with 30 years of experience", "58"),
    ],
)
def test_an_age_that_may_be_is_taken(persona: str, age: str) -> None:
    assert not isinstance(judge(persona, Age=age), Reject)


def test_a_value_that_fills_a_shorter_bound_is_cut_to_its_last_sentence() -> None:
    value = "She drives a bus. She sings while she drives and then she"
    profile = parse_profile(json.dumps(LABELS | {"Personality": value}))
    assert not isinstance(profile, Reject)
    longest = len(value)
    assert tidy_profile(profile)["personality"] == value
    assert find_profile_fault(profile, "A ferry captain", longest + 1) is None
    fault = find_profile_fault(profile, "A ferry captain", longest)
    assert fault is not None and fault.reason == "cut_off"
    other = {**profile, "personality": f"{'She drives a bus. ' * 3}{value[18:]}"}
    found = tidy_profile(other, len(other["personality"]))["personality"]
    assert found.endswith("bus.")
