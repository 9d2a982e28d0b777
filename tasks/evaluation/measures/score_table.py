"""Reads what evaluation left on disk and makes the score table of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from infra.errors import YieldError
from infra.nodes.node import Node
from infra.nodes.rows import Rows
from infra.store.fingerprints import content_key
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.judging.agreement import Agreement, measure_agreement
from tasks.evaluation.judging.anchors import measure_order
from tasks.evaluation.judging.calibration import measure_calibration, read_labelled
from tasks.evaluation.judging.habits import list_habits
from tasks.evaluation.judging.people import Rating, read_sheets
from tasks.evaluation.judging.preferences import Preference, read_preferences
from tasks.evaluation.measures.published import list_published_scores
from tasks.evaluation.measures.scoring import choose_headline, compare_models, measure_models
from tasks.evaluation.measures.win_rates import measure_win_rates
from tasks.measures.evidence import Evidence
from tasks.measures.statistics import count_missing
from tasks.records import (
    CONTROL,
    TUNED,
    Ability,
    Answer,
    Attribution,
    Judgement,
    ScoreExamples,
)
from tasks.scores import (
    AgreementLine,
    AnchorOrder,
    Calibration,
    Comparison,
    JudgeHabit,
    Measure,
    PublishedScore,
    WinRate,
)

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that the score table is made of."""

    evidence: Evidence
    calibrations: tuple[tuple[str, tuple[Judgement, ...]], ...]
    ratings: tuple[Rating, ...]
    anchors: tuple[tuple[str, tuple[ScoreExamples, ...], tuple[Judgement, ...]], ...] = ()
    preferences: tuple[Preference, ...] = ()

    @classmethod
    def read(cls, given: Rows, config: EvaluationConfig, nodes: Sequence[Node]) -> Inputs:
        """Read what was found of every model and judge, and the sheets that people filled in."""

        def read(kind: str, parameter: str, record: type[R]) -> dict[str, list[R]]:
            found = [node for node in nodes if node.kind == kind]
            return {node.parameters[parameter]: given.read(node, record) for node in found}

        verdicts = [given.read(node, Judgement) for node in nodes if node.kind == "judgements"]
        answers = read("answers", "model", Answer)
        known = {answer.key: answer for listed in answers.values() for answer in listed}
        calibrations = read("calibration", "judge", Judgement)
        examples = read("examples", "judge", ScoreExamples)
        return cls(
            evidence=Evidence(
                # What needs no answers is said of a role, which may be asked under prompts alone.
                models=tuple(dict.fromkeys((*config.names, *config.roles))),
                judges=tuple(judge.model for judge in config.judges),
                judgements=tuple(chain.from_iterable(verdicts)),
                answers=answers,
                attributions=read("attribution", "model", Attribution),
                abilities=tuple(chain.from_iterable(read("abilities", "model", Ability).values())),
            ),
            calibrations=tuple((judge, tuple(rows)) for judge, rows in calibrations.items()),
            ratings=read_sheets(config.people, known) if config.people else (),
            anchors=tuple(
                (judge, tuple(examples[judge]), tuple(rows))
                for judge, rows in read("anchors", "judge", Judgement).items()
            ),
            preferences=read_preferences(config.people, known) if config.people else (),
        )


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Everything the ``scores`` node writes, one part a record type."""

    measures: tuple[Measure, ...]
    comparisons: tuple[Comparison, ...]
    calibrations: tuple[Calibration, ...]
    habits: tuple[JudgeHabit, ...]
    anchors: tuple[AnchorOrder, ...]
    agreements: tuple[AgreementLine, ...]
    published: tuple[PublishedScore, ...]
    win_rates: tuple[WinRate, ...]
    headline: dict[str, float]

    def list_parts(self) -> Iterator[tuple[str, type[Any], Sequence[Any]]]:
        """Yield each part's name, its record and its rows.

        Win rates are a part only where people compared answers: what was written before there were
        any is what would be written now.
        """
        yield "measures", Measure, self.measures
        yield "comparisons", Comparison, self.comparisons
        yield "calibrations", Calibration, self.calibrations
        yield "habits", JudgeHabit, self.habits
        yield "anchors", AnchorOrder, self.anchors
        yield "agreements", AgreementLine, self.agreements
        yield "published", PublishedScore, self.published
        if self.win_rates:
            yield "win_rates", WinRate, self.win_rates


def make_score_table(config: EvaluationConfig, inputs: Inputs) -> ScoreTable:
    """Measure, compare, and say how good the judges are.

    Raises :class:`YieldError` where a judge gave too few verdicts to a model's answers.
    """
    evidence, seed = inputs.evidence, config.bootstrap_seed
    check_missing(config, evidence.judgements)
    measures = measure_models(evidence, seed=seed)
    comparisons = compare_models(evidence, pairs=pair_models(config))
    return ScoreTable(
        measures=tuple(sorted(measures, key=lambda item: item.key)),
        comparisons=tuple(sorted(comparisons, key=lambda item: item.key)),
        calibrations=tuple(_calibrate(config, inputs)),
        habits=tuple(list_habits(evidence.judges, evidence.judgements, evidence.list_words())),
        anchors=tuple(measure_order(*anchors) for anchors in inputs.anchors),
        agreements=tuple(_list_agreements(config, inputs)),
        published=tuple(_list_published(config)),
        win_rates=tuple(measure_win_rates(evidence, inputs.preferences)),
        headline=choose_headline(measures, comparisons),
    )


def pair_models(config: EvaluationConfig) -> list[tuple[str, str]]:
    """Return which models are compared: every one with the first one's role, under each prompt.

    So one run holds the clean pairing, of two models under one prompt, and the paper's, of a
    baseline under PersonaGym's line and a trained model under its own. The prompts of the first
    one's role are compared with those named before them, and the tuned model with its control
    under the same prompt: what it has over that, it has from the profiles.
    """
    first = config.models[0].role
    against = [model.name for model in config.models if model.role == first]
    against += [] if first in against else [first]
    others = [model.name for model in config.models if model.role != first]
    others += [role for role in config.roles if role != first and role not in others]
    found = [(name, one) for place, name in enumerate(against) for one in against[:place]]
    found += [(name, one) for name in others for one in against]
    return found if first in (TUNED, CONTROL) else [*found, *_pair_controls(config)]


def _pair_controls(config: EvaluationConfig) -> list[tuple[str, str]]:
    tuned, controls = (
        {model.prompt: model.name for model in config.models if model.role == role}
        for role in (TUNED, CONTROL)
    )
    found = [(name, controls[prompt]) for prompt, name in tuned.items() if prompt in controls]
    roles = [(TUNED, CONTROL)] if tuned and controls else []  # measured of a role, whatever prompt
    return list(dict.fromkeys([*found, *roles]))


def check_missing(config: EvaluationConfig, judgements: Sequence[Judgement]) -> None:
    """Raise :class:`YieldError` for a judge whose verdicts could mostly not be read."""
    rows: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for count in count_missing(judgements):
        entry = rows[count.judge, count.model]
        entry[0] += count.rows
        entry[1] += count.missing
    limits = {judge.model: judge.max_missing for judge in config.judges}
    for (judge, model), (total, missing) in sorted(rows.items()):
        if missing > limits.get(judge, 1.0) * total:
            raise YieldError(
                f"scores: {missing} of {total} verdicts of {judge} on {model}'s answers could not "
                f"be read ({missing / total:.0%}), above its max_missing of {limits[judge]:.0%}. "
                "Look at them with `opencharacter show CONFIG judgements`; then take a stronger "
                "judge, set its `structured`, or raise max_new_tokens."
            )


def _calibrate(config: EvaluationConfig, inputs: Inputs) -> Iterator[Calibration]:
    files = {judge.model: judge.calibration for judge in config.judges}
    for judge, verdicts in inputs.calibrations:
        path = str(files[judge])
        yield measure_calibration(judge, Path(path).name, read_labelled(path), verdicts)


def _list_agreements(config: EvaluationConfig, inputs: Inputs) -> Iterator[AgreementLine]:
    """Yield the agreement of all judges, of all people, and of people with each judge."""
    evidence = inputs.evidence
    verdicts = [(row.answer_key, row.judge, row.score) for row in evidence.judgements]
    people = [(row.answer_key, row.rater, row.score) for row in inputs.ratings]
    measure = partial(_measure, config, evidence.list_personas())
    raters = sorted({name for _, name, _ in people})
    if len(evidence.judges) > 1:
        yield measure(evidence.judges, verdicts, people=False)
    if len(raters) > 1:
        yield measure(raters, people, people=True)
    rated = {key for key, _, _ in people}
    for judge in evidence.judges if people else ():
        own = [row for row in verdicts if row[1] == judge and row[0] in rated]
        yield measure((*raters, judge), [*people, *own], people=True)


def _measure(
    config: EvaluationConfig,
    personas: Mapping[str, str],
    raters: Sequence[str],
    ratings: Sequence[tuple[str, str, float | None]],
    *,
    people: bool,
) -> AgreementLine:
    found: Agreement = measure_agreement(
        ratings, personas, seed=config.bootstrap_seed, resamples=config.resamples
    )
    return AgreementLine(
        key=content_key("agreement", *raters),
        raters=tuple(raters),
        people=people,
        alpha=found.alpha,
        low=found.low,
        high=found.high,
        personas=found.personas,
        units=found.units,
        ratings=found.ratings,
        missing=found.missing,
    )


def _list_published(config: EvaluationConfig) -> Iterator[PublishedScore]:
    if config.published is not None and config.questions.suite == "personagym":
        yield from list_published_scores(config.published, light=config.questions.light)
