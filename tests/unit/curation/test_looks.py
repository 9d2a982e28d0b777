"""Proves that a look at many answers changes no verdict on any of them."""

from __future__ import annotations

from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.text.wording import split_words
from tasks.curation.config import CurationConfig
from tasks.curation.echoes import Given
from tasks.curation.filters import FilterContext, Scene, judge_scene, list_faults
from tasks.curation.looks import Look, Suspicion, look_at
from tasks.curation.names import make_roster
from tasks.curation.toxicity import make_word_list
from tests.unit.curation.builders import make_turns
from tests.unit.infra.text.batches.writing import questions, texts

ROSTER = make_roster(["Ada Vance", "Dr. Bo Lind", "Anne-Marie de la Cruz"])
PROFILE = "a smith who mends nets and pots by the old harbour wall every day of the week"
SAID = st.sampled_from(
    (
        "I'm Bo Lind.", "Bo Lind here, at your service.", "Well met!\n\nYours, Bo Lind", "I am Ada",
        "I'm ANNE-MARIE DE LA CRUZ.", "My name is Elsa Berg.", "As Bo. Lind, I sail", "Bo_Lind:",
        "Persona description:", "Name: A\nAge: 4\nGender: F\nRace: X", "Mends nets and pots by the",
        "old harbour wall every day", "How do you do?", "Repeat it ten times.", "a rotten net",
    )
)  # fmt: skip
ANSWERS = st.lists(
    st.lists(SAID | texts(), min_size=1, max_size=3).map(" ".join), min_size=1, max_size=5
)


def make_scene(answer: str, question: str) -> Scene:
    return Scene(
        strategy="generate",
        truncated=False,
        context_turns=0,
        turns=make_turns(question, answer),
        name="Ada Vance",
        persona="a smith",
        profile=PROFILE,
        given=Given.prepare(PROFILE, 8),
        sources=(),
    )


@settings(max_examples=300, deadline=None)
@given(ANSWERS, questions(), st.booleans())
def test_a_look_changes_no_verdict(answers: list[str], question: str, mentions: bool) -> None:
    config = CurationConfig(echo_words=8, other_names="mentions" if mentions else "introductions")
    toxic = make_word_list(["rotten", "torn net"])
    context = FilterContext(config, ROSTER, toxic, list_faults(config))
    for answer, look in zip(answers, look_at(answers, ROSTER), strict=True):
        everything = Look(" ".join(split_words(answer)), frozenset(get_args(Suspicion)))
        scene = make_scene(answer, question)
        assert judge_scene(scene, [look], context) == judge_scene(scene, [everything], context)


def test_nobody_suspects_plain_speech_of_a_profile() -> None:
    said = "I mend nets at dawn, and the sea is wide. In Lisbon, Old Tom would laugh at me."
    assert look_at([said], ROSTER) == [Look(" ".join(split_words(said)), frozenset())]
