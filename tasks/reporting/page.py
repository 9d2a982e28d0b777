"""Renders the pages: files that need nothing from outside and run no script but their own."""

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
from tasks.reporting.templates import PAGE, PAIRS, PAIRS_SCRIPT, SCRIPT, STYLE

PAIRS_FILE = "side_by_side.html"
"""Name of the page of pairs, beside the report: each has a link to the other."""

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
    habits: Table = _NOTHING
    habit_notes: tuple[JudgeNote, ...] = ()
    control: str = ""
    agreement: Table = _NOTHING
    win_rates: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class MakingFacts:
    """What the page says of how rows came about and what they cost."""

    funnel: Table = _NOTHING
    funnel_chart: Markup | None = None
    scored: Table = _NOTHING
    contamination: Table = _NOTHING
    contamination_lines: tuple[str, ...] = ()
    costs: Table = _NOTHING
    priced: bool = False
    rejects: tuple[RejectGroup, ...] = ()


@dataclass(frozen=True, slots=True)
class SharePicture:
    """Picture of shares, with what they are of; ``note`` says of how many rows."""

    title: str
    note: str
    chart: Markup | None


@dataclass(frozen=True, slots=True)
class CompositionFacts:
    """What the page says of what the rows are like."""

    lengths: Table = _NOTHING
    length_chart: Markup | None = None
    pictures: tuple[SharePicture, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything to show."""
        return bool(self.lengths or self.pictures)


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
    composition: CompositionFacts = field(default_factory=CompositionFacts)
    training: TrainingLine | None = None
    rows: Markup | None = None
    answers_shown: bool = False
    """Whether there are answers among the rows, for figures to lead to."""
    pairs: str = ""
    """Where the page of pairs is; empty without one."""


@dataclass(frozen=True, slots=True)
class PairFacts:
    """Everything that the page of pairs says; ``rows`` are the pairs as its script reads them."""

    title: str
    shown: int
    total: int
    rows: Markup


def render_report(facts: ReportFacts, templates: Mapping[str, str]) -> str:
    """Return the page; every text is escaped, so a persona with ``<script>`` is text.

    Beyond that the page forbids every script but the one whose digest it names, and every request.
    """
    return _render(PAGE, SCRIPT, facts, templates)


def render_pairs(facts: PairFacts, templates: Mapping[str, str]) -> str:
    """Return the page of pairs, as closed as the report."""
    return _render(PAIRS, PAIRS_SCRIPT, facts, templates)


def _render(
    page: str, script_name: str, facts: ReportFacts | PairFacts, templates: Mapping[str, str]
) -> str:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=DictLoader(dict(templates)),
    )
    script = templates[script_name]
    try:
        return environment.get_template(page).render(
            facts=facts,
            style=Markup(templates[STYLE]),
            script=Markup(script),
            script_digest=_digest_script(script),
        )
    except TemplateError as error:
        where = f"report.template: {getattr(error, 'name', None) or page}"
        raise ConfigError(
            Problem(where, f"the template does not render: {error}", "fix it")
        ) from error


def _digest_script(script: str) -> str:
    """Return the digest by which a content security policy knows an inline script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
