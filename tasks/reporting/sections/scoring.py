"""Lays out the scores: models by tasks, paired differences, attribution, style, abilities.

A missing verdict is said wherever it is missing; it entered no mean (:mod:`tasks.scores`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

from tasks.measures.registry import MEASURES, find_measure_kind
from tasks.records import BASE, TASKS, TUNED, Ability
from tasks.reporting.figures import (
    MINUS,
    UNKNOWN,
    write_count,
    write_number,
    write_p,
    write_share,
)
from tasks.reporting.links import link_measure
from tasks.reporting.measure_names import (
    MAIN_MEASURES,
    STYLE_MEASURES,
    name_judge,
    name_measure,
    name_task,
    write_change,
    write_change_interval,
    write_interval,
    write_value,
)
from tasks.reporting.sections.claims import Claims
from tasks.reporting.tables import Cell, Column, Row, Table, Tone, drop_empty_columns, name_columns
from tasks.scores import PANEL, Comparison, Measure, PublishedScore

S = TypeVar("S", Measure, Comparison)

NO_RUBRICS: Mapping[str, str] = MappingProxyType({})
"""Every judge has a rubric for each task."""

_NO_BREAK = "\N{NO-BREAK SPACE}"

_MARKS = {"recipe": "this run's recipe", "backbone": "what this run's recipe starts from"}


def list_models(measures: Iterable[Measure]) -> tuple[str, ...]:
    """Return the measured models, the base first."""
    return order_models(measure.model for measure in measures)


def order_models(models: Iterable[str]) -> tuple[str, ...]:
    """Return the roles once each: the base first, then the tuned one, then by name."""
    ranked = {model: (BASE, TUNED, model).index(model) for model in models}
    return tuple(sorted(ranked, key=lambda model: (ranked[model], model)))


def list_judges(measures: Iterable[Measure]) -> tuple[str, ...]:
    """Return the judges whose scores there are, the panel of all first."""
    found = {item.judge for item in measures if item.name in ("persona_score", "score")}
    return tuple(sorted(found, key=_rank_judge))


def drop_task_scores(rows: Iterable[S], rubrics: Mapping[str, str]) -> list[S]:
    """Return the rows without scores by task of judges that rate all tasks by one rubric."""
    return [row for row in rows if row.name != "score" or row.judge not in rubrics]


def find_measure(
    measures: Iterable[Measure], name: str, model: str, judge: str = "", task: str = ""
) -> Measure | None:
    """Return one measure of one model, or ``None``."""
    wanted = (name, model, judge, task)
    return next(
        (item for item in measures if (item.name, item.model, item.judge, item.task) == wanted),
        None,
    )


def build_score_table(
    measures: Sequence[Measure],
    judge: str,
    published: Sequence[PublishedScore] = (),
    *,
    prompts: Mapping[str, str] | None = None,
    set_up: str = "",
    rubrics: Mapping[str, str] = NO_RUBRICS,
) -> Table:
    """Return models by PersonaScore and tasks under one judge, the paper's rows below.

    ``prompts`` are those of :func:`tell_prompts`; ``set_up`` says in what the paper's rows differ
    from ours; ``rubrics`` are the names of rubrics that serve all tasks, by judge.
    """
    judged = [item for item in measures if item.judge == judge]
    rows = [_score_row(judged, model, judge, prompts or {}) for model in list_models(judged)]
    told = (_write_caption(judge, rubrics), set_up if published else "")
    return _tabulate_scores(
        [*rows, *_published_rows(published)],
        ". ".join(filter(None, told)),
        name_measure("persona_score", judge, rubrics),
    )


def build_published_table(published: Sequence[PublishedScore]) -> Table:
    """Return the paper's rows of a suite that was not asked."""
    light = any(item.suite == "light" for item in published)
    suite = "PersonaGym Light" if light else "PersonaGym in full"
    caption = f"The paper's rows on {suite}, not comparable with those above"
    return _tabulate_scores(_published_rows(published), caption)


