"""Reads rubrics and prepares what a judge is asked: for a verdict, and for example replies.

A rubric is data (task, description, five anchors) and is bound to a prompt file; PersonaGym's own
rubrics are whole prompts with placeholders (:mod:`tasks.evaluation.questions.personagym`). Makers
see no difference: both render a request from the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from infra.errors import ConfigError, Problem
from infra.protocol import Message
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import hash_json
from tasks.records import TASKS, EvalTask

SCORES = (1, 2, 3, 4, 5)

VERDICT_VALUES = frozenset({"persona", "profile", "question", "answer", "examples", "structured"})
"""What a request for a verdict is rendered from, beside the rubric's own values."""

EXAMPLE_VALUES = frozenset({"persona", "profile", "question", "score", "structured"})
"""What a request for example replies is rendered from; ``score`` 0 asks for all five."""

_Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RequestPrompt(Protocol):
    """Prompt of one request; ``source`` is all of its text that enters the recipe key."""

    @property
    def source(self) -> str:
        """Return the text that the request is rendered from, values left open."""
        ...

    def render(self, values: Mapping[str, object]) -> tuple[Message, ...]:
        """Fill in the values."""
        ...


class Rubric(BaseModel):
    """What is rated, and what each score from 1 to 5 means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: _Text = Field(description="Name of what is rated, as the judge reads it")
    description: _Text = Field(description="What to look at")
    anchors: tuple[_Text, ...] = Field(
        min_length=5, max_length=5, description="What the scores 1 to 5 mean, in order"
    )


@dataclass(frozen=True)
class RubricPrompt:
    """Prompt file with a rubric's values filled in."""

    template: PromptTemplate
    rubric: Rubric

    @property
    def source(self) -> str:
        """Return the template and the rubric as one text."""
        return self.template.source + self.rubric.model_dump_json()

    def render(self, values: Mapping[str, object]) -> tuple[Message, ...]:
        """Render the prompt of this rubric."""
        return self.template.render({**self.rubric.model_dump(), **values})


@dataclass(frozen=True)
class JudgingPrompts:
    """What a judge is asked for each task: for a verdict, and for example replies."""

    verdicts: Mapping[EvalTask, RequestPrompt]
    examples: Mapping[EvalTask, RequestPrompt]

    @property
    def verdict_source(self) -> str:
        """Return what enters the recipe key of judgements."""
        return hash_json({task: prompt.source for task, prompt in self.verdicts.items()})

    @property
    def single_rubric(self) -> str | None:
        """Return the name of the one rubric that serves all tasks; ``None`` if there are more."""
        found = {
            prompt.rubric if isinstance(prompt, RubricPrompt) else None
            for prompt in self.verdicts.values()
        }
        rubric = found.pop() if len(found) == 1 else None
        return rubric.task if rubric is not None else None

    @property
    def example_source(self) -> str:
        """Return what enters the recipe key of score examples."""
        return hash_json({task: prompt.source for task, prompt in self.examples.items()})


def bind_rubrics(
    rubrics: Mapping[EvalTask, Rubric],
    *,
    verdict: PromptTemplate,
    examples: PromptTemplate,
    structured: bool,
) -> JudgingPrompts:
    """Bind rubrics to the two prompt files.

    Raises :class:`ConfigError` for a prompt that needs a value nobody has, that shows no answer
    or no rubric, or that cannot ask for a structured answer though one is wanted.
    """
    problems = [
        *_check_prompt(verdict, VERDICT_VALUES, {"question", "answer", "anchors"}, structured),
        *_check_prompt(examples, EXAMPLE_VALUES, {"question", "score", "anchors"}, structured),
    ]
    if problems:
        raise ConfigError(*problems)
    return JudgingPrompts(
        verdicts={task: RubricPrompt(verdict, rubric) for task, rubric in rubrics.items()},
        examples={task: RubricPrompt(examples, rubric) for task, rubric in rubrics.items()},
    )


def load_rubrics(path: Path) -> dict[EvalTask, Rubric]:
    """Read a YAML or JSON file of rubrics: one for each task, or a single one that serves all.

    Raises :class:`ConfigError` that lists everything wrong with the file.
    """
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = Problem(str(path), f"cannot be read: {error}", "give a YAML or JSON file")
        raise ConfigError(problem) from error
    if not isinstance(data, dict):
        what = f"holds a {type(data).__name__}, not a mapping"
        raise ConfigError(Problem(str(path), what, f"give {_EXPECTED}"))
    if "anchors" in data:
        data = dict.fromkeys(TASKS, data)
    problems = [
        Problem(f"{path}: {name}", "is no task", f"use {', '.join(TASKS)}")
        for name in data
        if name not in TASKS
    ]
    rubrics: dict[EvalTask, Rubric] = {}
    for task in TASKS:
        if task not in data:
            problems.append(Problem(str(path), f"has no rubric for {task}", f"give {_EXPECTED}"))
            continue
        try:
            rubrics[task] = Rubric.model_validate(data[task])
        except ValidationError as error:
            for fault in error.errors(include_url=False):
                field = ".".join(map(str, fault["loc"]))
                where = f"{path}: {task}.{field}".rstrip(".")
                problems.append(Problem(where, fault["msg"], f"give {_EXPECTED}"))
    if problems:
        raise ConfigError(*problems)
    return rubrics


_EXPECTED = "task, description and five anchors for each task, or one such mapping for all"


def _check_prompt(
    template: PromptTemplate, given: frozenset[str], needed: set[str], structured: bool
) -> list[Problem]:
    used = template.variables()
    problems = [
        Problem(template.name, f"uses {name}, which has no value", "remove it")
        for name in sorted(used - given - set(Rubric.model_fields))
    ]
    problems += [
        Problem(template.name, f"does not show {name}", f"use {{{{ {name} }}}}")
        for name in sorted(needed - used)
    ]
    if structured and "structured" not in used:
        problems.append(
            Problem(
                template.name,
                "cannot ask for JSON, as it does not use `structured`",
                "set structured to false, or take prompts/evaluation/",
            )
        )
    return problems
