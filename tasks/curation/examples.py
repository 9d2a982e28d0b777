"""Builds training examples: the paper's system prompt (section 3.3) and the dialogue's turns."""

from __future__ import annotations

from functools import lru_cache

from infra.errors import ConfigError, Problem
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import hash_parts, row_key
from tasks.records import Example, Split, Turn

_HASH_RANGE = 1 << 128


class ExampleBuilder:
    """Builder of one recipe's examples; each character's prompt is rendered once and shared."""

    def __init__(
        self, template: PromptTemplate, recipe: str, *, profile_dropout: float, seed: int
    ) -> None:
        self._template, self._recipe = template, recipe
        self._dropout, self._seed = profile_dropout, seed
        self._render = lru_cache(maxsize=65_536)(self._render_system)

    def name_example(self, dialogue_key: str) -> str:
        """Return the key of the example a dialogue becomes, or would have become."""
        return row_key(self._recipe, [dialogue_key])

    def build(
        self,
        *,
        dialogue_key: str,
        character_key: str,
        persona: str,
        profile: str,
        split: Split,
        context_turns: int,
        turns: tuple[Turn, ...],
    ) -> Example:
        """Build one example; whether the profile is dropped follows from the dialogue's key."""
        with_profile = not drops_profile(dialogue_key, self._dropout, self._seed)
        system = self._render(persona, profile if with_profile else "")
        return Example(
            key=self.name_example(dialogue_key),
            dialogue_key=dialogue_key,
            character_key=character_key,
            split=split,
            with_profile=with_profile,
            context_turns=context_turns,
            messages=(system, *turns),
        )

    def _render_system(self, persona: str, profile: str) -> Turn:
        messages = self._template.render({"persona": persona, "profile": profile})
        if [message.role for message in messages] != ["system"]:
            raise ConfigError(
                Problem(
                    self._template.name,
                    "the role-play prompt must be one [system] message",
                    "remove the other messages",
                )
            )
        return Turn("system", messages[0].content)


def drops_profile(dialogue_key: str, share: float, seed: int) -> bool:
    """Tell whether an example goes without its profile; a larger share only adds to them."""
    return int(hash_parts("profile", str(seed), dialogue_key), 16) < share * _HASH_RANGE
