"""Offers the nodes of questions: settings chosen, questions written, and all of them gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from infra.generation.stage_worker import RowMaker
from infra.nodes.node import Node, RowNode, SetNode, SetOutput
from infra.nodes.row_kind import RowKind
from infra.nodes.rows import Rows
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import hash_parts
from infra.store.manifests import PartRef, write_table
from infra.store.schema import to_table
from tasks.evaluation.config import QuestionConfig, SettingsConfig, WritingConfig
from tasks.evaluation.planning import plan_question_rows
from tasks.evaluation.questions.personagym import digest_checkout
from tasks.evaluation.questions.sets import Sources, collect_questions
from tasks.evaluation.questions.writing import (
    ChosenSettings,
    QuestionWriter,
    SettingsChooser,
    WrittenQuestions,
    load_settings,
)
from tasks.evaluation.subjects import choose_subjects, read_prompt
from tasks.persona_rows import plan_persona_rows
from tasks.records import Character, EvalQuestion, Example, HeldOutAnswer


@dataclass(frozen=True, kw_only=True, eq=False)
class QuestionSettings(RowNode):
    """Everyday settings in which each persona is to be tested."""

    kind = "question_settings"
    stage = "evaluation"
    version = 2
    record = ChosenSettings
    row_kind = RowKind(
        "settings", pl.col("settings").list.join(", "), ("persona",), ("persona_key",)
    )

    config: SettingsConfig
    questions: QuestionConfig
    examples: Node
    characters: Node

    def selection(self) -> Mapping[str, Any]:
        """Return its knobs, and who is tested."""
        return {**super().selection(), **choose_who(self.questions)}

    def prompt_source(self) -> str:
        """Return the prompt file's content and the settings there are."""
        listed = require_path(self.config.settings, "evaluation.questions.settings.settings")
        return hash_parts(self._prompt.source, listed.read_text(encoding="utf-8"))

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row a persona."""
        subjects = choose_subjects(
            self.questions, given.frame(self.examples), given.frame(self.characters)
        )
        return plan_persona_rows(self.spec.recipe, subjects)

    def maker(self) -> RowMaker[Any]:
        """Return what chooses."""
        config = self.config
        listed = load_settings(require_path(config.settings, "evaluation.questions.settings"))
        return SettingsChooser(self._prompt, listed, config.count, config.structured)

    @property
    def _prompt(self) -> PromptTemplate:
        return read_prompt(self.config.prompt)


@dataclass(frozen=True, kw_only=True, eq=False)
class QuestionTexts(RowNode):
    """Questions of each task for each persona, in its settings where it has any."""

    kind = "question_texts"
    stage = "evaluation"
    version = 2
    record = WrittenQuestions
    row_kind = RowKind(
        "written questions",
        pl.format("{} for {}", "task", "persona"),
        ("settings",),
        ("persona_key",),
    )

    config: WritingConfig
    questions: QuestionConfig
    settings: Node | None
    examples: Node
    characters: Node

    def upstream(self) -> Sequence[Node]:
        """Return who is to be tested."""
        return (self.examples, self.characters) if self.settings is None else (self.settings,)

    def selection(self) -> Mapping[str, Any]:
        """Return its knobs, and who is tested."""
        return {**super().selection(), **choose_who(self.questions)}

    def prompt_source(self) -> str:
        """Return the prompt file's content."""
        return read_prompt(self.config.prompt).source

    def plan(self, given: Rows) -> pl.DataFrame:
        """Return a row for each persona and task."""
        if self.settings is not None:
            chosen = given.read(self.settings, ChosenSettings)
        else:
            subjects = choose_subjects(
                self.questions, given.frame(self.examples), given.frame(self.characters)
            )
            rows = subjects.select("key", "persona").rows()
            chosen = [ChosenSettings(key, key, text, ()) for key, text in rows]
        return plan_question_rows(self.spec.recipe, chosen)

    def maker(self) -> RowMaker[Any]:
        """Return what writes questions."""
        config = self.config
        return QuestionWriter(
            prompt=read_prompt(config.prompt),
            count=config.count,
            rounds=config.rounds,
            structured=config.structured and config.format == "json",
            language=config.language,
            as_lines=config.format == "lines",
            must_ask=config.must_ask,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Questions(SetNode):
    """Questions that every model answers, whatever suite they are of."""

    kind = "questions"
    stage = "evaluation"
    version = 2
    record = EvalQuestion
    row_kind = RowKind(
        "question",
        pl.col("question"),
        ("row",),
        ("persona_key",),
        ("suite",),
        link=pl.col("suite").replace_strict(
            {"held_out": "dialogue", "generated": "written questions"}, default="persona"
        ),
    )

    config: QuestionConfig
    texts: Node | None = None
    examples: Node | None = None
    characters: Node | None = None

    def identity(self) -> Mapping[str, Any]:
        """Return the suite."""
        return {"suite": self.config.suite}

    def selection(self) -> Mapping[str, Any]:
        """Return who is tested, and on how many of the suite's questions."""
        config = self.config
        return {
            **choose_who(config),
            **({"light": config.light} if config.suite == "personagym" else {}),
            **({"per_persona": config.per_persona} if config.suite == "held_out" else {}),
        }

    def sources(self) -> Sequence[str]:
        """Return the digests of PersonaGym's checkout."""
        if self.config.suite != "personagym":
            return ()
        return digest_checkout(Path(str(self.config.path)))

    def gather(self, given: Rows) -> SetOutput:
        """Gather the questions, and what the held-out dialogues answer to them."""
        texts, examples, characters = self.texts, self.examples, self.characters
        found = collect_questions(
            self.config,
            Sources(
                written=tuple(given.read(texts, WrittenQuestions)) if texts else (),
                examples=tuple(given.read(examples, Example)) if examples else (),
                characters=tuple(given.read(characters, Character)) if characters else (),
            ),
        )
        files: list[PartRef] = []
        if found.references:
            path = f"{self.spec.folder}/part-{self.spec.fingerprint}-references.parquet"
            table = to_table(HeldOutAnswer, found.references)
            files.append(write_table(self.context.storage, path, table, holds="references"))
        return SetOutput(found.questions, found.rejected, files=files)


def choose_who(config: QuestionConfig) -> Mapping[str, int | None]:
    """Return the knobs that say which personas are tested."""
    if config.suite == "personagym":
        return {"personas": config.personas, "seed": config.seed}
    return {"unseen": int(config.unseen), "personas": config.personas, "seed": config.seed}
