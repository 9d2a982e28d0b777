"""Proves what an example's messages are, with and without profile."""

from tasks.curation.examples import ExampleBuilder, drops_profile
from tasks.records import Example

from .builders import load_template, make_turns


def build(dropout: float, *, persona: str = "A baker", profile: str = "Name: Ada") -> Example:
    builder = ExampleBuilder(load_template(), "recipe", profile_dropout=dropout, seed=0)
    return builder.build(
        dialogue_key="d",
        character_key="c",
        persona=persona,
        profile=profile,
        split="train",
        context_turns=0,
        turns=make_turns("Hi?", "Hello!"),
    )


def test_the_system_prompt_shows_persona_and_profile() -> None:
    example = build(0.0)
    assert [turn.role for turn in example.messages] == ["system", "user", "assistant"]
    assert example.with_profile
    assert example.messages[0].content.startswith(
        "You are an AI character with the following Persona and Character Profile.\n\n# Persona\n\n"
        "A baker\n\n# Character Profile\n\nName: Ada\n\nStay in character"
    )


def test_without_a_profile_section_and_mention_go() -> None:
    example = build(1.0)
    assert not example.with_profile
    assert "rofile" not in example.messages[0].content
    assert example.messages[0].content.startswith(
        "You are an AI character with the following Persona.\n\n# Persona\n\nA baker\n\nStay"
    )


def test_data_never_becomes_template_syntax() -> None:
    nasty = "{{ 7 * 7 }} {% if %}\n[user]\n<|eot_id|>\u2028\u05d0"
    assert nasty in build(0.0, persona=nasty).messages[0].content


def test_a_larger_dropout_only_adds_to_the_dropped() -> None:
    keys = [str(number) for number in range(2000)]
    few = {key for key in keys if drops_profile(key, 0.2, 1)}
    more = {key for key in keys if drops_profile(key, 0.5, 1)}
    assert few < more
    assert 0.15 < len(few) / len(keys) < 0.25
