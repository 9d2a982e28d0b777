"""Configures pairing and the two strategies."""

from __future__ import annotations

from infra.input.row_input import Source
from infra.knobs import Knobs, execution, group, identity, selection
from infra.text.speech import StageDirections


class StrategyConfig(Knobs):
    """Knobs of one strategy: how it asks its model."""

    model: str = execution("teacher", description="Which of `models` plays the characters")
    prompt: str = execution(description="Prompt file; its content is what counts")
    temperature: float = identity(0.7, ge=0, le=2, description="Sampling temperature")
    top_p: float = identity(0.95, gt=0, le=1, description="Nucleus sampling mass")
    max_new_tokens: int = identity(
        1024, ge=16, description="Longest answer in tokens: a turn for G, the whole dialogue for R"
    )
    seed: int = identity(0, ge=0, description="Seed of the sampling")
    check_speech: bool = identity(
        True,
        description="Trim what surrounds the speech of an answer, and ask again for one that loops,"
        " plays the user, or holds template marks, placeholders or broken text; false takes any",
    )
    stage_directions: StageDirections = identity(
        "trim",
        description="Take *smiles* and (leans in) out of what is said (trim), or leave them (keep)",
    )
    max_attempts: int = selection(3, ge=1, description="How often an answer is asked for")
    min_yield: float = execution(
        0.5, ge=0, le=1, description="Share of dialogues that must be accepted, else the run stops"
    )


class GenerateConfig(StrategyConfig):
    """Knobs of strategy G: the model answers each question as the character."""

    prompt: str = execution(
        "prompts/generate.j2", description="Prompt file; its content is what counts"
    )


class RewriteConfig(StrategyConfig):
    """Knobs of strategy R: the model rewrites the source's answers in the character's voice."""

    prompt: str = execution(
        "prompts/rewrite.j2", description="Prompt file; its content is what counts"
    )
    structured: bool = identity(
        True, description="Hold the answer to a JSON schema where the engine can"
    )
    max_turn_chars: int = identity(
        4000, ge=100, description="Longest turn under the schema, in characters"
    )


class DialogueConfig(Knobs):
    """Knobs of dialogues: who answers what, and by which strategies."""

    source: str | None = execution(
        None,
        description="Rows of your own with `persona` and `messages`, or as exported; then no"
        " model plays, and questions are not read",
    )
    split: str | None = execution(
        None, min_length=1, description="Split of `source` to read; null: train; all: every one"
    )
    subset: str | None = execution(
        None, min_length=1, description="Configuration of `source` to read; null: its default"
    )
    min_yield: float = execution(
        0.5,
        ge=0,
        le=1,
        description="Share of the rows of `source` that must be taken, else the run stops",
    )
    characters_per_question: int = selection(
        3, ge=1, description="Characters that answer each question (the paper's n)"
    )
    pairing_seed: int = selection(0, ge=0, description="Seed of who answers what")
    generate: GenerateConfig | None = group(
        GenerateConfig, description="Strategy G; null leaves it out"
    )
    rewrite: RewriteConfig | None = group(
        None, description="Strategy R, for questions with a source answer; null leaves it out"
    )

    @property
    def rows(self) -> Source | None:
        """Return the brought rows to read, if any are."""
        if self.source is None:
            return None
        return Source(self.source, self.split, self.subset, likely=("dialogues",))
