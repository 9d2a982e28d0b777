"""Picks what stands at the top: a few large figures, and in words which models differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tasks.measures.registry import find_measure_kind
from tasks.measures.statistics import FEW_PERSONAS
from tasks.records import BASE, TUNED
from tasks.reporting.figures import write_count, write_number, write_p, write_share
from tasks.reporting.measure_names import (
    MAIN_MEASURES,
    name_judge,
    name_measure,
    write_change,
    write_change_interval,
    write_difference,
    write_interval,
    write_value,
)
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.claims import Claims, correct_claims, is_clear
from tasks.reporting.sections.learning import TrainingLine
from tasks.reporting.sections.scoring import (
    NO_RUBRICS,
    find_measure,
    list_judges,
    list_models,
    order_comparisons,
)
from tasks.scores import Comparison, Measure


@dataclass(frozen=True, slots=True)
class Figure:
    """One large figure; ``before`` is empty where there is nothing to compare with."""

    label: str
    before: str
    after: str
    note: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence on two models; ``open`` if they cannot be told apart."""

    tone: Literal["better", "worse", "open"]
    claim: str
    evidence: str
    aside: bool = False
    """Whether it is of two models of which the run trained neither, beside one that it did."""


def list_figures(
    nodes: RunNodes,
    training: TrainingLine | None,
    measures: Sequence[Measure],
    comparisons: Sequence[Comparison],
    rubrics: Mapping[str, str] = NO_RUBRICS,
) -> tuple[Figure, ...]:
    """Return up to four figures, of what the run has."""
    judge = next(iter(list_judges(measures)), "")
    found = (
        _compare_figure("persona_score", judge, measures, comparisons, rubrics),
        _compare_figure("attribution", "", measures, comparisons, rubrics),
        _loss_figure(training),
        _rows_figure(nodes),
    )
    return tuple(figure for figure in found if figure is not None)


def list_verdicts(
    comparisons: Sequence[Comparison], rubrics: Mapping[str, str] = NO_RUBRICS
) -> tuple[Verdict, ...]:
    """Return a sentence a comparison of what models are trained for, over all tasks.

    Faults that became more frequent are told as well. What is called clear of 0 is so with all
    comparisons counted that are tested here.
    """
    claims = correct_claims(comparisons)
    told = [
        item
        for item in order_comparisons(comparisons)
        if not item.task and (item.name in MAIN_MEASURES or _is_alarming(item))
    ]
    tuned = any(_is_of_tuned(item) for item in told)
    return tuple(
        replace(_judge_difference(item, claims, rubrics), aside=tuned and not _is_of_tuned(item))
        for item in told
    )


def _is_of_tuned(item: Comparison) -> bool:
    return TUNED in (item.model, item.against)


def _is_alarming(item: Comparison) -> bool:
    rose = item.mean is not None and item.mean > 0 and is_clear(item)
    return rose and find_measure_kind(item.name).alarms


def _judge_difference(item: Comparison, claims: Claims, rubrics: Mapping[str, str]) -> Verdict:
    measure = name_measure(item.name, item.judge, rubrics)
    by = f" by {name_judge(item.judge)}" if item.judge else ""
    pair = f"{item.model} and {item.against}"
    if item.mean is None:
        return Verdict("open", f"{pair} share no rows to compare in {measure}{by}.", "")
    counted = f" with all {claims.tested} comparisons counted" if claims.tested > 1 else ""
    if not claims.holds(item):
        claim = f"{pair} cannot be told apart in {measure}{by}"
        return Verdict(
            "open",
            f"{claim}{counted if is_clear(item) else ''}.",
            "; ".join([*_tell_spread(item, claims), *_tell_power(item), *_tell_rows(item)]),
        )
    good = (item.mean > 0) != find_measure_kind(item.name).alarms
    side = "above" if item.mean > 0 else "below"
    size = write_difference(item.name, item.mean)
    return Verdict(
        "better" if good else "worse",
        f"{item.model} is {size} {side} {item.against} in {measure}{by}, clear of 0{counted}.",
        "; ".join([*_tell_spread(item, claims), *_tell_rows(item)]),
    )


