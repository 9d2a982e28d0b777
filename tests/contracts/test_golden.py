"""Holds stages to their versions: output that moves without a new VERSION fails here.

Rows are reused by recipe key, and a key knows a stage's code only by its VERSION. So each stage
runs on a fixed input with fixed prompts, knobs and scripted answers, and the digest of what comes
out is written down beside the version it belongs to. The stages after curation are held by
``test_golden_evaluation``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.engines.scripted_answers import write_answer
from infra.errors import Reject
from infra.protocol import Message, Request, SamplingParams
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import content_key, hash_json
from infra.store.schema import to_plain, to_table
from tasks.characters.profile import parse_profile, profile_schema
from tasks.characters.writing import CharacterInput, CharacterWriter
from tasks.curation.config import CurationConfig
from tasks.curation.curate import curate
from tasks.dialogues.players.generation import GeneratePlayer
from tasks.dialogues.players.rewriting import RewritePlayer
from tasks.dialogues.playing import DialogueInput
from tasks.dialogues.strategies import STRATEGIES
from tasks.instructions.config import InstructionConfig, InstructionSource
from tasks.instructions.guessing import GuessInput, InstructionGuesser
from tasks.instructions.selection import select_instructions
from tasks.personas.config import PersonaConfig
from tasks.personas.selection import select_personas
from tasks.personas.sources import RawPersona
from tasks.records import PROFILE_FIELDS, Character, Dialogue, Instruction, Turn
from tests.contracts.golden import (
    Golden,
    digest_records,
    find_version,
    hold_to_version,
    make_rows,
)

GOLDEN = {
    "personas": Golden(2, "b8583e6d117aca3b8f4a11a771859d96"),
    "instructions": Golden(3, "82dff20449a74b8340b645b0bae8478c"),
    "guesses": Golden(1, "242d305f68c25b1565e7563aef60ed8e"),
    "characters": Golden(3, "b068c03222304975b7d3398767ba395f"),
    "dialogues_generate": Golden(3, "08cad13bcf1b260db195698692aa47a2"),
    "dialogues_rewrite": Golden(3, "5a791153735a84194b43f842d96927fc"),
    "curation": Golden(3, "e0bde987aa0cf77d151b68d2745e3c59"),
}
SCRIPTED_ANSWERS = "c047ac249f9c7ee4499f8fb1732390a4"
"""Digest of the scripted engine's own answers; not a stage, but every golden row leans on it."""

PERSONAS = [f"A {adjective} {trade} who once lived in {city} and now paints boats."
            for adjective in ("quiet", "loud") for trade in ("baker", "sailor", "doctor")
            for city in ("Cork", "Lima")]  # fmt: skip
QUESTIONS = [
    ("Why is bread brown?", "Heat browns it."),
    ("Name three fish.", "Cod, eel and carp.", "Which is longest?", "The eel, as a rule."),
    ("How do I tie a knot?", "Slowly.", "And untie it?", "Fast.", "Thanks! Any more?", "No."),
]


def version_of(stage: str) -> int:
    kind, _, strategy = stage.partition("_")
    return STRATEGIES[strategy].version if strategy else find_version(kind)


def digest_outcome(outcome: Mapping[str, str] | Reject) -> dict[str, str]:
    return to_plain(outcome) if isinstance(outcome, Reject) else dict(outcome)


def make_characters() -> str:
    prompt = PromptTemplate("[user]\nOne. {{ persona }}{% if structured %} JSON{% endif %}", "t")
    rows = [
        CharacterInput(content_key("c", text), content_key("p", text), text) for text in PERSONAS
    ]
    lines = PromptTemplate('[user]\nWrite one "Field: value" a line. {{ persona }}', "t")
    told = {label: f"Some {name} of hers." for label, name in PROFILE_FIELDS}
    ages = ("119", "120", "121", "mid-30s", "old", "abc", "unknown", "[age]", "1\x012")
    texts = [json.dumps({**told, "Age": age}) for age in ages]
    texts += ["\n".join(f"**{label}:** {value}" for label, value in told.items())]
    return hash_json(
        [
            profile_schema(),
            [digest_outcome(parse_profile(text)) for text in texts],
            make_rows(CharacterWriter(prompt, True, "en"), rows),
            make_rows(CharacterWriter(lines, False, None), rows),
        ]
    )


