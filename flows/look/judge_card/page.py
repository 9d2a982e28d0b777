"""Lays out a card: one page that needs nothing from outside, in the dress of the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jinja2 import DictLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from flows.look.judge_card.facts import JudgeCard, VerdictCost
from flows.look.judge_card.words import write_bounds, write_share_bounds
from infra.paths import require_path
from infra.text.markdown import escape_markdown
from tasks.evaluation.judging.card import CardFigures, Given, TaskAgreement
from tasks.evaluation.judging.rubrics import SCORES
from tasks.measures.jackknife import Bounded
from tasks.measures.statistics import Estimate
from tasks.reporting.config import ReportConfig
from tasks.reporting.figures import UNKNOWN, write_count, write_dollars, write_number, write_share
from tasks.reporting.measure_names import name_task
from tasks.reporting.tables import Cell, Column, Row, Table, name_columns
from tasks.reporting.templates import STYLE, read_templates

_PAGE = "judge_card.html.j2"
_LEADS = {
    "reliable": "reliable on these rows",
    "tentative": "good for tentative conclusions on these rows",
    "unreliable": "not reliable on these rows",
}


def render_card(card: JudgeCard) -> str:
    """Return the page of a card; every text is escaped."""
    source = require_path(f"templates/{_PAGE}", "judge-card").read_text(encoding="utf-8")
    shared = read_templates(ReportConfig().template)
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=DictLoader({**shared, _PAGE: source}),
    )
    return environment.get_template(_PAGE).render(
        card=card,
        title=say_title(card),
        style=Markup(shared[STYLE]),
        given=build_given_table(card.figures.given),
        people=build_agreement_table(card.figures.people, "labels"),
        reference=build_agreement_table(card.figures.reference, card.reference),
        biases=build_bias_table(card.figures),
        cost=build_cost_table(card.cost),
        prompts=Table(
            columns=(Column("task", "text"), Column("prompt and rubric", "key")),
            rows=tuple(
                Row(name_task(task), (Cell(digest, kind="key"),))
                for task, digest in card.judge.prompts.items()
            ),
        ),
        nodes=Table(
            columns=(Column("verdicts", "text"), Column("fingerprint", "key")),
            rows=tuple(
                Row(name, (Cell(fingerprint, kind="key"),))
                for name, fingerprint in card.nodes.items()
            ),
        ),
    )


def write_markdown(card: JudgeCard) -> str:
    """Return what a card says in sentences, as Markdown."""
    lines = [f"# {escape_markdown(say_title(card))}"]
    lines += [f"- {escape_markdown(finding.text)}" for finding in card.findings]
    return "\n".join(lines) + "\n"


def say_title(card: JudgeCard) -> str:
    """Return the judge and what it is worth in one line."""
    return f"Judge {card.judge.role} ({card.judge.model}): {_LEADS[card.worth]}"


def build_given_table(given: Sequence[Given]) -> Table:
    """Return how often each label got each score."""
    counted = {(item.label, item.score): item.rows for item in given}
    labels = sorted({item.label for item in given})
    scores = sorted({*map(float, SCORES), *(one.score for one in given if one.score is not None)})
    return Table(
        columns=name_columns(
            "label", *(f"scored {_name(score)}" for score in scores), "missing", "rows"
        ),
        rows=tuple(
            Row(
                _name(label),
                (
                    *(_count(counted.get((label, score), 0)) for score in scores),
                    _count(counted.get((label, None), 0)),
                    Cell(write_count(sum(one.rows for one in given if one.label == label))),
                ),
            )
            for label in labels
        ),
    )


def build_agreement_table(found: Sequence[TaskAgreement], other: str) -> Table:
    """Return the agreement with the labels or another judge, all tasks first."""
    return Table(
        columns=name_columns(
            f"against {other}",
            Column("alpha", hover="Krippendorff's, ordinal: 1 is perfect, 0 is chance"),
            Column("kappa", hover="Cohen's, with quadratic weights"),
            "within one",
            "exact",
            Column("lenience", hover="points above the other, on the mean"),
            "rows",
            "personas",
        ),
        rows=tuple(
            Row(
                name_task(one.task) if one.task else "All tasks",
                (
                    _number(one.alpha.value, one.alpha),
                    _number(one.kappa.value, one.kappa),
                    _share(one.within_one),
                    _share(one.exact),
                    _number(one.lenience.mean, one.lenience, signed=True),
                    Cell(write_count(one.alpha.rows)),
                    Cell(write_count(one.alpha.personas)),
                ),
            )
            for one in found
        ),
    )


def build_bias_table(figures: CardFigures) -> Table:
    """Return what a judge's scores hang on that they should not."""
    return Table(
        columns=name_columns("what", "figure", "95 % interval", "rows"),
        rows=tuple(_list_biases(figures)),
    )


