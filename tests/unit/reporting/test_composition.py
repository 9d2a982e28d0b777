"""Checks what is said of the rows themselves: lengths, profiles, languages, topics."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from infra.store.manifests import NodeRef, refer_to
from infra.store.storage import Storage
from tasks.records import Character, Persona
from tasks.reporting.charts import LengthLine
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections import composition
from tasks.reporting.sections.composition import (
    build_length_table,
    list_languages,
    list_lengths,
    list_profile_shares,
    list_topics,
    sample_texts,
)
from tests.unit.infra.stores import name_node, write_notes

from .worlds import make_character, make_key, write_node, write_run


def write_answers(storage: Storage) -> NodeRef:
    keys = [make_key("1", number) for number in range(4)]
    manifest = write_notes(storage, name_node("answers_base"), *keys, made=keys)
    return refer_to(manifest)


def test_lengths_are_told_of_nodes_that_asked_a_model(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = RunNodes(storage, [*write_run(storage), write_answers(storage)])
    tokens = pl.DataFrame({"completion_tokens": [10, 20, 30, None, 400]})
    monkeypatch.setattr(RunNodes, "read_columns", lambda *_: tokens)
    (line,) = list_lengths(nodes)
    assert line == LengthLine("answers base", 4, (10.0, 20.0, 30.0, 30.0, 400.0), 400)
    (row,) = build_length_table([line]).rows
    assert [cell.text for cell in row.cells] == ["4", "10", "20", "30", "30", "400", "400"]


def test_columns_of_a_row_stage_are_read_with_their_keys(storage: Storage) -> None:
    nodes = RunNodes(storage, [write_answers(storage)])
    found = nodes.read_columns("answers_base", "completion_tokens")
    assert found.columns == ["key", "completion_tokens"] and found.height == 4
    assert nodes.read_columns("absent", "completion_tokens").is_empty()


def test_profiles_tell_how_full_and_how_different_they_are(storage: Storage) -> None:
    cast = [replace(make_character(number), age="40", race="") for number in range(5)]
    cast[0] = replace(cast[0], gender="")
    fields = ("gender", "birth_place", "appearance", "general_experience", "personality", "age")
    cast[4] = replace(cast[4], **dict.fromkeys(fields, ""))  # brought: a name and a text of its own
    nodes = RunNodes(storage, [write_node(storage, "characters", Character, cast)])
    filled, different = list_profile_shares(nodes)
    assert filled.note == "4 profiles"
    shares = {bar.name: bar.share for bar in filled.bars}
    assert (shares["Age"], shares["Race"], shares["Gender"]) == (1.0, 0.0, 0.75)
    values = {bar.name: bar.share for bar in different.bars}
    assert (values["Age"], values["Name"]) == (0.25, 1.0)
    assert list_profile_shares(RunNodes(storage, [])) == ()


def test_languages_and_topics_are_told_of_a_sample(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composition, "_SAMPLED", 4)
    texts = ["The baker who sings with the choir that they love"] * 6 + [
        "Пекарь из Москвы, который поёт"
    ] * 2
    rows = [Persona(make_key("a", n), text, "p") for n, text in enumerate(texts)]
    nodes = RunNodes(storage, [write_node(storage, "personas", Persona, rows)])
    samples = sample_texts(nodes)
    (languages,) = list_languages(samples)
    assert languages.title == "Languages: personas" and languages.note == "4 of 8"
    assert {bar.name: bar.share for bar in languages.bars} == {"en": 0.75, "ru": 0.25}
    (topics,) = list_topics(samples)
    assert (topics.bars[0].name, topics.bars[0].share) == ("baker", 0.75)


def test_a_run_tells_of_personas_and_answers(storage: Storage) -> None:
    nodes = RunNodes(storage, write_run(storage))
    samples = sample_texts(nodes)
    titles = [group.title for group in (*list_languages(samples), *list_topics(samples))]
    assert titles == [
        "Languages: personas",
        "Languages: answers of characters",
        "Words that most personas share",
        "Words that most answers of characters share",
    ]
    assert all(group.note == "all 12" for group in list_languages(samples)[:1])


def test_a_sample_reaches_over_all_rows_and_says_nothing_where_words_are_not_parted(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composition, "_SAMPLED", 4)
    rows = [Persona(make_key("a", n), f"面包师{n}", "p") for n in range(7)]
    (sample,) = sample_texts(RunNodes(storage, [write_node(storage, "personas", Persona, rows)]))
    assert sample.texts == ("面包师0", "面包师1", "面包师3", "面包师5")
    assert list_topics([sample]) == ()
    (languages,) = list_languages([sample])
    assert languages.bars[0].name == "zh"