def make_guesses() -> str:
    prompt = PromptTemplate('[user]\nStart with "User prompt:". {{ persona }}', "t")
    rows = [GuessInput(content_key("g", text), content_key("p", text), text) for text in PERSONAS]
    return make_rows(InstructionGuesser(prompt, "en"), rows)


def list_scenes() -> list[DialogueInput]:
    return [
        DialogueInput(
            key=content_key("d", persona, str(number)),
            character_key=content_key("c", persona),
            persona_key=content_key("p", persona),
            persona=persona,
            profile="Name: Ada\nAge: 41",
            instruction_key=content_key("q", *texts),
            corpus="lima",
            question_id=str(number),
            context_turns=2 if len(texts) == 6 else 0,
            turns=make_turns(*texts),
        )
        for persona in PERSONAS[:6]
        for number, texts in enumerate(QUESTIONS)
    ]


def make_turns(*texts: str) -> tuple[Turn, ...]:
    return tuple(Turn("assistant" if n % 2 else "user", text) for n, text in enumerate(texts))


def generate_dialogues() -> str:
    prompt = PromptTemplate(
        "[system]\n{{ persona }}\n{{ profile }}\n[history]\n[user]\n{{ query }}", "t"
    )
    return make_rows(GeneratePlayer(prompt, "scripted"), list_scenes())


def rewrite_dialogues() -> str:
    prompt = PromptTemplate("[system]\n{{ persona }}\n{{ profile }}\n[user]\n{{ dialog }}", "t")
    player = RewritePlayer(prompt, "scripted", structured=True, max_turn_chars=300)
    return make_rows(player, list_scenes())


def choose_personas() -> str:
    texts = [
        *PERSONAS,
        PERSONAS[0],
        f'  "{PERSONAS[1]}"\n',
        PERSONAS[2].replace("now paints", "now repaints"),
        "Short.",
        "",
        "x" * 3000,
        "Eine ruhige Bäckerin aus Hamburg, die am Wochenende gerne Boote bemalt.",
        "Twee\u0301 {{ odd }}   spaces\tand <|eot_id|> in one sentence about a clockmaker.",
    ]
    raws = [RawPersona(f"p.jsonl:{number}", text) for number, text in enumerate(texts, 1)]
    raws += [RawPersona("p.jsonl:98", None, "missing", "no 'persona'")]
    chosen = select_personas(raws, PersonaConfig(source="p.jsonl", sample=8))
    assert {"duplicate", "wrong_language", "too_short", "too_long", "not_sampled"} <= {
        row.reason for row in chosen.rejected
    }
    return digest_records(chosen.accepted, chosen.rejected)


def choose_instructions(folder: Path) -> str:
    alpaca = [
        {"instruction": "Why is bread brown?", "input": "", "output": "Heat."},
        {"instruction": "Sort these.", "input": "b, a", "output": "a, b"},
        {"instruction": "Sort these.", "input": "b, a", "output": "a, b"},
        {"instruction": "", "input": "", "output": "x"},
        {"instruction": "y" * 500, "input": "", "output": "x"},
    ]
    lima = [{"conversations": list(texts), "source": "demo"} for texts in QUESTIONS]
    hub = [{"synthesized text": "User prompt: How do boats float?", "input persona": "A sailor."}]
    for name, rows in (("alpaca", alpaca), ("lima", lima), ("hub", hub)):
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    digests = []
    for multi_turn in ("split", "keep"):
        config = InstructionConfig(
            sources=tuple(
                InstructionSource(path=str(folder / f"{name}.jsonl"))
                for name in ("alpaca", "lima", "hub")
            ),
            multi_turn=multi_turn,
            max_chars=400,
        )
        chosen = select_instructions(config)
        assert chosen.accepted
        assert {"duplicate", "too_long"} <= {row.reason for row in chosen.rejected}
        digests.append(digest_records(chosen.accepted, chosen.rejected))
    return hash_json(digests)