def build_cost_table(cost: VerdictCost) -> Table:
    """Return what 1,000 verdicts cost."""
    hours = UNKNOWN if cost.engine_hours is None else write_number(cost.engine_hours, 3)
    cells = (
        Cell(write_count(round(cost.prompt_tokens))),
        Cell(write_count(round(cost.completion_tokens))),
        Cell(write_count(round(cost.requests))),
        Cell(hours),
        Cell(UNKNOWN if cost.usd is None else write_dollars(cost.usd)),
    )
    return Table(
        columns=name_columns(
            "", "prompt tokens", "completion tokens", "requests", "engine hours", "USD"
        ),
        rows=(Row("1,000 verdicts", cells),),
    )


def _list_biases(figures: CardFigures) -> Iterator[Row]:
    missing = figures.missing
    yield _bias("Missing verdicts", write_share(missing.mean), write_share_bounds(missing), missing)
    common = figures.commonest
    if common is not None:
        yield Row(
            f"Commonest score: {_name(common.score)}",
            (Cell(write_share(common.share)), Cell(""), Cell("")),
            note=f"labels: {write_share(common.share_of_labels)} at most",
        )
    length = figures.length
    if length is not None:
        yield _points("Empty words behind the answer", length.shift)
        higher = length.higher
        shown = write_share(higher.mean), write_share_bounds(higher)
        yield _bias("Answers that score higher with them", *shown, higher)
        for name, found, signed in (
            ("Correlation of score and length", length.judge, False),
            ("Correlation of label and length", length.people, False),
            ("Difference of the two", length.excess, True),
        ):
            text = write_number(found.value, 2, signed=signed)
            cells = Cell(text), Cell(write_bounds(found, signed=signed)), _rows(found.rows)
            yield Row(name, cells)
    if figures.order is not None:
        yield _points("Anchors turned", figures.order.shift)
        changed = figures.order.changed
        shown = write_share(changed.mean), write_share_bounds(changed)
        yield _bias("Verdicts that change with it", *shown, changed)
    own = figures.own
    if own is not None:
        yield _points("Own answers, above the labels", own.own)
        yield _points("Others' answers, above the labels", own.others)
        found = own.preference
        yield Row(
            "Self-preference",
            (
                Cell(write_number(found.value, 2, signed=True)),
                Cell(write_bounds(found, signed=True)),
                _rows(found.rows),
            ),
        )


def _points(name: str, found: Estimate) -> Row:
    text = f"{write_number(found.mean, 2, signed=True)} points"
    return _bias(name, text, write_bounds(found, signed=True), found)


def _bias(name: str, text: str, bounds: str, found: Estimate) -> Row:
    return Row(name, (Cell(text), Cell(bounds), _rows(found.rows)))


def _number(value: float | None, found: Bounded | Estimate, *, signed: bool = False) -> Cell:
    return Cell(write_number(value, 2, signed=signed), note=write_bounds(found, signed=signed))


def _share(found: Estimate) -> Cell:
    return Cell(write_share(found.mean), note=write_share_bounds(found))


def _rows(count: int) -> Cell:
    return Cell(write_count(count))


def _count(rows: int) -> Cell:
    return Cell(write_count(rows), tone="" if rows else "soft")


def _name(score: float) -> str:
    return write_number(score, 0 if score == int(score) else 1)
