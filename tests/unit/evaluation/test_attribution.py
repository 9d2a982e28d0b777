"""Proves what is scored under whom, and that the records add up."""

from __future__ import annotations

import pickle
import random
from dataclasses import replace

import pytest

from infra.errors import ConfigError
from infra.protocol import Message
from infra.rendering.encoder import load_tokenizer
from infra.rendering.prompts import PromptTemplate
from infra.store.schema import from_plain, to_table
from tasks.evaluation.measures.attribution import (
    AttributionPlan,
    plan_attribution,
    score_plan,
    share_credit,
)
from tasks.evaluation.measures.likelihood import AnswerEncoder, load_model
from tasks.evaluation.measures.scoring_passes import score_texts
from tasks.records import Attribution, Character, Example, Rejection, Turn
from tests.unit.training.exports import build_base

from .test_distractors import make_person

TEMPLATE = PromptTemplate(
    "[system]\nBe {{ persona }}.{% if profile %}\n{{ profile }}{% endif %}", "t"
)
TRADES = ("baker", "pilot", "nurse", "miner", "poet", "clown")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_base(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def cast() -> list[Character]:
    return [make_person(f"c{place}", trade, "Warm") for place, trade in enumerate(TRADES)]


def make_held_out(key: str, character: str, *texts: str, given: int = 0) -> Example:
    turns = [
        Turn("user" if place % 2 == 0 else "assistant", text)
        for place, text in enumerate(texts or ("Who?", f"The one of {key}."))
    ]
    return Example(
        key=key,
        dialogue_key=f"dialogue of {key}",
        character_key=character,
        split="validation",
        with_profile=True,
        context_turns=given,
        messages=(Turn("system", "as trained"), *turns),
    )


@pytest.fixture
def examples() -> list[Example]:
    """Three examples of each of five held-out characters; the sixth is a training character."""
    held_out = [make_held_out(f"e{place}", f"c{place % 5}") for place in range(15)]
    return [*held_out, replace(make_held_out("e99", "c5"), split="train")]


def plan(
    examples: list[Example],
    cast: list[Character],
    *,
    candidates: int = 4,
    per_character: int | None = 1,
    max_examples: int | None = None,
    seed: int = 0,
) -> AttributionPlan:
    return plan_attribution(
        examples,
        cast,
        TEMPLATE,
        recipe="r",
        candidates=candidates,
        per_character=per_character,
        max_examples=max_examples,
        seed=seed,
    )


def test_training_characters_are_neither_asked_nor_distractors(
    examples: list[Example], cast: list[Character]
) -> None:
    found = plan(examples, cast, candidates=9, per_character=None)
    assert len(found.trials) == 15
    assert all(len(trial.random_keys) == len(trial.hard_keys) == 4 for trial in found.trials)
    assert set(found.systems) == {"c0", "c1", "c2", "c3", "c4"}


def test_each_character_has_at_most_so_many_examples_and_more_only_add(
    examples: list[Example], cast: list[Character]
) -> None:
    asked = [
        [trial.example_key for trial in plan(examples, cast, per_character=count).trials]
        for count in (1, 2, None)
    ]
    assert [len(keys) for keys in asked] == [5, 10, 15]
    assert set(asked[0]) < set(asked[1]) < set(asked[2])
    few = [trial.example_key for trial in plan(examples, cast, max_examples=3).trials]
    assert len(few) == 3
    assert set(few) < set(asked[0])


def test_the_plan_depends_on_no_order(examples: list[Example], cast: list[Character]) -> None:
    mixed = random.Random(1)
    shuffled = mixed.sample(examples, len(examples)), mixed.sample(cast, len(cast))
    assert plan(*shuffled) == plan(examples, cast)
    assert plan(examples, cast, seed=1) != plan(examples, cast)


def test_the_plan_travels(examples: list[Example], cast: list[Character]) -> None:
    found = plan(examples, cast)
    assert pickle.loads(pickle.dumps(found)) == found


def test_true_and_other_prompts_differ_in_the_character_only(
    examples: list[Example], cast: list[Character]
) -> None:
    found = plan(examples, cast)
    assert found.systems["c1"] == f"Be A pilot.\n{cast[1].profile}"
    assert found.bare_systems["c1"] == "Be A pilot."


def test_every_played_answer_is_scored_after_all_that_came_before(cast: list[Character]) -> None:
    talk = make_held_out("e1", "c0", "Hi", "Given.", "Why?", "Played.", "And?", "Too.", given=2)
    (trial,) = plan([talk], cast).trials
    assert [[item.content for item in answer] for answer in trial.answers] == [
        ["Hi", "Given.", "Why?", "Played."],
        ["Hi", "Given.", "Why?", "Played.", "And?", "Too."],
    ]
    assert all(item.role != "system" for answer in trial.answers for item in answer)


@pytest.mark.parametrize(
    "example",
    [
        make_held_out("e1", "c0", "Hi", "Given.", given=2),
        make_held_out("e1", "c0", "Hi"),
        make_held_out("e1", "c0", "Hi", "Said.", "And?", " \n"),
        replace(make_held_out("e1", "c0"), messages=()),
    ],
)
def test_examples_without_an_answer_to_score_are_left_out_and_told(
    example: Example, cast: list[Character]
) -> None:
    found = plan([example, make_held_out("e2", "c1")], cast)
    assert [trial.example_key for trial in found.trials] == ["e2"]
    assert found.left_out == (
        Rejection("e1", "empty", "no played answer with text", "dialogue of e1"),
    )


@pytest.mark.torch
def test_nothing_held_out_is_an_empty_plan(cast: list[Character], folder: str) -> None:
    found = plan([], cast)
    assert (found.trials, found.rows) == ((), 0)
    assert score_plan(found, folder) == []


def test_missing_characters_and_a_lone_candidate_are_faults(
    examples: list[Example], cast: list[Character]
) -> None:
    with pytest.raises(
        ConfigError, match="1 of the examples' characters are not there, such as c4"
    ):
        plan(examples, cast[:4])
    with pytest.raises(ConfigError, match="nothing to tell"):
        plan(examples, cast, candidates=1)


def test_a_prompt_of_several_messages_is_refused(
    examples: list[Example], cast: list[Character]
) -> None:
    template = PromptTemplate("[system]\n{{ persona }}\n[user]\n{{ profile }}", "two.j2")
    with pytest.raises(ConfigError, match="one \\[system\\] message"):
        plan_attribution(examples, cast, template, recipe="r")


def test_ties_share_the_credit() -> None:
    assert share_credit(-1.0, (-2.0, -3.0)) == 1
    assert share_credit(-2.0, (-1.0, -3.0)) == 0
    assert share_credit(-1.0, (-1.0, -3.0, -1.0)) == pytest.approx(1 / 3)
    assert share_credit(-2.0, (-2.0, -1.0)) == 0
    assert share_credit(-1.0, ()) == 1


@pytest.mark.torch
def test_records_hold_what_the_model_finds(
    examples: list[Example], cast: list[Character], folder: str
) -> None:
    talk = make_held_out("e50", "c0", "Hi", "Hello.", "Why?", "Bread rises at night.")
    found = plan([talk, *examples], cast, per_character=None)
    told: list[tuple[int, int]] = []
    records = score_plan(found, folder, None, lambda done, of: told.append((done, of)), name="tiny")
    assert told[-1] == (found.rows, found.rows)
    assert len(records) == len(found.trials) == 16

    encoder, model = AnswerEncoder(load_tokenizer(folder)), load_model(folder)
    for trial, record in zip(found.trials, records, strict=True):
        assert isinstance(record, Attribution)
        systems = [found.systems[key] for key in (trial.character_key, *trial.random_keys)]
        texts = [
            [encoder.encode((Message("system", system), *answer)) for answer in trial.answers]
            for system in (*systems, found.bare_systems[trial.character_key])
        ]
        true, *others, bare = (sum(score_texts(model, group)) for group in texts)
        assert record.loglikelihood == pytest.approx(true, abs=1e-3)
        assert record.random_loglikelihoods == pytest.approx(others, abs=1e-3)
        assert record.without_profile == pytest.approx(bare, abs=1e-3)
        assert record.tokens == sum(text.answer_tokens for text in texts[0])
        assert record.gain == pytest.approx((true - bare) / record.tokens, abs=1e-4)
        assert record.margin == pytest.approx(
            (true - sum(others) / len(others)) / record.tokens, abs=1e-4
        )
        assert record.random_credit == (record.loglikelihood > max(record.random_loglikelihoods))
        assert record.hard_credit == (record.loglikelihood > max(record.hard_loglikelihoods))
        assert record.random_chance == record.hard_chance == 0.25
        assert record.model == "tiny"
    assert len({record.key for record in records}) == 16


@pytest.mark.torch
def test_one_character_under_both_kinds_is_scored_once(
    examples: list[Example], cast: list[Character], folder: str
) -> None:
    found = plan(examples, cast, candidates=5)
    assert found.rows == 5 * (1 + 5)
    for record in score_plan(found, folder):
        assert isinstance(record, Attribution)
        random_scores = dict(zip(record.random_keys, record.random_loglikelihoods, strict=True))
        hard_scores = dict(zip(record.hard_keys, record.hard_loglikelihoods, strict=True))
        assert random_scores == hard_scores


@pytest.mark.torch
def test_what_no_context_holds_is_rejected_and_the_rest_is_scored(
    cast: list[Character], folder: str
) -> None:
    found = plan([make_held_out("e1", "c0", "Hi", "No. " * 200), make_held_out("e2", "c1")], cast)
    long, short = score_plan(found, folder, name="tiny")
    assert isinstance(long, Rejection)
    assert long.reason == "too_long"
    assert long.detail.endswith("the model takes 256")
    assert isinstance(short, Attribution)
    assert long.key != short.key


@pytest.mark.torch
def test_records_are_rows(examples: list[Example], cast: list[Character], folder: str) -> None:
    found = score_plan(plan(examples, cast), folder)
    records = [record for record in found if isinstance(record, Attribution)]
    table = to_table(Attribution, records)
    assert [from_plain(Attribution, row) for row in table.to_pylist()] == records


@pytest.mark.torch
def test_keys_name_example_and_model(
    examples: list[Example], cast: list[Character], folder: str
) -> None:
    found = plan(examples, cast, max_examples=2)
    keys = [
        record.key for name in ("one", "other") for record in score_plan(found, folder, name=name)
    ]
    assert len(set(keys)) == 4
    assert keys[:2] == [record.key for record in score_plan(found, folder, name="one")]
