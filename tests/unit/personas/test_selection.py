"""Proves which personas are used, and that the order of rows decides nothing."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.persona_rows import normalise_persona
from tasks.personas.config import PersonaConfig
from tasks.personas.selection import Selection, select_personas
from tasks.personas.sources import RawPersona, read_persona_rows

REAL = Path(__file__).parents[4] / "shared/data/personas_persona_hub.jsonl"
PLAIN = PersonaConfig(source="p.jsonl", language=None, near_duplicate_similarity=None)


def rows(*texts: str | None) -> list[RawPersona]:
    return [
        RawPersona(f"p.jsonl:{number}", text, "" if text is not None else "missing")
        for number, text in enumerate(texts, 1)
    ]


def reasons(selection: Selection) -> Counter[str]:
    return Counter(row.reason for row in selection.rejected)


def texts(selection: Selection) -> set[str]:
    return {row.persona for row in selection.accepted}


def check_balance(raws: list[RawPersona], selection: Selection) -> None:
    keys = [row.key for row in selection.accepted] + [row.key for row in selection.rejected]
    assert len(keys) == len(raws)
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  A baker\r\n who  sings ", "A baker who sings"),
        ('"A baker"', "A baker"),
        ("“A baker”", "A baker"),
        ("'A baker' and 'a singer'", "'A baker' and 'a singer'"),
        ("\ufeffA ba\u0000ker\ud800\ufffe", "A baker"),
        ("A cafe\u0301 owner", "A café owner"),
        ("{{ persona }} {% raw %} <|eot_id|>", "{{ persona }} {% raw %} <|eot_id|>"),
        ("\u200fرجل من القاهرة", "\u200fرجل من القاهرة"),
        ("\u00a0\u2028 ", ""),
        ('""', ""),
    ],
)
def test_normalisation(raw: str, clean: str) -> None:
    assert normalise_persona(raw) == clean
    assert normalise_persona(clean) == clean


def test_each_row_gets_its_reason() -> None:
    raws = rows(
        "A baker who sings at night",
        '"A baker  who sings at night"',
        "A baker who sings at nights",
        "Um estudante universitário que adora fazer compras online",
        None,
        " \n",
        "short",
        "x" * 20_000,
        "篮球评论员",
    )
    selection = select_personas(raws, PersonaConfig(source="p.jsonl"))
    check_balance(raws, selection)
    assert len(selection.accepted) == 1
    assert reasons(selection) == {
        "duplicate": 1,
        "near_duplicate": 1,
        "wrong_language": 2,
        "missing": 1,
        "empty": 1,
        "too_short": 1,
        "too_long": 1,
    }
    assert all(len(row.detail) < 700 for row in selection.rejected)


def test_chinese_personas_are_not_too_short_when_they_are_wanted() -> None:
    selection = select_personas(rows("篮球评论员"), PLAIN.model_copy(update={"language": "zh"}))
    assert texts(selection) == {"篮球评论员"}


@settings(max_examples=60, deadline=None)
@example(["{{", "{% x %}", "{{", "\ud800", "", '""', "<|eot_id|>"], None)
@given(
    st.lists(
        st.one_of(st.none(), st.text('ab "\n\u0301\ud800', max_size=8), st.text(max_size=8)),
        max_size=25,
    ),
    st.randoms(),
)
def test_the_order_of_rows_decides_nothing(words: list[str | None], dice: object) -> None:
    config = PLAIN.model_copy(
        update={"min_chars": 2, "sample": 4, "near_duplicate_similarity": 0.6}
    )
    raws = rows(*words)
    shuffled = list(reversed(raws))
    if dice is not None:
        dice.shuffle(shuffled)  # type: ignore[attr-defined]
    selection = select_personas(raws, config)
    assert select_personas(shuffled, config) == selection
    check_balance(raws, selection)


def test_a_larger_sample_only_adds_and_a_seed_draws_anew() -> None:
    raws = rows(*(f"A person with the number {number}" for number in range(200)))
    drawn = {
        (sample, seed): texts(
            select_personas(raws, PLAIN.model_copy(update={"sample": sample, "seed": seed}))
        )
        for sample, seed in [(20, 0), (80, 0), (200, 0), (20, 1)]
    }
    assert len(drawn[20, 0]) == 20
    assert drawn[20, 0] < drawn[80, 0] < drawn[200, 0]
    assert drawn[20, 0] != drawn[20, 1]


def test_new_rows_keep_the_old_personas() -> None:
    old = rows(*(f"{number} is the number of this person" for number in range(50)))
    new = [RawPersona("q.jsonl:1", "A wholly different one"), *old]
    before, after = select_personas(old, PLAIN), select_personas(new, PLAIN)
    assert set(after.accepted) - set(before.accepted) == {
        row for row in after.accepted if row.source == "q.jsonl:1"
    }
    assert set(before.accepted) < set(after.accepted)


@pytest.mark.skipif(not REAL.exists(), reason=f"no real personas at {REAL}")
def test_real_personas() -> None:
    config = PersonaConfig(source=str(REAL))
    raws = read_persona_rows(config)
    selection = select_personas(raws, config)
    check_balance(raws, selection)
    assert len(raws) == 2400
    assert reasons(selection) == {"wrong_language": 78}
