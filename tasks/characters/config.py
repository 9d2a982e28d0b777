"""Configures the writing of character profiles."""

from __future__ import annotations

from infra.input.row_input import Source
from infra.knobs import Knobs, execution, identity, selection
from tasks.characters.profile import LONG_CHARS


class CharacterConfig(Knobs):
    """Knobs of profiles: the model that writes, its prompt, and what it takes to be accepted."""

    source: str | None = execution(
        None,
        description="Rows of your own with `persona` and the profile, as exported; then no"
        " model is asked for profiles",
    )
    split: str | None = execution(
        None, min_length=1, description="Split of `source` to read; null: train; all: every one"
    )
    subset: str | None = execution(
        None, min_length=1, description="Configuration of `source` to read; null: its default"
    )
    model: str = execution("teacher", description="Which of `models` writes the profiles")
    prompt: str = execution(
        "prompts/character.j2", description="Prompt file; its content is what counts"
    )
    structured: bool = identity(
        True, description="Ask for a JSON object under a schema; false asks for Field: value lines"
    )
    max_field_chars: int = identity(
        LONG_CHARS,
        ge=40,
        later=True,
        description="Longest of the three long values under the schema, in characters",
    )
    temperature: float = identity(0.7, ge=0, le=2, description="Sampling temperature")
    top_p: float = identity(0.95, gt=0, le=1, description="Nucleus sampling mass")
    max_new_tokens: int = identity(800, ge=16, description="Longest profile in tokens")
    seed: int = identity(0, ge=0, description="Seed of the sampling")
    language: str | None = identity(
        "en", description="Language a profile must be in (ISO 639-1); None takes any"
    )
    check_quality: bool = identity(
        True,
        description="Ask again for a profile that loops, is broken or cut off, has the persona or a"
        " sentence for a name, or an age that contradicts the persona",
    )
    max_attempts: int = selection(3, ge=1, description="How often a profile is asked for")
    min_yield: float = execution(
        0.6, ge=0, le=1, description="Share of profiles that must be accepted, else the run stops"
    )

    @property
    def rows(self) -> Source | None:
        """Return the brought rows to read, if any are."""
        if self.source is None:
            return None
        return Source(self.source, self.split, self.subset, likely=("characters",), cards=True)
