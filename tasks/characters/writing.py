"""Writes one character: asks the model for a profile and turns it into a record."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from infra.errors import Reject
from infra.generation.asking import RowSession
from infra.protocol import Completion
from infra.rendering.prompts import PromptTemplate
from infra.text.languages import is_language
from tasks.characters.profile import LONG_CHARS, check_profile, parse_profile, profile_schema
from tasks.characters.quality import find_profile_fault, tidy_profile
from tasks.records import Character


@dataclass(frozen=True, slots=True)
class CharacterInput:
    """What a profile is written from."""

    key: str
    persona_key: str
    persona: str


@dataclass(frozen=True)
class CharacterWriter:
    """Maker of a :class:`Character` from a persona; runs in a stage worker."""

    inputs: ClassVar[type[CharacterInput]] = CharacterInput
    parents: ClassVar[tuple[str, ...]] = ("persona_key",)
    record: ClassVar[type[Character]] = Character

    prompt: PromptTemplate
    structured: bool
    language: str | None
    checked: bool = True
    longest: int = LONG_CHARS

    async def make(self, key: str, row: CharacterInput, session: RowSession) -> Character | Reject:
        """Ask for the profile until it parses, is fit to play from, and in the right language."""
        messages = self.prompt.render({"persona": row.persona, "structured": self.structured})
        schema = profile_schema(self.longest) if self.structured else None
        read = partial(self._read, persona=row.persona)
        profile = await session.ask(messages, read, schema=schema)
        if isinstance(profile, Reject):
            return profile
        return Character(key=key, persona_key=row.persona_key, persona=row.persona, **profile)

    def _read(self, completion: Completion, *, persona: str) -> dict[str, str] | Reject:
        if completion.finish_reason == "content_filter":
            return Reject("filtered", completion.text[-100:])
        if completion.finish_reason == "length":
            return Reject("truncated", "the profile ran into the token limit")
        profile = parse_profile(completion.text, ended=completion.finish_reason == "stop")
        if isinstance(profile, Reject):
            return profile
        if self.checked:
            profile = tidy_profile(profile, self.longest)
            fault = check_profile(profile) or find_profile_fault(profile, persona, self.longest)
            if fault:
                return fault
        prose = " ".join(
            profile[name] for name in ("appearance", "general_experience", "personality")
        )
        if self.language is not None and not is_language(prose, self.language):
            return Reject("wrong_language", prose[:200])
        return dict(profile)
