"""Declares what a deployment asks for, so that the Prefect UI shows a form and checks it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from flows.recipe.settings import Settings

Override = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+=[\s\S]*$")]

_DIALOGUES_OF_GUESSES = 4
_QUESTIONS_A_PERSONA = 5


class Form(BaseModel):
    """Group of fields of a form; a field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipe(Form):
    """Choice of a configuration, and what a run changes of it."""

    config: str = Field(
        "configs/demo.yaml",
        min_length=1,
        title="Configuration",
        description="YAML file, in the worker's project folder or packaged.",
    )
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]+$",
        title="Run name",
        description="Folder of the run under <root>/runs; left out: as the configuration says.",
    )
    root: str | None = Field(
        None,
        min_length=1,
        title="Storage root",
        description="A folder or s3://bucket/prefix; left out: as the configuration says.",
    )
    cluster: str | None = Field(
        None,
        min_length=1,
        title="Ray cluster",
        description="Address to join, or auto beside a Ray node; left out: as configured.",
    )
    overrides: tuple[Override, ...] = Field(
        (),
        title="Changes",
        description="Keys of the configuration to change, each as a.b=c; the value is YAML.",
        examples=[["training.epochs=1", "models.teacher.replicas=4"]],
    )

    @property
    def label(self) -> str:
        """Return what the run is called in the UI: its name, else the configuration's."""
        return self.name or PurePosixPath(self.config).stem

    def list_overrides(self) -> list[str]:
        """Return all changes in the command line's form; the named fields win."""
        given = {
            "run.name": self.name,
            "storage.root": self.root,
            "ray.address": self.cluster,
        }
        return [*self.overrides, *write_overrides(given)]


class SynthesisSize(Form):
    """Amounts of data to make; a larger figure only adds work."""

    personas: int | None = Field(
        None, ge=1, title="Personas", description="Personas to use (the paper's M is 20,000)."
    )
    questions: int | None = Field(
        None, ge=1, title="Questions", description="Questions to use, drawn evenly."
    )
    characters_per_question: int | None = Field(
        None,
        ge=1,
        title="Characters a question",
        description="Characters that answer each question (the paper's n is 3).",
    )

    def list_overrides(self) -> list[str]:
        """Return the changes in the command line's form."""
        return write_overrides(
            {
                "personas.sample": self.personas,
                "instructions.limit": self.questions,
                "dialogues.characters_per_question": self.characters_per_question,
            }
        )


class Gates(Form):
    """Choice of the earlier run that a run is held to, and what its differences must be above."""

    baseline: str = Field(
        "baseline",
        min_length=1,
        title="Baseline",
        description="Finished run to compare with: a name in the recipe's store, or its folder.",
    )
    fail_below: tuple[str, ...] = Field(
        ("persona_score=-0.2",),
        min_length=1,
        title="Bounds",
        description="Each as measure=bound, in the measure's unit; the lower end of the interval "
        "of the difference must not be below. Equal runs have an interval too: leave a margin.",
        examples=[["persona_score=-0.2", "attribution=-5", "score:toxicity_control=-0.2"]],
    )


def write_overrides(values: Mapping[str, str | int | None]) -> list[str]:
    """Write values as overrides, in JSON, which is YAML too; ``None`` is left out."""
    return [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
        if value is not None
    ]


def list_preview_overrides(settings: Settings, rows: int) -> list[str]:
    """Return the changes that take at most so many rows through every stage of a configuration.

    The rows are the first ones of the whole run's own choice, so that it reuses what a preview
    made. Figures that are smaller already are kept. The preview has a run folder of its own.
    """
    return write_overrides(dict(_limit_stages(settings, rows)))


def _limit_stages(settings: Settings, rows: int) -> Iterator[tuple[str, str | int]]:
    guesses = min(settings.instructions.synthesis.count, rows // _DIALOGUES_OF_GUESSES)
    yield "run.name", f"{settings.run.name}-preview"
    yield "personas.sample", _least(settings.personas.sample, rows)
    yield "instructions.limit", _least(settings.instructions.limit, rows - guesses)
    yield "instructions.synthesis.count", guesses
    yield "dialogues.characters_per_question", 1
    if settings.training is not None:
        yield "training.max_examples", _least(settings.training.max_examples, rows)
    if settings.evaluation is not None:
        asked = max(1, rows // _QUESTIONS_A_PERSONA)
        yield (
            "evaluation.questions.personas",
            _least(settings.evaluation.questions.personas, asked),
        )


def _least(configured: int | None, rows: int) -> int:
    return rows if configured is None else min(configured, rows)