def list_dialogues() -> list[Dialogue]:
    answers = [
        "Ah, the crust! My oven taught me that patience and a hot stone do the rest.",
        "As an AI language model, I do not have opinions about bread.",
        "I'm sorry, but I cannot help with that.",
        "My name is Bob Stone, and I sail at dawn with the tide in my favour.",
        "Ah, the crust! My oven taught me that patience and a hot stone do the rest.",
        "",
        "Why is bread brown?",
        "Heat browns it, my friend, and the rest is flour, water, salt and a long night.",
        "Das Brot wird braun, weil die Hitze im Ofen den Zucker und das Eiweiß verändert.",
    ]
    return [
        Dialogue(
            key=content_key("dialogue", str(number)),
            strategy="rewrite" if number % 2 else "generate",
            character_key=f"c{number % 2}",
            persona_key=f"p{number % 2}",
            instruction_key="q1",
            corpus="lima",
            question_id="1",
            context_turns=0,
            turns=make_turns("Why is bread brown?", answer),
            user_turns_restored=False,
            truncated=number == 7,
            teacher="scripted",
        )
        for number, answer in enumerate(answers)
    ]


def make_frame(record: type[Any], rows: Iterable[Any]) -> pl.DataFrame:
    frame = pl.from_arrow(to_table(record, rows))
    assert isinstance(frame, pl.DataFrame)
    return frame


def curate_dialogues() -> str:
    cast = [
        Character(
            f"c{number}", f"p{number}", persona, name, "41", "Female", "Asian", "Cork",
            "Tall, with flour on her sleeves.", "She kept an oven for twenty years.", "Warm.",
        )
        for number, (name, persona) in enumerate(
            [("Ada Vance", "A baker from Cork."), ("Bob Stone", "A sailor from Lima.")]
        )
    ]  # fmt: skip
    question = Instruction("q1", "lima", "1", 0, make_turns("Why is bread brown?", "Heat."))
    curation = curate(
        make_frame(Dialogue, list_dialogues()),
        make_frame(Character, cast),
        make_frame(Instruction, [question]),
        config=CurationConfig(validation_share=0.5, profile_dropout=0.5),
        template=PromptTemplate(
            "[system]\n{{ persona }}{% if profile %}\n{{ profile }}{% endif %}", "t"
        ),
        recipe="recipe",
    )
    assert len(curation.examples) >= 2
    assert len(curation.reasons) >= 5
    return digest_records(curation.examples, curation.rejections)


def answer_fixed_requests() -> str:
    texts = ["Hello.", 'Start with "User prompt:".', 'one "Field: value" a line', "The end."]
    schemas = [None, profile_schema()]
    return hash_json(
        [
            write_answer(
                Request("r", (Message("user", text),), None, SamplingParams(t, 0.9, 50, 7), schema)
            )
            for text in texts
            for t in (0.0, 0.7)
            for schema in schemas
        ]
    )


def test_the_scripted_engine_answers_as_it_did() -> None:
    """Look here first: when this moves, renew the digests below without raising versions."""
    assert answer_fixed_requests() == SCRIPTED_ANSWERS


STAGES: dict[str, Callable[[Path], str]] = {
    "personas": lambda _: choose_personas(),
    "instructions": choose_instructions,
    "guesses": lambda _: make_guesses(),
    "characters": lambda _: make_characters(),
    "dialogues_generate": lambda _: generate_dialogues(),
    "dialogues_rewrite": lambda _: rewrite_dialogues(),
    "curation": lambda _: curate_dialogues(),
}


@pytest.mark.parametrize("stage", STAGES)
def test_output_moves_only_with_the_version(stage: str, tmp_path: Path) -> None:
    hold_to_version(stage, GOLDEN[stage], version_of(stage), STAGES[stage](tmp_path))


def test_the_same_input_gives_the_same_output_twice(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name, make in STAGES.items():
        assert make(tmp_path / "a") == make(tmp_path / "b"), name
