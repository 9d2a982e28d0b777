"""Proves that every dialogue comes out once, under the first reason that applies."""

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.store.fingerprints import row_key
from tasks.curation.config import CurationConfig
from tasks.curation.curate import Curation, curate
from tasks.curation.inputs import CurationInputs
from tasks.curation.toxicity import make_word_list
from tasks.records import Character, Dialogue, Instruction

from .builders import (
    ADA,
    BOB,
    curate_rows,
    load_template,
    make_character,
    make_dialogue,
    make_frame,
    make_turns,
)

ANSWERS = (
    "Ah, bread! I have kneaded it every morning since my aunt put me on a stool by the trough.",
    "The sea took two years of mine and gave me back a good story and a bad knee, my friend.",
    "Come at dawn, when the loaves sing as they cool; that is the only music I ever wanted.",
)
FRENCH = (
    "Le pain est le plus bel art du monde. Il faut beaucoup de patience, de l'eau fraîche et un "
    "four très chaud, comme ma tante me l'a appris quand j'étais encore une petite fille."
)


def reasons(curation: Curation) -> dict[str, str]:
    return {rejection.source: rejection.reason for rejection in curation.rejections}


def test_each_filter_names_its_reason() -> None:
    source = Instruction("src", "demo", "1", 0, make_turns("Say it.", ANSWERS[2]))
    curation = curate_rows(
        make_dialogue("00", "Who are you?", ANSWERS[0]),
        make_dialogue("01", "Who are you?", ANSWERS[1], character="nobody"),
        make_dialogue("02", "Who are you?"),
        make_dialogue("03", "Who are you?", " … "),
        make_dialogue("04", "Who are you?", ANSWERS[1], truncated=True),
        make_dialogue("05", "Who are you?", ANSWERS[1], "And?", ANSWERS[2]),
        make_dialogue("06", "Who are you?", "I'm sorry, but I can't help with that."),
        make_dialogue("07", "Who are you?", "As an AI, I have no aunt."),
        make_dialogue("08", "Who are you, my dear?", "Who are you, my dear?"),
        make_dialogue("09", "Say it.", ANSWERS[2], strategy="rewrite", instruction="src"),
        make_dialogue("10", "Who are you?", "I'm Bob Stone, baker of Rome."),
        make_dialogue("11", "Who are you?", "None of your blasted business, sir."),
        make_dialogue("12", "Who are you?", FRENCH),
        make_dialogue("13", "How would you sell bread to the sea?", ANSWERS[1]),
        make_dialogue("14", "Who are you?", ANSWERS[0].upper(), character=BOB),
        make_dialogue("15", "Who are you?", ANSWERS[0] + " Yes."),
        make_dialogue("20", "Who are you?", "I bake <|pad|> bread."),
        make_dialogue("21", "Who are you?", f"{ANSWERS[1]}\n\nUser: And your aunt?\nAda: Well."),
        make_dialogue("22", "Who are you?", "*wipes her hands*"),
        make_dialogue("23", "Who are you?", "I am [Name], and I bake bread in Rome."),
        make_dialogue("24", "Who are you?", "I wonâ€™t say it, and you canâ€™t make me."),
        make_dialogue("25", "Who are you?", "I bake good bread. " * 9),
        instructions=[source],
        inputs=CurationInputs(
            make_word_list(["blasted"]), ("How would you sell bread to the sea?",)
        ),
        max_turns=2,
    )
    assert reasons(curation) == {
        "01": "no_character",
        "02": "malformed",
        "03": "empty",
        "04": "truncated",
        "05": "too_many_turns",
        "06": "refusal",
        "07": "ai_admission",
        "08": "echo_of_prompt",
        "09": "copy_of_source",
        "10": "other_characters_name",
        "11": "toxicity",
        "12": "wrong_language",
        "13": "contaminated",
        "14": "exact_duplicate",
        "15": "near_duplicate",
        "20": "control_tokens",
        "21": "plays_user",
        "22": "stage_direction",
        "23": "placeholder",
        "24": "broken_text",
        "25": "repetition",
    }
    # The last reason needs characters that are held out, see below.
    assert [step.rejected for step in curation.funnel] == [1] * 21 + [0]
    assert curation.funnel[-1].left == len(curation.examples) == 1
    assert curation.examples[0].key == row_key("recipe", ["00"])
    twin = next(r for r in curation.rejections if r.source == "15")
    assert (twin.key, twin.detail) == (row_key("recipe", ["15"]), "of dialogue 00")


