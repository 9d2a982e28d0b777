"""Proves whose profiles stand beside the true one, and that no order decides it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.evaluation.measures.distractors import DistractorChooser
from tasks.records import Character

TRADES = ("baker", "pilot", "nurse", "miner")
MOODS = (
    "Cheerful, full of smiles",
    "Gloomy, expects rain",
    "Strict, fond of rules",
    "Shy, blushes",
)


def make_person(key: str, trade: str, mood: str, years: int = 20) -> Character:
    return Character(
        key=key,
        persona_key=f"persona of {key}",
        persona=f"A {trade}",
        name=f"Name {key}",
        age="41",
        gender="Female",
        race="Italian",
        birth_place="Rome",
        appearance="Small",
        general_experience=f"{years} years as a {trade}",
        personality=mood,
    )


@pytest.fixture
def town() -> list[Character]:
    """Two people of each trade and mood, who differ in name and years only."""
    return [
        make_person(f"{trade}-{place}-{twin}", trade, mood, years=10 * place + 5 * twin)
        for trade in TRADES
        for place, mood in enumerate(MOODS)
        for twin in (0, 1)
    ]


def find(people: list[Character], key: str) -> Character:
    return next(person for person in people if person.key == key)


def test_random_distractors_are_others_each_once(town: list[Character]) -> None:
    ada = find(town, "baker-0-0")
    chosen = DistractorChooser(town, seed=0).choose_random(ada, "e1", 31)
    assert sorted(chosen) == sorted(person.key for person in town if person is not ada)


@pytest.mark.parametrize("kind", ["choose_random", "choose_hard"])
def test_the_order_of_the_pool_decides_nothing(town: list[Character], kind: str) -> None:
    ada = find(town, "nurse-2-0")
    one = getattr(DistractorChooser(town, seed=3), kind)(ada, "e1", 5)
    other = getattr(DistractorChooser(town[::-1], seed=3), kind)(ada, "e1", 5)
    assert one == other
    assert len(set(one)) == 5


@pytest.mark.parametrize("kind", ["choose_random", "choose_hard"])
def test_fewer_distractors_are_the_first_of_more(town: list[Character], kind: str) -> None:
    choose = getattr(DistractorChooser(town, seed=0), kind)
    ada = find(town, "pilot-1-0")
    assert [choose(ada, "e1", count) for count in range(9)] == [
        choose(ada, "e1", 8)[:count] for count in range(9)
    ]


@pytest.mark.parametrize("kind", ["choose_random", "choose_hard"])
def test_seed_and_example_choose_others(town: list[Character], kind: str) -> None:
    ada = find(town, "pilot-1-0")
    choices = {
        getattr(DistractorChooser(town, seed=seed), kind)(ada, key, 3)
        for seed in (0, 1)
        for key in ("e1", "e2", "e3")
    }
    assert len(choices) > 3


@pytest.mark.parametrize("kind", ["choose_random", "choose_hard"])
def test_characters_of_one_persona_never_stand_against_each_other(
    town: list[Character], kind: str
) -> None:
    ada = find(town, "baker-0-0")
    people = [replace(person, persona_key="the same") for person in town[:6]] + town[6:]
    chosen = getattr(DistractorChooser(people, seed=0), kind)(
        replace(ada, persona_key="the same"), "e1", 40
    )
    assert sorted(chosen) == sorted(person.key for person in town[6:])


def test_hard_distractors_share_one_facet_turn_about_and_the_twin_comes_last(
    town: list[Character],
) -> None:
    ada = find(town, "miner-3-0")
    chooser = DistractorChooser(town, seed=0)
    chosen = [find(town, key) for key in chooser.choose_hard(ada, "e1", 13)]
    mood, trade = chosen[0:12:2], chosen[1:12:2]
    assert all(person.personality == ada.personality for person in mood)
    assert all("miner" in person.general_experience for person in trade)
    twin = find(town, "miner-3-1")
    assert twin not in chosen[:12]
    assert chosen[12] == twin


def test_hard_distractors_go_by_rare_words_and_not_by_numbers_or_common_words() -> None:
    def make(key: str, experience: str, mood: str) -> Character:
        return replace(make_person(key, "", mood), general_experience=experience)

    people = [
        make("ada", "From 1980 to 1990 and 2001 to 2011 a baker", "Warm"),
        make("numbers", "From 1980 to 1990 and 2001 to 2011 a pilot", "Cold"),
        make("trade", "Then a baker", "Cold"),
        make("mood", "From 7 to 8 and 9 to 10 a miner", "Warm"),
        *(make(f"more {n}", f"From 1 to 2 and 3 to 4 a job{'x' * n}", "Cold") for n in range(9)),
    ]
    chosen = DistractorChooser(people, seed=0).choose_hard(people[0], "e1", 2)
    assert chosen == ("mood", "trade")


def test_a_lonely_character_has_no_distractors() -> None:
    ada = make_person("a", "baker", "Warm")
    chooser = DistractorChooser([ada], seed=0)
    assert chooser.choose_random(ada, "e1", 3) == ()
    assert chooser.choose_hard(ada, "e1", 3) == ()


def test_profiles_without_words_are_like_nobody() -> None:
    people = [
        replace(make_person(key, "baker", ""), general_experience="?") for key in ("a", "b", "c")
    ]
    chooser = DistractorChooser(people, seed=0)
    assert sorted(chooser.choose_hard(people[0], "e1", 2)) == ["b", "c"]
