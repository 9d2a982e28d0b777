"""Renders the page: one file that needs nothing from outside and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from jinja2 import DictLoader, StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from infra.errors import ConfigError, Problem
from tasks.reporting.sections.headline import Figure, Verdict
from tasks.reporting.sections.judges import JudgeNote
from tasks.reporting.sections.learning import TrainingLine
from tasks.reporting.sections.making import RejectGroup
from tasks.reporting.sections.overview import RunFacts
from tasks.reporting.tables import Table
from tasks.reporting.templates import PAGE, SCRIPT, STYLE

_NOTHING = Table((), ())


@dataclass(frozen=True, slots=True)
class ScoreFacts:
    """What the page says of the models' scores; what there is none of is empty."""

    figures: tuple[Figure, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    scores: tuple[Table, ...] = ()
    score_chart: Markup | None = None
    differences: Table = _NOTHING
    other_differences: Table = _NOTHING
    attribution: Table = _NOTHING
    attribution_chart: Markup | None = None
    style: Table = _NOTHING
    abilities: Table = _NOTHING
    calibration: Table = _NOTHING
    judge_notes: tuple[JudgeNote, ...] = ()
    one_rubric: bool = False
    agreement: Table = _NOTHING


@dataclass(frozen=True, slots=True)
class MakingFacts:
    """What the page says of how rows came about and what they cost."""

    funnel: Table = _NOTHING
    funnel_chart: Markup | None = None
    scored: Table = _NOTHING
    costs: Table = _NOTHING
    priced: bool = False
    rejects: tuple[RejectGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """Everything the page says."""

    title: str
    run: RunFacts
    models: Table
    nodes: Table
    licences: tuple[tuple[str, str], ...]
    scores: ScoreFacts = field(default_factory=ScoreFacts)
    making: MakingFacts = field(default_factory=MakingFacts)
    training: TrainingLine | None = None
    rows: Markup | None = None


def render_report(facts: ReportFacts, templates: Mapping[str, str]) -> str:
    """Return the page; every text is escaped, so a persona with ``<script>`` is text.

    Beyond that the page forbids every script but the one whose digest it names, and every request.
    """
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=DictLoader(dict(templates)),
    )
    script = templates[SCRIPT]
    try:
        return environment.get_template(PAGE).render(
            facts=facts,
            style=Markup(templates[STYLE]),
            script=Markup(script),
            script_digest=_digest_script(script),
        )
    except TemplateError as error:
        where = f"report.template: {getattr(error, 'name', None) or PAGE}"
        raise ConfigError(
            Problem(where, f"the template does not render: {error}", "fix it")
        ) from error


def _digest_script(script: str) -> str:
    """Return the digest by which a content security policy knows an inline script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