def test_switches_turn_filters_off() -> None:
    rows = (
        make_dialogue("1", "Who?", "I'm sorry, but I can't help with that.", truncated=True),
        make_dialogue("2", "Who are you?", "As an AI, I have no aunt. My name is Harry."),
        make_dialogue("3", "Say it.", FRENCH),
        make_dialogue("4", "Say it again.", FRENCH),
        make_dialogue("5", "Who are you?", "I bake <|pad|> bread for [Name]. " * 9),
        make_dialogue("6", "And you?", "*wipes her hands*"),
        make_dialogue("7", "And now?", f"{ANSWERS[1]} donâ€™t ask.\n\nUser: And your aunt?"),
    )
    curation = curate_rows(
        *rows,
        drop_truncated=False,
        drop_control_tokens=False,
        drop_user_turns=False,
        drop_mere_directions=False,
        drop_placeholders=False,
        drop_broken_text=False,
        drop_repetition=False,
        drop_refusals=False,
        drop_ai_admissions=False,
        other_names="off",
        language=None,
        drop_exact_duplicates=False,
        near_duplicate_similarity=None,
    )
    assert not curation.rejections


def test_template_marks_around_an_answer_are_trimmed_and_given_turns_are_left() -> None:
    marked = f"{ANSWERS[0]}<|im_end|>"
    curation = curate_rows(make_dialogue("1", "A?", marked, "B?", marked, context_turns=2))
    (example,) = curation.examples
    assert [message.content for message in example.messages[1:]] == ["A?", marked, "B?", ANSWERS[0]]


def test_another_language_is_fine_where_the_question_speaks_it() -> None:
    question = FRENCH.replace("tante", "mère")
    assert not curate_rows(make_dialogue("1", question, FRENCH)).rejections


def test_given_turns_are_kept_and_not_judged() -> None:
    given_turn = "As an AI, I cannot bake."
    curation = curate_rows(
        make_dialogue("1", "Hi?", given_turn, "And you?", ANSWERS[0], context_turns=2)
    )
    (example,) = curation.examples
    assert example.context_turns == 2
    assert example.messages[2].content == given_turn


def test_rewritten_and_generated_answers_of_a_pair_both_stay() -> None:
    curation = curate_rows(
        make_dialogue("1", "Who are you?", ANSWERS[0]),
        make_dialogue("2", "Who are you?", ANSWERS[1], strategy="rewrite"),
    )
    assert len(curation.examples) == 2


def test_a_rejected_dialogue_does_not_cost_its_twin() -> None:
    curation = curate_rows(
        make_dialogue("1", "How would you sell bread to the sea?", ANSWERS[0]),
        make_dialogue("2", "Who are you?", ANSWERS[0]),
        inputs=CurationInputs(None, ("How would you sell bread to the sea?",)),
    )
    assert reasons(curation) == {"1": "contaminated"}


def test_the_split_follows_the_persona() -> None:
    cast = [make_character(f"c{n:02}", f"Name{n} Surname{n}") for n in range(30)]
    twice = [replace(character, key=f"again-{character.key}") for character in cast]
    rows = [
        make_dialogue(f"{c.key}", "Who are you?", f"{n} {ANSWERS[n % 3]}", character=c.key)
        for n, c in enumerate([*cast, *twice])
    ]
    rows = [replace(row, persona_key=row.persona_key.replace("again-", "")) for row in rows]
    curation = curate_rows(
        *rows,
        characters=[*cast, *twice],
        validation_share=0.2,
        near_duplicate_similarity=None,
    )
    split = {example.dialogue_key: example.split for example in curation.examples}
    assert Counter(split.values()) == {"train": 48, "validation": 12}
    assert all(split[c.key] == split[f"again-{c.key}"] for c in cast)


