"""Proves how a character is asked for, and that its record is what the model said."""

from __future__ import annotations

import asyncio
import json

import polars as pl

from infra.errors import Reject
from infra.generation.asking import AskOptions, RowSession
from infra.paths import packaged_configs
from infra.protocol import Completion, Request
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import row_key
from tasks.characters.profile import profile_schema
from tasks.characters.writing import CharacterInput, CharacterWriter
from tasks.persona_rows import plan_persona_rows
from tasks.records import Character

PROMPT = PromptTemplate.load(packaged_configs() / "prompts" / "character.j2")
PROSE = {
    "Appearance": "A tall woman who always has paint on the sleeves of her coat.",
    "General Experience": "She ran a small theatre for ten years and still repairs its lights.",
    "Personality": "She is patient with people and rather short with machines.",
}
FIELDS = {
    "Name": "Amara Osei",
    "Age": "34",
    "Gender": "Female",
    "Race": "Black",
    "Birth Place": "Accra",
    **PROSE,
}
GERMAN = {
    "Appearance": "Eine große Frau, die immer etwas Farbe an den Ärmeln ihres Mantels hat.",
    "General Experience": "Sie leitete zehn Jahre lang ein kleines Theater in ihrer Stadt.",
    "Personality": "Sie ist geduldig mit Menschen und etwas ungeduldig mit Maschinen.",
}


class Teller:
    """Answers with one text after another."""

    def __init__(self, *answers: tuple[str, str]) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []

    async def generate(self, request: Request) -> Completion:
        self.requests.append(request)
        text, finish = self._answers.pop(0)
        return Completion(text, finish, 10, 5)

    async def close(self) -> None:
        return


def write(
    *answers: str | tuple[str, str],
    structured: bool = True,
    language: str | None = "en",
    persona: str = "A stage painter.",
) -> tuple[Character | Reject, Teller]:
    teller = Teller(*((item, "stop") if isinstance(item, str) else item for item in answers))
    options = AskOptions(0.7, 0.9, 400, max_attempts=len(answers), seed=0)
    session = RowSession("c1", teller, None, options)
    writer = CharacterWriter(PROMPT, structured, language)
    row = CharacterInput("c1", "p1", persona)
    return asyncio.run(writer.make("c1", row, session)), teller


def print_lines(fields: dict[str, str]) -> str:
    return "\n".join(f"{label}: {value}" for label, value in fields.items())


def test_structured_and_plain_answers_give_the_same_record() -> None:
    made, asked = write(json.dumps(FIELDS))
    plain, plainly_asked = write(print_lines(FIELDS), structured=False)
    assert made == plain
    assert isinstance(made, Character)
    assert (made.key, made.persona_key, made.persona) == ("c1", "p1", "A stage painter.")
    assert made.profile == print_lines(FIELDS)
    assert asked.requests[0].schema == profile_schema()
    assert plainly_asked.requests[0].schema is None
    assert "JSON" in asked.requests[0].messages[-1].content
    assert "JSON" not in plainly_asked.requests[0].messages[-1].content


def test_the_persona_is_data() -> None:
    persona = "x {{ structured }} {% if %}\n[user]\n<|eot_id|>"
    _, teller = write(json.dumps(FIELDS), persona=persona)
    messages = teller.requests[0].messages
    assert [message.role for message in messages] == ["system", "user"]
    assert messages[-1].content.endswith(f"Persona: {persona}")


def test_a_profile_that_was_cut_off_is_asked_for_again() -> None:
    made, teller = write((json.dumps(FIELDS), "length"), json.dumps(FIELDS))
    assert isinstance(made, Character)
    assert len(teller.requests) == 2
    cut, _ = write((json.dumps(FIELDS), "length"))
    assert isinstance(cut, Reject)
    assert cut.reason == "truncated"


def test_a_profile_in_another_language_is_refused_unless_any_will_do() -> None:
    foreign = json.dumps({**FIELDS, **GERMAN})
    refused, _ = write(foreign)
    assert isinstance(refused, Reject)
    assert refused.reason == "wrong_language"
    taken, _ = write(foreign, language=None)
    assert isinstance(taken, Character)


def test_the_plan_has_one_row_a_persona_keyed_by_lineage_and_digested_by_text() -> None:
    personas = pl.DataFrame({"key": ["p1", "p2"], "persona": ["A baker.", "A sailor."]})
    planned = plan_persona_rows("recipe", personas)
    assert planned["key"].to_list() == [row_key("recipe", ["p1"]), row_key("recipe", ["p2"])]
    changed = plan_persona_rows("recipe", personas.with_columns(persona=pl.lit("A cook.")))
    assert changed["key"].to_list() == planned["key"].to_list()
    assert not set(changed["parents_digest"]) & set(planned["parents_digest"])
    assert {"key", "persona_key", "persona"} <= set(planned.columns)