def _tell_spread(item: Comparison, claims: Claims) -> Iterator[str]:
    interval = write_change_interval(item.name, item.low, item.high)
    yield f"95 % interval {interval}" if interval else "too few personas for an interval"
    corrected = claims.find_p(item)
    if corrected is not None:
        told = f", {write_p(corrected)} corrected for {claims.tested} comparisons (Holm)"
        yield f"p {write_p(item.p_value)}{told if claims.tested > 1 else ''}"


def _tell_power(item: Comparison) -> Iterator[str]:
    if item.detectable is not None:
        size = write_difference(item.name, item.detectable)
        yield f"{size} would be found with 80 % power"


def _tell_rows(item: Comparison) -> Iterator[str]:
    who = f"{write_count(item.clusters)} personas, {write_count(item.rows)} pairs"
    yield f"few personas: {who}" if item.clusters < FEW_PERSONAS else who
    if item.missing:
        yield f"{write_count(item.missing)} left out for a missing value"


def _compare_figure(
    name: str,
    judge: str,
    measures: Sequence[Measure],
    comparisons: Sequence[Comparison],
    rubrics: Mapping[str, str],
) -> Figure | None:
    found = [item for item in measures if (item.name, item.judge, item.task) == (name, judge, "")]
    pairs = [
        item
        for item in comparisons
        if (item.name, item.judge, item.task) == (name, judge, "") and item.mean is not None
    ]
    pair = next((item for item in pairs if (item.model, item.against) == (TUNED, BASE)), None)
    pair = pair or next(iter(pairs), None)
    models = list_models(found)
    if not models:
        return None
    model, against = (pair.model, pair.against) if pair else (models[-1], "")
    after = find_measure(found, name, model, judge)
    before = find_measure(found, name, against, judge) if against else None
    if after is None or after.mean is None:
        return None
    label = "Character attribution"
    if name == "persona_score":
        label = name_measure(name, judge, rubrics)
    if pair and before is not None:
        interval = write_change_interval(name, pair.low, pair.high)
        change = write_change(name, pair.mean)
        note = f"{against} to {model}: {change}" + (f" ({interval})" if interval else "")
        return Figure(label, write_value(name, before.mean), write_value(name, after.mean), note)
    interval = write_interval(name, after.low, after.high)
    note = f"{model}" + (f", 95 % interval {interval}" if interval else "")
    return Figure(label, "", write_value(name, after.mean), note)


def _loss_figure(training: TrainingLine | None) -> Figure | None:
    if training is None or training.loss_after is None:
        return None
    before = training.loss_before
    gain = f", {write_share(training.gain, 0)} less" if training.gain is not None else ""
    return Figure(
        "Held-out loss",
        write_number(before, 3) if before is not None else "",
        write_number(training.loss_after, 3),
        f"nats a token on characters it never saw{gain}",
    )


def _rows_figure(nodes: RunNodes) -> Figure | None:
    kinds = (
        ("SFT rows", ("curation",)),
        ("Dialogues", ("dialogues_",)),
        ("Characters", ("characters",)),
    )
    for label, prefixes in kinds:
        stages = nodes.list_stages(*prefixes)
        if stages:
            rows = sum(nodes.manifests[stage].counts.accepted for stage in stages)
            cast, people = nodes.find("characters"), nodes.find("personas")
            notes = [
                f"{write_count(cast.counts.accepted)} characters"
                if cast and label != "Characters"
                else "",
                f"{write_count(people.counts.accepted)} personas" if people else "",
            ]
            told = ", ".join(note for note in notes if note)
            return Figure(label, "", write_count(rows), f"from {told}" if told else "")
    return None
