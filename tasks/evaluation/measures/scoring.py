"""Turns verdicts, answers and likelihoods into the rows of the score table.

Every model is measured by every judge, by the panel of all judges where there are several, and
without a judge; then each is compared with the first, on the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from infra.store.fingerprints import content_key
from tasks.evaluation.measures.style import (
    measure_style,
    score_ai_admissions,
    score_refusals,
    score_stops,
)
from tasks.evaluation.statistics import (
    Difference,
    Estimate,
    Score,
    average_judges,
    compare_persona_scores,
    compare_rows,
    estimate_mean,
    score_personas,
    take_scores,
)
from tasks.records import Ability, Answer, Attribution, Judgement
from tasks.scores import PANEL, Comparison, Measure, MeasureName

_Z = 1.959963984540054
"""97.5 % quantile of the normal: abilities come with a standard error and no rows."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was found out about the models of a run.

    Attributes:
        models: Roles, the one that the others are compared with first.
        judges: Roles of the judges.
        judgements: All judges' verdicts on all models' answers.
        answers: Accepted answers by model.
        attributions: Attributed held-out answers by model.
        abilities: General abilities of all models.
    """

    models: tuple[str, ...]
    judges: tuple[str, ...]
    judgements: tuple[Judgement, ...]
    answers: Mapping[str, Sequence[Answer]]
    attributions: Mapping[str, Sequence[Attribution]]
    abilities: tuple[Ability, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One measure of one model, row by row, so that models can be paired on it."""

    name: MeasureName
    judge: str
    task: str
    model: str
    scores: tuple[Score, ...]
    chance: float | None = None


def measure_models(evidence: Evidence, *, seed: int) -> list[Measure]:
    """Return every measure of every model, sorted by key."""
    measures = [_measure(series) for series in list_series(evidence)]
    for model, answers in evidence.answers.items():
        measures += _measure_style(model, answers, seed)
    measures += [_measure_ability(ability) for ability in evidence.abilities]
    return sorted(measures, key=lambda item: item.key)


def compare_models(evidence: Evidence, *, seed: int, resamples: int) -> list[Comparison]:
    """Compare every model with the first one by every measure that has rows, sorted by key."""
    first = evidence.models[0]
    found = {(item.name, item.judge, item.task, item.model): item for item in list_series(evidence)}
    comparisons = []
    for (name, judge, task, model), series in found.items():
        reference = found.get((name, judge, task, first))
        if model == first or reference is None:
            continue
        compare = compare_persona_scores if name == "persona_score" else compare_rows
        difference = compare(series.scores, reference.scores, seed=seed, resamples=resamples)
        comparisons.append(_compare(series, first, difference))
    comparisons += _compare_abilities(evidence.abilities, first)
    return sorted(comparisons, key=lambda item: item.key)


def list_series(evidence: Evidence) -> Iterator[Series]:
    """Yield every measure that is a mean over rows."""
    panel = [PANEL] if len(evidence.judges) > 1 else []
    for judge in (*evidence.judges, *panel):
        for model in evidence.models:
            scores = (
                average_judges(evidence.judgements, model)
                if judge == PANEL
                else take_scores(evidence.judgements, model, judge)
            )
            if not scores:
                continue
            yield Series("persona_score", judge, "", model, tuple(scores))
            for task in sorted({score.task for score in scores}):
                rows = tuple(score for score in scores if score.task == task)
                yield Series("score", judge, task, model, rows)
    for model, found in evidence.attributions.items():
        yield from _list_attribution(model, found)
    for model, answers in evidence.answers.items():
        yield Series("refusals", "", "", model, tuple(score_refusals(answers)))
        yield Series("ai_admissions", "", "", model, tuple(score_ai_admissions(answers)))
        yield Series("stops", "", "", model, tuple(score_stops(answers)))


def choose_headline(
    measures: Iterable[Measure], comparisons: Iterable[Comparison]
) -> dict[str, float]:
    """Return the figures that a run's closing line shows, by name.

    ``persona_score_<model>`` is of the panel, or of the only judge; differences end in ``_gain``,
    with the bounds of their interval.
    """
    shown: dict[str, float] = {}
    judges = {item.judge for item in measures if item.name == "persona_score"}
    judge = PANEL if PANEL in judges else min(judges, default="")
    wanted = {("persona_score", judge), ("attribution", ""), ("profile_gain", "")}
    for measure in measures:
        if (measure.name, measure.judge) in wanted and measure.mean is not None:
            shown[f"{measure.name}_{measure.model}"] = round(measure.mean, 4)
    for item in comparisons:
        if (item.name, item.judge) not in wanted or item.mean is None:
            continue
        name = f"{item.name}_{item.model}_gain"
        shown[name] = round(item.mean, 4)
        if item.low is not None and item.high is not None:
            shown[f"{name}_low"], shown[f"{name}_high"] = round(item.low, 4), round(item.high, 4)
    return dict(sorted(shown.items()))


