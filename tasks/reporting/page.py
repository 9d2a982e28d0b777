"""Renders the report: the funnel, the costs, the rejects, and a browser of dialogues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from tasks.records import Turn

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StageLine:
    """Is one stage of the funnel and what it cost."""

    name: str
    planned: int
    accepted: int
    rejected: int
    requests: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float

    @property
    def yield_share(self) -> float:
        """Return the accepted share, between 0 and 1."""
        return self.accepted / self.planned if self.planned else 0.0

    @property
    def tokens_per_s(self) -> float:
        """Return generated tokens a second of the stage, engine start left out."""
        return self.completion_tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class RejectGroup:
    """Is a reason with its count and a few raw examples."""

    stage: str
    reason: str
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShownDialogue:
    """Is one dialogue of the browser, with who plays it."""

    key: str
    strategy: str
    corpus: str
    name: str
    persona: str
    profile: str
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class ShownSample:
    """Is what the trained model said to a held-out character's question."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class TrainingLine:
    """Is a finished training: losses in nats a trained token, the curves as an SVG of our own."""

    base: str
    model: str
    steps: int
    epochs: float
    tokens: int
    seconds: float
    ranks: int
    loss_before: float | None
    loss_after: float | None
    answers_ended: float | None
    answers_asked: int
    curves: Markup
    samples: tuple[ShownSample, ...]

    @property
    def gain(self) -> float | None:
        """Return by which share the held-out loss fell."""
        if self.loss_before is None or self.loss_after is None:
            return None
        return 1.0 - self.loss_after / self.loss_before


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Is everything the page says."""

    title: str
    fingerprint: str
    demo_teacher: bool
    models: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    stages: tuple[StageLine, ...]
    rejects: tuple[RejectGroup, ...]
    dialogues: tuple[ShownDialogue, ...]
    training: TrainingLine | None = None


def render_report(facts: ReportFacts, template: str) -> str:
    """Return the page; every text is escaped, so a persona with ``<script>`` is text."""
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=True)
    return environment.from_string(template).render(facts=facts)


def spread(items: Sequence[T], count: int) -> list[T]:
    """Return up to ``count`` items, evenly spaced over the sequence."""
    if count >= len(items):
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]
