"""Repeats on cases that others collected what the unit tests prove on our own."""

from __future__ import annotations

import functools
import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from infra.engines.border import clean_completion
from infra.engines.spoken import find_missing_answer, take_speech
from infra.errors import Reject
from infra.input.row_input import RawRow, Source, read_rows
from infra.protocol import Completion, Message
from infra.rendering.chat_roles import ChatRoles, probe_roles
from infra.rendering.chat_template import ChatTemplate
from infra.rendering.encoder import PromptEncoder
from infra.thoughts.thinking import list_switches
from tasks.characters.brought import read_profile
from tasks.characters.writing import CharacterWriter
from tasks.dialogues.players.generation import read_answer
from tasks.evaluation.judging.verdicts import read_score
from tasks.instructions.config import InstructionConfig
from tasks.instructions.selection import select_instructions
from tasks.instructions.sources import check_instruction_sources, read_conversations
from tasks.training.model.generation_settings import clean_settings, name_invalid

CASES = Path(__file__).parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"no collected cases at {CASES}")

Case = dict[str, Any]


def read_cases(name: str) -> list[Any]:
    path = CASES / name
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    cases = [json.loads(line) for line in lines]
    return [pytest.param(case, id=case["name"]) for case in cases]


def list_files(name: str, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in (CASES / name).glob(pattern))


def hear(case: Case) -> tuple[Completion, Reject | None]:
    """Take a model's answer on its way from an engine to a reader."""
    done = Completion(case["text"], case.get("finish", "stop"), 10, 10)
    spoken = take_speech(clean_completion(done))
    return spoken, find_missing_answer(spoken)


@pytest.mark.parametrize("case", read_cases("answers.jsonl"))
def test_answers(case: Case) -> None:
    spoken, missing = hear(case)
    found = missing or read_answer(spoken, speaker="Marta Novak", question="How do I keep bread?")
    if "reject" in case:
        assert isinstance(found, Reject) and found.reason == case["reject"]
        return
    if "either" in case and isinstance(found, Reject):
        assert found.reason in case["either"]
        return
    assert not isinstance(found, Reject), found
    if "text_out" in case:
        assert found.text == case["text_out"]
    else:
        assert found.text in case["text"] and len(found.text) > 80
        assert found.text != case["text"] or "kept" in case["either"]


@pytest.mark.parametrize("case", read_cases("verdicts.jsonl"))
def test_verdicts(case: Case) -> None:
    spoken, missing = hear(case)
    assert (None if missing else read_score(spoken.text)) == case["score"]
    assert read_score(case["text"]) == case["score"]


@pytest.mark.parametrize("case", read_cases("profiles.jsonl"))
def test_profiles(case: Case) -> None:
    spoken, missing = hear(case)
    writer = CharacterWriter(None, True, "en")  # type: ignore[arg-type]  # it asks nobody here
    found = missing or writer._read(spoken, persona=case.get("persona", "A beekeeper"))
    if case.get("accept"):
        assert not isinstance(found, Reject), found
        assert found["name"] == "Marta Novak" and found["birth_place"] == "Brno"
    else:
        assert isinstance(found, Reject) and found.reason == case["reject"]
    brought = read_profile({"character": case["text"]})  # what people bring is kept
    assert not isinstance(brought, Reject)


@pytest.mark.parametrize("name", list_files("instructions"))
def test_instructions(name: str) -> None:
    config = InstructionConfig.model_validate({"sources": [str(CASES / "instructions" / name)]})
    assert check_instruction_sources(config) == []
    raws = list(read_conversations(config))
    assert raws
    for raw in raws:
        assert not isinstance(raw.turns, Reject), raw.turns
        assert [turn.role for turn in raw.turns] == ["user", "assistant"]
        for turn in raw.turns:
            assert turn.content and "think" not in turn.content
            turn.content.encode()
        assert raw.left_out <= {"system prompts", "tool calls and results"} or any(
            note.endswith("rows)") for note in select_instructions(config).notes
        )
    if name == "dolly.jsonl":
        asked = raws[0].turns
        assert not isinstance(asked, Reject) and "1954" in asked[0].content


@pytest.mark.parametrize("name", list_files("folders"))
def test_folders_give_their_train_split_unless_told(name: str) -> None:
    folder = str(CASES / "folders" / name)

    def read(split: str | None) -> list[object]:
        rows = read_rows(Source(folder, split))
        return [row.values["persona"] for row in rows if isinstance(row, RawRow)]

    train, test, both = read(None), read("test"), read("all")
    assert train == read("train") and train and test
    assert not set(train) & set(test) and sorted(map(str, both)) == sorted(map(str, train + test))


@pytest.mark.parametrize("name", list_files("templates"))
def test_templates_are_known_before_anything_starts(name: str) -> None:
    source = (CASES / "templates" / name).read_text(encoding="utf-8")
    template = ChatTemplate(source, {"bos_token": "<s>", "eos_token": "</s>"})
    roles = probe_roles(template)
    if "no_system" in name:
        assert roles == ChatRoles("nowhere", neighbours=False)
    if "thinks" in name:
        assert list_switches(source) == {"enable_thinking": False}
        asked = [Message("user", "Why?")]
        off = template.render(asked, add_generation_prompt=True, enable_thinking=False)
        assert off != template.render(asked, add_generation_prompt=True)


@pytest.mark.parametrize("name", list_files("generation_config"))
def test_generation_settings_never_keep_an_export_from_being_saved(
    name: str, tmp_path: Path
) -> None:
    settings = json.loads((CASES / "generation_config" / name).read_text(encoding="utf-8"))
    kept, dropped = clean_settings(settings)
    assert dropped == name_invalid(settings)
    kept.save_pretrained(tmp_path)
    assert kept.eos_token_id == settings["eos_token_id"]


@functools.cache
def load_tokenizers() -> dict[str, Any]:
    return runpy.run_path(str(CASES / "make_tokenizers.py"))


@pytest.mark.parametrize("place", range(4))
def test_tokenizers_give_their_own_ids(place: int) -> None:
    made = load_tokenizers()
    kind = list(made["KINDS"])[place]
    tokenizer, text = made["build"](kind), made["KINDS"][kind][1]
    encoder = PromptEncoder.from_tokenizer(tokenizer)
    for shown in (text, f"{text}<|im_end|>"):
        messages = [Message("system", "Be brief."), Message("user", shown)]
        plain = [{"role": item.role, "content": item.content} for item in messages]
        own = tokenizer.apply_chat_template(
            plain, tokenize=True, add_generation_prompt=True, return_dict=False
        )
        ids = list(encoder.encode(messages))
        end = tokenizer.convert_tokens_to_ids("<|im_end|>")
        assert ids.count(end) == 2
        if shown == text:
            assert ids == list(own)