def _list_attribution(model: str, found: Sequence[Attribution]) -> Iterator[Series]:
    if not found:
        return
    chance = math.fsum(row.random_chance for row in found) / len(found)
    hard_chance = math.fsum(row.hard_chance for row in found) / len(found)
    columns: tuple[tuple[MeasureName, list[float], float | None], ...] = (
        ("attribution", [row.random_credit for row in found], chance),
        ("attribution_hard", [row.hard_credit for row in found], hard_chance),
        ("profile_gain", [row.gain for row in found], None),
        ("profile_margin", [row.margin for row in found], None),
    )
    for name, values, guessed in columns:
        scores = tuple(
            Score(row.example_key, row.persona_key, "", value)
            for row, value in zip(found, values, strict=True)
        )
        yield Series(name, "", "", model, scores, guessed)


def _measure(series: Series) -> Measure:
    if series.name == "persona_score":
        found = score_personas(series.scores)
        return _fill(series, replace(found.over_personas, missing=found.missing))
    return _fill(series, estimate_mean(series.scores))


def _fill(series: Series, found: Estimate) -> Measure:
    return Measure(
        key=_name(series.name, series.judge, series.task, series.model),
        name=series.name,
        judge=series.judge,
        task=series.task,
        model=series.model,
        mean=found.mean,
        sd=found.sd,
        low=found.low,
        high=found.high,
        chance=series.chance,
        rows=found.rows,
        clusters=found.clusters,
        missing=found.missing,
    )


def _measure_style(model: str, answers: Sequence[Answer], seed: int) -> list[Measure]:
    """Return the measures of style that are of all answers at once and have no interval."""
    style = measure_style(answers, seed=seed)
    values: dict[MeasureName, float | None] = {
        "words": style.words,
        "distinct_1": style.distinct[0],
        "distinct_2": style.distinct[1],
        "distinct_3": style.distinct[2],
        "opening_share": style.openings.top_share,
        "opening_entropy": style.openings.entropy,
        "self_similarity": style.similarity.mean,
    }
    spoken = style.answers - style.empty
    personas = len({answer.persona_key for answer in answers})
    return [
        Measure(
            _name(name, "", "", model), name, "", "", model,
            mean=value, sd=None, low=None, high=None, chance=None,
            rows=spoken, clusters=personas, missing=style.empty,
        )
        for name, value in values.items()
    ]  # fmt: skip


def _measure_ability(ability: Ability) -> Measure:
    task, error = _name_ability(ability), ability.standard_error
    reach = None if error is None else _Z * error
    return Measure(
        key=_name("ability", "", task, ability.model),
        name="ability",
        judge="",
        task=task,
        model=ability.model,
        mean=ability.value,
        sd=None,
        low=None if reach is None else ability.value - reach,
        high=None if reach is None else ability.value + reach,
        chance=None,
        rows=ability.rows,
        clusters=ability.rows,
        missing=0,
    )


def _compare(series: Series, against: str, found: Difference) -> Comparison:
    return Comparison(
        key=_name(series.name, series.judge, series.task, f"{series.model}-{against}"),
        name=series.name,
        judge=series.judge,
        task=series.task,
        model=series.model,
        against=against,
        mean=found.mean,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        detectable=found.detectable,
        rows=found.rows,
        clusters=found.clusters,
        missing=found.missing,
        unmatched=found.unmatched,
    )


def _compare_abilities(abilities: Iterable[Ability], first: str) -> Iterator[Comparison]:
    """Compare metrics whose rows are not known: errors add up as if models were independent.

    That is wider than a paired interval would be, never narrower.
    """
    listed = list(abilities)
    reference = {_name_ability(item): item for item in listed if item.model == first}
    for item in listed:
        task = _name_ability(item)
        other = reference.get(task)
        if item.model == first or other is None:
            continue
        mean = item.value - other.value
        errors = (item.standard_error, other.standard_error)
        reach = None if None in errors else _Z * math.hypot(*(error or 0.0 for error in errors))
        yield Comparison(
            key=_name("ability", "", task, f"{item.model}-{first}"),
            name="ability",
            judge="",
            task=task,
            model=item.model,
            against=first,
            mean=mean,
            low=None if reach is None else mean - reach,
            high=None if reach is None else mean + reach,
            p_value=None,
            detectable=None,
            rows=min(item.rows, other.rows),
            clusters=min(item.rows, other.rows),
            missing=0,
            unmatched=abs(item.rows - other.rows),
        )


def _name_ability(ability: Ability) -> str:
    return f"{ability.task} {ability.metric}"


def _name(name: str, judge: str, task: str, model: str) -> str:
    return content_key("measure", name, judge, task, model)
