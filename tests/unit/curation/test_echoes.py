"""Proves that answers which repeat question, profile, prompt or source are found."""

from hypothesis import given
from hypothesis import strategies as st

from infra.text.wording import split_words
from tasks.curation.echoes import (
    Given,
    find_profile_echo,
    find_prompt_echo,
    find_question_echo,
    find_source_copy,
)

WORDS = st.lists(st.sampled_from("abcd"), max_size=40)


@given(WORDS, WORDS, st.integers(3, 12))
def test_probing_blocks_finds_every_shared_run(
    answer: list[str], profile: list[str], run: int
) -> None:
    def runs(words: list[str]) -> set[tuple[str, ...]]:
        return {tuple(words[i : i + run]) for i in range(len(words) - run + 1)}

    shared = bool(runs(answer) & runs(profile))
    given = Given.prepare(" ".join(profile), run)
    assert (find_profile_echo(" ".join(answer), given) is not None) == shared


def test_an_answer_that_is_the_question_again() -> None:
    question = "How do you bake your bread?"
    assert find_question_echo("how do you bake your bread", question)
    answer = "How do you bake your bread? they ask, and I tell them all: slowly, my dear."
    assert find_question_echo(" ".join(split_words(answer)), question) is None


def test_prompt_headings_and_field_lists() -> None:
    assert find_prompt_echo("Sure.\n# Persona Description\nA baker") == "# Persona Description"
    assert find_prompt_echo("Name: Ada\nAge: 41\nGender: Female\nRace: Italian")
    assert find_prompt_echo("Name: Ada\nAge: 41") is None


def test_copies_of_the_source() -> None:
    source = "Paris is the capital of France and its largest city."
    assert find_source_copy((source.upper(),), (source,), 0.9)
    assert find_source_copy((f"Ah, {source} I was there as a girl!",), (source,), 0.9) is None
    assert find_source_copy(("negative",), ("Negative",), 0.9)
    thanks = "You're welcome!"
    assert find_source_copy(("Ah, Paris, my love!", thanks), (source, thanks), 0.9) is None
    assert find_source_copy(("Ah, Paris, my love!", source), ("Yes.", source), 0.9) == source
