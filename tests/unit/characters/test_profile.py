"""Proves that a profile reads the same from JSON and from plain lines, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from infra.errors import Reject
from tasks.characters.profile import parse_profile, profile_schema
from tasks.records import PROFILE_FIELDS

PROFILE = {
    "name": "Amara Osei",
    "age": "34",
    "gender": "Female",
    "race": "Black",
    "birth_place": "Accra, Ghana",
    "appearance": "Tall, with paint on her sleeves.",
    "general_experience": "She ran a small theatre: first the lights, then the stage.",
    "personality": "Patient and dry.",
}


def print_json(values: Mapping[str, str]) -> str:
    return json.dumps({label: values[name] for label, name in PROFILE_FIELDS if name in values})


def print_lines(values: Mapping[str, str], line: str = "{label}: {value}") -> str:
    return "\n".join(
        line.format(number=number, label=label, value=values[name])
        for number, (label, name) in enumerate(PROFILE_FIELDS, 1)
        if name in values
    )


def read(text: str) -> Mapping[str, str]:
    found = parse_profile(text)
    assert not isinstance(found, Reject), found
    return found


def reason(text: str) -> str:
    found = parse_profile(text)
    assert isinstance(found, Reject)
    return found.reason


@pytest.mark.parametrize(
    "text",
    [
        print_json(PROFILE),
        f"```json\n{print_json(PROFILE)}\n```",
        f"\n  {print_json(PROFILE)}\nI hope you like her!",
        json.dumps(PROFILE),
        json.dumps({"Skills": ["none"], **PROFILE, "age": 34}),
        print_lines(PROFILE),
        f"```\n{print_lines(PROFILE)}\n```",
        "Here is the character.\n\n" + print_lines(PROFILE),
        print_lines(PROFILE, "**{label}:** {value}"),
        print_lines(PROFILE, "**{label}**: {value}"),
        print_lines(PROFILE, "- {label}: {value}"),
        print_lines(PROFILE, "{number}. **{label}**: {value}"),
        print_lines(PROFILE, "{number}) {label}: {value}\n"),
        print_lines(PROFILE, "### {label}:\n{value}"),
        f"Gladly. This is she:\n\n```json\n{print_json(PROFILE)}\n```\n\nShall I change anything?",
        f"<answer>\n{print_lines(PROFILE)}\n</answer>",
        print_lines(PROFILE, "## {label}\n\n{value}\n"),
        print_lines(PROFILE, "{label} = {value}"),
        print_lines(PROFILE, "{label} \u2014 {value}"),
        print_lines(PROFILE, "<{label}>{value}</{label}>"),
        print_lines(PROFILE, "| {label} | {value} |"),
        json.dumps(print_json(PROFILE)),
        json.dumps([{"field": label, "value": PROFILE[name]} for label, name in PROFILE_FIELDS]),
        json.dumps([{label: PROFILE[name]} for label, name in PROFILE_FIELDS]),
        json.dumps({f"{label.replace(' ', '')}:": PROFILE[name] for label, name in PROFILE_FIELDS}),
    ],
    ids=[
        "json", "fenced json", "json then talk", "column names", "numbers and extra keys",
        "lines", "fenced lines", "talk then lines", "bold with colon", "bold", "bullets",
        "numbered bold", "numbered with gaps", "headings", "talk and a fence", "tags around",
        "bare headings", "equals", "dashes", "tags", "table", "json in json", "pairs", "items",
        "joined words",
    ],
)  # fmt: skip
def test_every_usual_form_gives_the_same_profile(text: str) -> None:
    assert read(text) == PROFILE


WORDS = st.text(
    st.characters(categories=["Lu", "Ll", "Lo", "Nd"]) | st.sampled_from(" .,;:'()-\"\\"),
    min_size=3,
    max_size=60,
).map(lambda text: f"W{' '.join(text.split())}w")


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {name: st.integers(1, 120).map(str) if name == "age" else WORDS for name in PROFILE}
    )
)
def test_json_and_lines_of_one_profile_give_the_same_record(values: dict[str, str]) -> None:
    from_json = parse_profile(print_json(values))
    assert parse_profile(print_lines(values)) == from_json
    assume(not isinstance(from_json, Reject))
    assert from_json == values


def test_a_value_may_run_over_lines_in_both_forms() -> None:
    wrapped = {**PROFILE, "appearance": "Tall,\nwith paint:\n\non her sleeves."}
    folded = {**PROFILE, "appearance": "Tall, with paint: on her sleeves."}
    assert read(print_lines(wrapped)) == folded
    assert read(print_json(wrapped)) == folded


def test_raw_control_characters_inside_json_are_folded_away() -> None:
    text = print_json(PROFILE).replace("Patient and dry.", "Patient\n\tand\x01 dry.")
    assert read(text) == PROFILE


@pytest.mark.parametrize(
    ("label", "alias"),
    [
        ("Birth Place", "Birthplace"),
        ("Birth Place", "Place of Birth"),
        ("Birth Place", "birth_place"),
        ("Birth Place", "Born Place"),
        ("Birth Place", "Birth Place (City, Country)"),
        ("Birth Place", "Hometown"),
        ("Race", "Ethnicity"),
        ("Race", "Race/Ethnicity"),
        ("Race", "Race or Ethnicity"),
        ("Personality", "Traits"),
        ("Appearance", "Physical Description"),
        ("Gender", "Sex"),
        ("General Experience", "Background"),
        ("General Experience", "EXPERIENCE"),
    ],
)
def test_usual_other_names_of_fields_are_known(label: str, alias: str) -> None:
    if "_" not in alias:
        assert read(print_lines(PROFILE).replace(f"{label}:", f"{alias}:")) == PROFILE
    assert read(print_json(PROFILE).replace(f'"{label}"', f'"{alias}"')) == PROFILE


def test_the_first_of_two_values_stands() -> None:
    assert read(print_lines(PROFILE) + "\nName: Someone Else")["name"] == PROFILE["name"]


@pytest.mark.parametrize(
    "age",
    [
        "34", "34 years old", "mid-30s", "Early forties", "in her late twenties", "0", "120",
        "about 70 (born 1955)", "middle-aged", "elderly", "300000000000 years, looks 30",
        "soixante-trois ans", "neunundvierzig", "vijfenveertig", "sesenta y dos", "quarantadue",
        "femtisyv", "neljäkymmentä", "negyvenkettő", "czterdzieści dwa lata", "čtyřicet dva",
        "k\u0131rk iki", "patruzeci și doi", "arobaini na mbili", "empat puluh dua", "bốn mươi hai",
        "сорок два", "四十二歳", "마흔둘", "بیست", "ארבעים", "ორმოცი", "XLII", "septuagenarian",
    ],
)  # fmt: skip
def test_sane_ages_are_taken_as_they_are_written(age: str) -> None:
    assert read(print_json({**PROFILE, "age": age}))["age"] == age


@pytest.mark.parametrize("age", ["abc", "150", "1987", "-", "121 years", "9" * 39, "-7", "white"])
def test_other_ages_are_refused(age: str) -> None:
    assert reason(print_json({**PROFILE, "age": age})) == "implausible_age"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("name", "N/A"),
        ("name", "[Insert Name]"),
        ("name", "Name"),
        ("name", "Character's name"),
        ("appearance", "Describe her looks here"),
        ("birth_place", "Not stated in the persona"),
        ("gender", "unknown"),
        ("gender", "(Not specified.)"),
        ("birth_place", "<your city>"),
        ("appearance", "string"),
        ("appearance", "..."),
        ("personality", "Lorem ipsum dolor sit amet"),
        ("general_experience", "She knows {field of work} by heart."),
    ],
)
def test_placeholder_text_is_refused(field: str, text: str) -> None:
    assert reason(print_json({**PROFILE, field: text})) == "placeholder"


@pytest.mark.parametrize(
    ("field", "text"),
    [("race", "Unknown"), ("name", "Nona Valuet"), ("personality", "None too shy.")],
)
def test_words_that_only_look_like_placeholders_are_not(field: str, text: str) -> None:
    assert read(print_json({**PROFILE, field: text}))[field] == text


@pytest.mark.parametrize("gap", ["Name", "Race", "Personality"])
@pytest.mark.parametrize("form", [print_json, print_lines], ids=["json", "lines"])
def test_a_gap_is_named(gap: str, form: object) -> None:
    names = dict(PROFILE_FIELDS)
    printer = print_json if form is print_json else print_lines
    without = {name: value for name, value in PROFILE.items() if name != names[gap]}
    for values in (without, {**PROFILE, names[gap]: "  \n "}):
        assert parse_profile(printer(values)) == Reject("missing_field", gap)


def test_a_value_that_runs_away_is_refused() -> None:
    assert reason(print_json({**PROFILE, "name": "a " * 60})) == "field_too_long"
    assert reason(print_lines({**PROFILE, "personality": "very " * 300})) == "field_too_long"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        (" \n ", "empty"),
        ("```json\n\n```", "empty"),
        (print_json(PROFILE)[:-30], "not_json"),
        ("{'Name': 'x'}", "missing_field"),
        ('{"Name": "x", "Age": 3', "not_json"),
        ("I cannot do that.", "not_a_profile"),
        ('["Name", "x"]', "not_a_profile"),
        ("{}", "missing_field"),
        ('{"Name": {"first": "A"}}', "missing_field"),
        ('{"Name": null}', "missing_field"),
    ],
)
def test_what_is_no_profile_is_refused_with_its_reason(text: str, expected: str) -> None:
    assert reason(text) == expected


@settings(max_examples=200)
@given(st.text())
def test_no_text_whatever_breaks_the_reader(text: str) -> None:
    for wrapped in (text, "{" + text, f'{{"Name": "{text}"', f"Name: {text}\nAge: {text}"):
        assert isinstance(parse_profile(wrapped), Reject | dict)


def test_the_schema_asks_for_the_eight_fields_in_the_papers_order_all_bounded() -> None:
    schema = profile_schema()
    labels = [label for label, _ in PROFILE_FIELDS]
    assert list(schema["properties"]) == schema["required"] == labels
    assert schema["additionalProperties"] is False
    for label, name in PROFILE_FIELDS:
        bound = schema["properties"][label]["maxLength"]
        longest = {**PROFILE, name: "1" + "b" * (bound - 1)}
        if name != "age":
            assert read(print_json(longest))[name] == longest[name]


def test_brackets_that_lack_are_closed_only_where_the_model_ended_by_itself() -> None:
    text = print_json(PROFILE)[:-2]
    assert reason(text) == "not_json"
    assert parse_profile(text, ended=True) == PROFILE
    assert isinstance(parse_profile(text[:40], ended=True), Reject)


def test_a_loose_word_for_a_field_yields_to_its_own_label() -> None:
    values = {"Occupation": "Actor", **json.loads(print_json(PROFILE)), "History": "Long."}
    assert read(json.dumps(values)) == PROFILE
