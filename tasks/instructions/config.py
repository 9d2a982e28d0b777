"""Declares the knobs of instructions: the data sets to read, and the prompts to synthesise."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from infra.input.row_input import Source
from infra.knobs import Knobs, execution, group, identity, selection

Format = Literal["auto", "alpaca", "lima", "persona_hub", "messages", "pairs"]
MultiTurn = Literal["keep", "split"]


class ColumnMapping(Knobs):
    """Columns of a data set that calls them by names of its own."""

    question: str | None = selection(None, min_length=1, description="Column of the question.")
    context: str | None = selection(
        None, min_length=1, description="Column of a text that the question is about."
    )
    answer: str | None = selection(
        None, min_length=1, description="Column of the source's answer, if there is one."
    )
    history: str | None = selection(
        None, min_length=1, description="Column of the turns before the question, as a list."
    )
    system: str | None = selection(
        None,
        min_length=1,
        description="Column of a system prompt: left out, as characters bring their own.",
    )
    messages: str | None = selection(
        None, min_length=1, description="Column of a whole conversation, in place of a question."
    )

    @model_validator(mode="after")
    def _name_what_is_asked(self) -> ColumnMapping:
        if (self.question is None) == (self.messages is None):
            raise ValueError("name the column of either the question or the messages")
        return self

    @property
    def names(self) -> list[str]:
        """Return the columns that are named."""
        return [name for name in self.model_dump().values() if name is not None]


class InstructionSource(Knobs):
    """One data set of instructions; in YAML, a plain string is its path.

    The path, the split and the subset are execution knobs: the content of the files they choose,
    the format, the columns and the corpus enter the fingerprint by
    :func:`tasks.instructions.sources.digest_instruction_sources`.
    """

    path: str = execution(
        min_length=1,
        description="JSONL, JSON, CSV, Parquet or Arrow, packed or not: a file, a glob, or a "
        "folder such as a Hugging Face dataset; local or s3://.",
    )
    split: str | None = execution(
        None,
        min_length=1,
        description="Split to read of a folder that has several; null: train; all: every one.",
    )
    subset: str | None = execution(
        None,
        min_length=1,
        description="Configuration to read of a folder that has several; null: its default.",
    )
    format: Format = selection(
        "auto",
        description="alpaca (instruction, input or context, output), lima (conversations), "
        "persona_hub (synthesized text), messages (role, content) or pairs (question or prompt, "
        "and an answer); auto: told by each row's values.",
    )
    columns: ColumnMapping | None = group(
        None, description="Columns of a data set that is in none of the formats."
    )
    corpus: str | None = selection(
        None,
        min_length=1,
        description="The paper's question source; null: alpaca, lima, ph-instruct, chat or pairs, "
        "by the format.",
    )
    licence: str | None = execution(
        None, description="Licence of the data set, for the dataset card."
    )

    @property
    def rows(self) -> Source:
        """Return what is to be read."""
        return Source(self.path, self.split, self.subset)

    @model_validator(mode="before")
    @classmethod
    def _read_plain_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class InstructionSynthesisConfig(Knobs):
    """Knobs of the teacher's guesses of prompts that personas would ask (PH-Instruct)."""

    count: int = selection(
        0, ge=0, description="Prompts to synthesise, each for another persona; 0: off."
    )
    model: str = execution("teacher", min_length=1, description="Role of the model that guesses.")
    prompt: str = execution(
        "prompts/instruction.j2",
        min_length=1,
        description="Template of the request (its content enters the key); value: `persona`.",
    )
    temperature: float = identity(0.7, ge=0, description="Sampling temperature.")
    top_p: float = identity(0.95, gt=0, le=1, description="Nucleus sampling.")
    max_new_tokens: int = identity(512, ge=1, description="Most tokens of a guess.")
    seed: int = identity(0, description="Seed of sampling and of the choice of personas.")
    language: str | None = identity(
        "en",
        pattern="^[a-z]{2}$",
        description="Reject guesses confidently in another language (ISO 639-1); null: off.",
    )
    max_attempts: int = selection(
        3, ge=1, description="Tries a row, with another seed each, before it is rejected."
    )
    min_yield: float = execution(
        0.5, ge=0, le=1, description="Least share of guesses to accept, or the run stops."
    )


class InstructionConfig(Knobs):
    """Knobs of the questions that are asked: read from data sets, synthesised, or both."""

    sources: tuple[InstructionSource, ...] = group(
        (), description="Data sets of instructions, each a path or a mapping with `path`."
    )
    multi_turn: MultiTurn = selection(
        "split",
        description="split: each user turn is a question with the earlier turns as context (how "
        "the paper counts LIMA); keep: a conversation is one question.",
    )
    min_chars: int = selection(1, ge=1, description="Least characters of a user turn to answer.")
    max_chars: int = selection(
        20_000, ge=1, description="Most characters of a user turn to answer."
    )
    language: str | None = selection(
        None,
        pattern="^[a-z]{2}$",
        description="Reject questions confidently in another language (ISO 639-1); null: off.",
    )
    limit: int | None = selection(
        None, ge=1, description="Use this many questions, drawn evenly; null: all."
    )
    seed: int = selection(0, description="Seed of the draw that `limit` makes.")
    synthesis: InstructionSynthesisConfig = group(
        InstructionSynthesisConfig, description="Prompts guessed by the teacher."
    )
