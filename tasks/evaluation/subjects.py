"""Finds who is asked about, with their profiles, and the model that is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from infra.context import RunContext, model_identity
from infra.engines.config import ModelConfig
from infra.nodes.node import Node
from infra.nodes.rows import Rows
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import hash_json, hash_parts
from tasks.evaluation.config import OWN_LINE, QuestionConfig
from tasks.evaluation.questions.personagym import read_line
from tasks.records import Character

REWORDED = "prompts/evaluation/roleplay_personagym.j2"
"""PersonaGym's line in our words, for a part of a checkout that has no code."""


@dataclass(frozen=True, slots=True)
class Subject:
    """Model that is evaluated: one that is there, or the one that ``training`` makes.

    ``like`` is the role that it is run as: itself, or the base, which has the same shape.
    """

    role: str
    like: str
    training: Node | None = None

    @property
    def made_by(self) -> Sequence[Node]:
        """Return the node that makes it, if one does."""
        return () if self.training is None else (self.training,)

    def identify(self, context: RunContext) -> str:
        """Return what it is: for one that is still to be trained, the node that makes it."""
        if self.training is not None:
            return hash_json([self.role, self.training.spec.fingerprint])
        return model_identity(context.models[self.role])

    def open(self, context: RunContext) -> ModelConfig:
        """Return its configuration; a trained one is made known to the context."""
        if self.training is not None:
            export = str(self.training.manifest.facts["export"])
            like = context.models[self.like]
            context.add_model(self.role, like.run_export(context.storage.url(export)))
        return context.models[self.role]


def choose_subjects(
    config: QuestionConfig, examples: pl.DataFrame, characters: pl.DataFrame
) -> pl.DataFrame:
    """Return the personas that questions are written for: columns ``key`` and ``persona``.

    With ``unseen`` those whose characters were held out of training, the validation split's. Of
    more than ``personas`` the ones with the smallest hash are taken, so that a larger number only
    adds.
    """
    cast = characters.select(
        pl.col("persona_key").alias("key"), "persona", pl.col("key").alias("character_key")
    )
    if config.unseen:
        held_out = examples.filter(pl.col("split") == "validation")
        held_out = held_out.select("character_key").unique()
        cast = cast.join(held_out, on="character_key", how="semi")
    found = cast.select("key", "persona").unique("key").sort("key")
    ranked = sorted(
        found["key"].to_list(), key=lambda key: (hash_parts("subject", str(config.seed), key), key)
    )
    chosen = ranked[: config.personas]
    return found.filter(pl.col("key").is_in(chosen))


def find_profiles(given: Rows, characters: Node | None) -> dict[str, str]:
    """Return profiles by persona; none without characters."""
    if characters is None:
        return {}
    return {item.persona_key: item.profile for item in given.read(characters, Character)}


def read_prompt(name: str) -> PromptTemplate:
    """Read a prompt file by its name in the configuration."""
    return PromptTemplate.load(require_path(name, "evaluation"))


def read_answer_prompt(
    name: str, questions: QuestionConfig, where: str = "evaluation.answers.prompt"
) -> PromptTemplate:
    """Read the system prompt that a model answers under; ``where`` is the key that names it.

    Raises :class:`ConfigError` for a file that is not there, or a checkout without a clear line.
    """
    if name != OWN_LINE:
        return PromptTemplate.load(require_path(name, where))
    return read_line(Path(str(questions.path))) or read_prompt(REWORDED)


def name_answer_prompt(name: str, questions: QuestionConfig) -> str:
    """Return what people call the prompt that a model answers under."""
    if name != OWN_LINE:
        return name
    whole = read_line(Path(str(questions.path))) is not None
    return "PersonaGym's line" if whole else "PersonaGym's line in our words"
