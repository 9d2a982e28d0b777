"""Turns evidence into the rows of the score table: every measure of every model, and differences.

What is measured says :mod:`tasks.measures`; runs are compared with each other by the same words
(:mod:`flows.look.comparing`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from infra.store.fingerprints import content_key
from tasks.measures.corpus import Corpus
from tasks.measures.evidence import Evidence, Series
from tasks.measures.measure import CorpusMeasure
from tasks.measures.registry import MEASURES
from tasks.measures.statistics import Difference, Estimate
from tasks.records import Ability
from tasks.scores import PANEL, Comparison, Measure

_Z = 1.959963984540054
"""97.5 % quantile of the normal: abilities come with a standard error and no rows."""

_ABILITY = "ability"


def measure_models(evidence: Evidence, *, seed: int) -> list[Measure]:
    """Return every measure of every model, in the order of measures."""
    found = [_measure(series) for series in list_series(evidence)]
    for model, answers in evidence.list_answers():
        words = evidence.look_at(model).folded.to_list()
        corpus = Corpus(words, [answer.persona_key for answer in answers])
        found += _measure_corpus(model, corpus, seed)
    abilities = sorted(evidence.abilities, key=lambda one: evidence.models.index(one.model))
    found += [_measure_ability(ability) for ability in abilities]
    places = {name: place for place, name in enumerate(MEASURES)}
    return sorted(found, key=lambda item: places[item.name])


def compare_models(
    evidence: Evidence, pairs: Sequence[tuple[str, str]] | None = None
) -> list[Comparison]:
    """Compare models by every measure that has rows, in the order of measures.

    ``pairs`` are a model and what it is compared with; every model and the first if left out.
    """
    if pairs is None:
        first = evidence.models[0]
        pairs = [(model, first) for model in evidence.models if model != first]
    found: dict[tuple[str, str, str], dict[str, Series]] = {}
    for item in list_series(evidence):
        found.setdefault((item.name, item.judge, item.task), {})[item.model] = item
    comparisons = [
        _compare(by_model[model], by_model[against])
        for by_model in found.values()
        for model, against in pairs
        if model in by_model and against in by_model
    ]
    return [*comparisons, *_compare_abilities(evidence.abilities, pairs)]


def list_series(evidence: Evidence) -> Iterator[Series]:
    """Yield every measure that is a mean over rows."""
    for kind in MEASURES.values():
        yield from evidence.recall(kind.name, kind.list_series)


def choose_headline(
    measures: Iterable[Measure], comparisons: Iterable[Comparison]
) -> dict[str, float]:
    """Return the figures that a run's closing line shows, by name.

    ``persona_score_<model>`` is of the panel, or of the only judge; differences end in ``_gain``,
    with the bounds of their interval. A model that is compared with several has the gain over the
    first of them under that name, and over the others under theirs.
    """
    shown: dict[str, float] = {}
    first: dict[tuple[str, str], str] = {}
    judges = {item.judge for item in measures if item.name == "persona_score"}
    judge = PANEL if PANEL in judges else min(judges, default="")
    wanted = {kind.name for kind in MEASURES.values() if kind.headline}
    for measure in measures:
        told = measure.name in wanted and measure.judge in ("", judge)
        if told and measure.mean is not None:
            shown[f"{measure.name}_{measure.model}"] = round(measure.mean, 4)
    for item in comparisons:
        if item.name not in wanted or item.judge not in ("", judge):
            continue
        over = first.setdefault((item.name, item.model), item.against)
        if item.mean is None:
            continue
        pair = item.model if over == item.against else f"{item.model}_over_{item.against}"
        name = f"{item.name}_{pair}_gain"
        shown[name] = round(item.mean, 4)
        if item.low is not None and item.high is not None:
            shown[f"{name}_low"], shown[f"{name}_high"] = round(item.low, 4), round(item.high, 4)
    return dict(sorted(shown.items()))


def _measure(series: Series) -> Measure:
    found: Estimate = MEASURES[series.name].estimate(series.scores)
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


def _measure_corpus(model: str, corpus: Corpus, seed: int) -> Iterator[Measure]:
    """Yield the measures of all answers of a model at once."""
    spoken, asked = sum(map(bool, corpus.answers)), len(set(corpus.personas))
    for kind in MEASURES.values():
        if isinstance(kind, CorpusMeasure):
            yield Measure(
                _name(kind.name, "", "", model), kind.name, "", "", model,
                mean=kind.measure(corpus, seed), sd=None, low=None, high=None,
                chance=None, rows=spoken, clusters=asked, missing=len(corpus.answers) - spoken,
            )  # fmt: skip


def _measure_ability(ability: Ability) -> Measure:
    task, error = _name_ability(ability), ability.standard_error
    reach = None if error is None else _Z * error
    return Measure(
        key=_name(_ABILITY, "", task, ability.model),
        name=_ABILITY,
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


def _compare(ours: Series, theirs: Series) -> Comparison:
    found: Difference = MEASURES[ours.name].compare(ours.scores, theirs.scores)
    return Comparison(
        key=_name(ours.name, ours.judge, ours.task, f"{ours.model}-{theirs.model}"),
        name=ours.name,
        judge=ours.judge,
        task=ours.task,
        model=ours.model,
        against=theirs.model,
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


def _compare_abilities(
    abilities: Iterable[Ability], pairs: Iterable[tuple[str, str]]
) -> Iterator[Comparison]:
    """Compare metrics whose rows are not known: errors add up as if models were independent.

    That is wider than a paired interval would be, never narrower.
    """
    listed = {(_name_ability(item), item.model): item for item in abilities}
    for model, against in pairs:
        for (task, name), item in listed.items():
            other = listed.get((task, against))
            if name != model or other is None:
                continue
            mean = item.value - other.value
            errors = (item.standard_error, other.standard_error)
            reach = None if None in errors else _Z * math.hypot(*(error or 0.0 for error in errors))
            yield Comparison(
                key=_name(_ABILITY, "", task, f"{model}-{against}"),
                name=_ABILITY,
                judge="",
                task=task,
                model=model,
                against=against,
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
