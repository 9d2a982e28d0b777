"""Proves that question sets and word lists are read, and all that is wrong is told."""

import json
from pathlib import Path

import pytest

from infra.errors import ConfigError
from tasks.curation.config import CurationConfig
from tasks.curation.inputs import digest_inputs, load_inputs, read_questions


def test_personagyms_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "benchmark-v1"
    folder.mkdir()
    for persona, question in (("A baker", "Why bread?"), ("A sailor", "Why the sea?")):
        data = {"Toxicity": [question], "Persona Consistency": [question, "Who are you?"]}
        (folder / f"{persona}.json").write_text(json.dumps(data))
    assert read_questions(str(folder)) == ("Who are you?", "Why bread?", "Why the sea?")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("q.txt", "Why?\n\n  Who? \n"),
        ("q.jsonl", '"Who?"\n{"question": "Why?", "id": 1}\n'),
        ("q.json", '["Who?", "Why?"]'),
    ],
)
def test_single_files_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_questions(str(tmp_path / name)) == ("Who?", "Why?")


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"question": "Why?"}\n{"answer": 1}\n')
    config = CurationConfig(
        toxic_words=str(tmp_path / "absent.txt"), decontamination=str(tmp_path / "bad.jsonl")
    )
    with pytest.raises(ConfigError) as caught:
        load_inputs(config)
    words, questions = caught.value.problems
    assert "curation.toxic_words" in words.where
    assert "bad.jsonl:2" in questions.what


def test_digests_follow_content_and_use_not_the_path(tmp_path: Path) -> None:
    one, other = tmp_path / "one.txt", tmp_path / "other.txt"
    one.write_text("word\n")
    other.write_text("word\n")
    assert digest_inputs(CurationConfig(toxic_words=str(one))) == digest_inputs(
        CurationConfig(toxic_words=str(other))
    )
    assert digest_inputs(CurationConfig(toxic_words=str(one))) != digest_inputs(
        CurationConfig(decontamination=str(one))
    )
    assert digest_inputs(CurationConfig()) == ()


def test_what_the_run_itself_evaluates_on_is_read_from_its_benchmark(tmp_path: Path) -> None:
    (tmp_path / "A baker.json").write_text(json.dumps({"Toxicity": ["Why bread?"]}))
    config = CurationConfig(decontamination="auto")
    found = load_inputs(config, str(tmp_path))
    assert (found.questions, found.personas, found.own) == (("Why bread?",), ("A baker",), True)
    alone = load_inputs(config)
    assert (alone.questions, alone.personas, alone.own) == (None, None, True)
    unasked = load_inputs(CurationConfig(), str(tmp_path))
    assert (unasked.questions, unasked.personas, unasked.own) == (None, None, False)


def test_what_is_kept_out_moves_the_digest_and_what_is_only_counted_does_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "A baker.json"
    file.write_text(json.dumps({"Toxicity": ["Why bread?"]}))
    auto, folder = CurationConfig(decontamination="auto"), str(tmp_path)
    assert digest_inputs(CurationConfig(), folder) == ()
    named = digest_inputs(auto, folder)
    assert len({digest_inputs(auto), named, ()}) == 3
    file.rename(tmp_path / "A sailor.json")
    renamed = digest_inputs(auto, folder)
    assert renamed != named
    (tmp_path / "A sailor.json").write_text(json.dumps({"Toxicity": ["Why the sea?"]}))
    assert digest_inputs(auto, folder) != renamed