def test_what_the_run_evaluates_on_is_kept_out_of_training() -> None:
    cast = [make_character(f"c{n:02}", f"Name{n} Surname{n}", f"Nobody {n}.") for n in range(10)]
    gym = make_character("gym", "Gus Gym", "A baker from Rome who sings at dawn")
    shared = "How would you sell your bread to the sea?"
    rows = [
        make_dialogue(f"{place}-{n}", question, f"{n} {place} {ANSWERS[n % 3]}", character=c.key)
        for n, c in enumerate(cast)
        for place, question in (("shared", shared), ("own", f"And what of the {n} old mills?"))
    ]
    rows.append(make_dialogue("gym", "Who are you?", ANSWERS[1], character="gym"))
    knobs: dict[str, Any] = {"validation_share": 0.2, "near_duplicate_similarity": None}
    plain = curate_rows(*rows, characters=[*cast, gym], **knobs)
    assert not plain.rejections

    inputs = CurationInputs(None, None, ("a baker from Rome who sings at dawn",), own=True)
    kept = curate_rows(*rows, characters=[*cast, gym], inputs=inputs, **knobs)
    found = reasons(kept)
    assert found.pop("gym") == "contaminated"
    held_out = {e.character_key for e in kept.examples if e.split == "validation"}
    assert len(held_out) == 2
    assert found == {
        f"shared-{n}": "held_out_question" for n, c in enumerate(cast) if c.key not in held_out
    }
    # Held-out characters keep all of theirs, and stay who they are.
    theirs = [e for e in kept.examples if e.character_key in held_out]
    assert [e.split for e in theirs] == ["validation"] * 4
    assert kept.funnel[-1].rejected == 8


def test_nothing_in_is_nothing_out() -> None:
    nothing = curate(
        pl.DataFrame(),
        pl.DataFrame(),
        pl.DataFrame(),
        config=CurationConfig(),
        template=load_template(),
        recipe="recipe",
    )
    assert (nothing.planned, nothing.reasons) == (0, {})


SOME_ANSWERS = st.sampled_from(
    [*ANSWERS, ANSWERS[0] + "!", ANSWERS[0] + " Yes.", "Yes.", "", "As an AI, no."]
)
SOME_ROWS = st.lists(
    st.tuples(st.sampled_from(["Who?", "Why bread?"]), SOME_ANSWERS, st.sampled_from([ADA, BOB])),
    max_size=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SOME_ROWS, st.randoms(use_true_random=False))
def test_order_changes_nothing_and_every_row_comes_out_once(
    rows: list[tuple[str, str, str]], random: Random
) -> None:
    dialogues = [
        make_dialogue(f"{n:02}", question, answer, character=character)
        for n, (question, answer, character) in enumerate(rows)
    ]
    shuffled = list(dialogues)
    random.shuffle(shuffled)
    curation = curate_rows(*dialogues, profile_dropout=0.5)
    assert curate_rows(*shuffled, profile_dropout=0.5) == curation
    seen = [example.dialogue_key for example in curation.examples]
    seen += [rejection.source for rejection in curation.rejections]
    assert sorted(seen) == [dialogue.key for dialogue in dialogues]


@pytest.mark.parametrize("records", [Character, Dialogue])
def test_further_columns_are_ignored(records: type) -> None:
    frames = {
        Character: make_frame(Character, [make_character(ADA, "Ada Vance")]),
        Dialogue: make_frame(Dialogue, [make_dialogue("1", "Who?", ANSWERS[0])]),
    }
    frames[records] = frames[records].with_columns(pl.lit("x").alias("parents_digest"))
    curation = curate(
        frames[Dialogue],
        frames[Character],
        pl.DataFrame(),
        config=CurationConfig(),
        template=load_template(),
        recipe="recipe",
    )
    assert len(curation.examples) == 1