def tell_prompts(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what the prompt of each model is called, by the facts of a score table.

    Empty where all answered under one prompt: then there is nothing to tell.
    """
    prompts: dict[str, str] = facts.get("prompts", {})
    return prompts if len(set(prompts.values())) > 1 else {}


def build_difference_table(
    comparisons: Sequence[Comparison],
    claims: Claims,
    prompts: Mapping[str, str] | None = None,
    rubrics: Mapping[str, str] = NO_RUBRICS,
) -> Table:
    """Return the paired differences; those that are clear of 0 are marked.

    ``prompts`` are those of :func:`tell_prompts`, told of what judges scored; ``rubrics`` are as
    for :func:`build_score_table`.
    """
    return drop_empty_columns(
        Table(
            columns=name_columns(
                "models",
                Column("measure", "text"),
                "difference",
                Column("95 % interval", hover="paired, Student's t over personas"),
                "p",
                Column("corrected", hover=f"p by Holm, for {claims.tested} comparisons"),
                Column(
                    "detectable", hover="smallest true difference that is found with 80 % power"
                ),
                "pairs",
                "personas",
                Column("missing", hover="pairs left out because a value of either is missing"),
                Column("unmatched", hover="rows that only one of the models has"),
            ),
            rows=tuple(
                _difference_row(item, claims, prompts or {}, rubrics) for item in comparisons
            ),
        ),
        ("corrected", "unmatched"),
    )


def split_comparisons(
    comparisons: Sequence[Comparison],
) -> tuple[tuple[Comparison, ...], tuple[Comparison, ...]]:
    """Return the comparisons of what models are trained for, and all others, both in order."""
    ordered = order_comparisons(comparisons)
    main = tuple(item for item in ordered if item.name in MAIN_MEASURES)
    return main, tuple(item for item in ordered if item.name not in MAIN_MEASURES)


def order_comparisons(comparisons: Iterable[Comparison]) -> tuple[Comparison, ...]:
    """Return comparisons by measure, judge, task and models; in the store they lie by key."""
    measures = list(MEASURES)
    tasks = ("", *TASKS)
    ranks = {task: place for place, task in enumerate(tasks)}
    return tuple(
        sorted(
            comparisons,
            key=lambda item: (
                measures.index(item.name) if item.name in MEASURES else len(measures),
                _rank_judge(item.judge),
                (ranks.get(item.task, len(tasks)), item.task),
                (BASE, TUNED, item.model).index(item.model),
                item.model,
                item.against,
            ),
        )
    )


def build_attribution_table(measures: Sequence[Measure]) -> Table:
    """Return how often each model finds the true character, and what the profile is worth to it."""
    names: tuple[str, ...] = (
        "attribution",
        "attribution_hard",
        "profile_gain",
        "profile_margin",
    )
    found = [item for item in measures if item.name in names]
    rows = []
    for model in list_models(found):
        cells = []
        for name in names:
            measure = find_measure(found, name, model)
            cells.append(_measure_cell(measure))
            if name in ("attribution", "attribution_hard"):
                cells.append(Cell(write_share(measure.chance if measure else None), tone="soft"))
        first = next(item for item in found if item.model == model)
        cells += [Cell(write_count(first.rows)), Cell(write_count(first.clusters))]
        rows.append(Row(model, tuple(cells)))
    return Table(
        columns=name_columns(
            "model",
            "random candidates",
            "chance",
            Column("alike candidates", hover="characters that resemble the true one"),
            "chance",
            Column("gain", hover="nats a token that the profile adds"),
            Column("margin", hover="nats a token over random other profiles"),
            "answers",
            "personas",
        ),
        rows=tuple(rows),
    )


def build_style_table(measures: Sequence[Measure]) -> Table:
    """Return the measures of style, one a row, models side by side."""
    found = [item for item in measures if item.name in STYLE_MEASURES]
    models = list_models(found)
    names = [name for name in STYLE_MEASURES if any(item.name == name for item in found)]
    return Table(
        columns=name_columns("measure", *models),
        rows=tuple(
            Row(
                find_measure_kind(name).label,
                tuple(_measure_cell(find_measure(found, name, model)) for model in models),
            )
            for name in names
        ),
    )


def build_ability_table(abilities: Sequence[Ability]) -> Table:
    """Return general tasks, one a row, models side by side."""
    models = order_models(item.model for item in abilities)
    found = {(item.task, item.metric, item.model): item for item in abilities}
    kinds = sorted({(item.task, item.metric) for item in abilities})
    return Table(
        columns=name_columns("task", *models),
        rows=tuple(
            Row(
                task,
                tuple(_ability_cell(found.get((task, metric, model))) for model in models),
                note=metric,
            )
            for task, metric in kinds
        ),
    )


def _rank_judge(judge: str) -> tuple[bool, str]:
    return judge != PANEL, judge


def _tabulate_scores(rows: Sequence[Row], caption: str, total: str = "PersonaScore") -> Table:
    table = Table(
        columns=name_columns(
            "model",
            total,
            Column("sd", hover="standard deviation over personas"),
            *(name_task(task) for task in TASKS),
            "personas",
            Column("missing", hover="verdicts that could not be read; they enter no mean"),
        ),
        rows=tuple(rows),
        caption=caption,
    )
    return drop_empty_columns(table, ("personas", *(name_task(task) for task in TASKS)))


def _write_caption(judge: str, rubrics: Mapping[str, str]) -> str:
    if not judge:
        return ""
    single = ", by one rubric for all tasks" if judge in rubrics else ""
    return f"Judge: {name_judge(judge)}{single}"


def _score_row(
    judged: Sequence[Measure], model: str, judge: str, prompts: Mapping[str, str]
) -> Row:
    total = find_measure(judged, "persona_score", model, judge)
    tasks = [find_measure(judged, "score", model, judge, task) for task in TASKS]
    known = [item for item in tasks if item is not None]
    missing = sum(item.missing for item in known) if known else total.missing if total else 0
    personas = total.clusters if total else max((item.clusters for item in known), default=0)
    return Row(
        model,
        (
            _measure_cell(total),
            Cell(write_number(total.sd if total else None, 2), tone="soft"),
            *(_measure_cell(item) for item in tasks),
            Cell(write_count(personas)),
            Cell(write_count(missing), tone="bad" if missing else ""),
        ),
        note=f"under {prompts[model]}" if model in prompts else "",
    )


def _published_rows(published: Sequence[PublishedScore]) -> list[Row]:
    found: dict[tuple[str, str], dict[str, PublishedScore]] = {}
    for item in published:
        found.setdefault((item.suite, item.model), {})[item.task] = item
    return [_published_row(scores) for scores in found.values()]


def _published_row(scores: Mapping[str, PublishedScore]) -> Row:
    one = next(iter(scores.values()))
    total = scores.get("")
    told = ["the paper", one.suite, one.base and f"from {one.base}", _MARKS.get(one.mark, "")]
    cells = (
        Cell(write_number(total.value if total else None, 2)),
        Cell(write_number(total.sd if total else None, 2), tone="soft"),
        *(_published_cell(scores.get(task)) for task in TASKS),
        Cell(UNKNOWN),
        Cell(UNKNOWN),
    )
    return Row(one.model, cells, note=", ".join(filter(None, told)), quiet=not one.mark)


def _published_cell(score: PublishedScore | None) -> Cell:
    if score is None:
        return Cell(UNKNOWN)
    spread = "" if score.sd is None else f"sd {write_number(score.sd, 2)}"
    return Cell(write_number(score.value, 2), note=spread)


def _difference_row(
    item: Comparison, claims: Claims, prompts: Mapping[str, str], rubrics: Mapping[str, str]
) -> Row:
    measure = name_measure(item.name, item.judge, rubrics)
    judge = f"judge: {name_judge(item.judge)}" if item.judge else ""
    return Row(
        f"{item.model}{_NO_BREAK}{MINUS}{_NO_BREAK}{item.against}",
        (
            Cell(name_task(item.task) if item.task else measure, note=judge, kind="text"),
            Cell(
                write_change(item.name, item.mean),
                tone=_find_tone(item, claims),
                link=link_measure(item),
            ),
            Cell(write_change_interval(item.name, item.low, item.high) or UNKNOWN),
            Cell(write_p(item.p_value)),
            Cell(write_p(claims.find_p(item))),
            Cell(write_change(item.name, item.detectable, signed=False)),
            Cell(write_count(item.rows)),
            Cell(write_count(item.clusters)),
            Cell(write_count(item.missing), tone="bad" if item.missing else ""),
            Cell(write_count(item.unmatched), tone="bad" if item.unmatched else ""),
        ),
        note=_tell_prompts(item, prompts) if item.judge else "",
    )


def _tell_prompts(item: Comparison, prompts: Mapping[str, str]) -> str:
    ours, theirs = prompts.get(item.model), prompts.get(item.against)
    if ours is None or theirs is None:
        return ""
    return f"both under {ours}" if ours == theirs else f"under {ours} and {theirs}"


def _find_tone(item: Comparison, claims: Claims) -> Tone:
    if not claims.holds(item) or item.mean is None or item.name not in (*MAIN_MEASURES, "score"):
        return ""
    return "good" if item.mean > 0 else "bad"


def _measure_cell(measure: Measure | None) -> Cell:
    if measure is None:
        return Cell(UNKNOWN, tone="soft")
    notes = [write_interval(measure.name, measure.low, measure.high)]
    if measure.missing and measure.name == "score":
        notes.append(f"{write_count(measure.missing)} missing")
    return Cell(
        write_value(measure.name, measure.mean),
        note="\n".join(note for note in notes if note),
        hover=f"{write_count(measure.rows)} values of {write_count(measure.clusters)} personas, "
        f"{write_count(measure.missing)} missing",
        link=link_measure(measure),
    )


def _ability_cell(ability: Ability | None) -> Cell:
    if ability is None:
        return Cell(UNKNOWN, tone="soft")
    error = ability.standard_error
    return Cell(
        write_number(ability.value, 3),
        note=f"± {write_number(error, 3)}" if error is not None else "",
        hover=f"{write_count(ability.rows)} rows; ± is one standard error",
    )
