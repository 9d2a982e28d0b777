"""Counts how often one model's answer is preferred to another's, by people and by the judges.

A judge prefers the answer that it scores higher. It is counted on the pairs that people rated and
on no others, so that its win rate stands beside theirs.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from infra.store.fingerprints import content_key
from tasks.evaluation.judging.preferences import Preference
from tasks.measures.evidence import Evidence
from tasks.measures.measure import list_verdicts
from tasks.measures.statistics import Estimate, Score, estimate_share
from tasks.records import Answer
from tasks.scores import PEOPLE, WinRate

_WIN, _TIE, _LOSS = 1.0, 0.5, 0.0


@dataclass(frozen=True, slots=True)
class _Opinion:
    """What somebody prefers, pair by pair; ``scores`` are 1 for ``model``, 0.5 for a tie."""

    rater: str
    judge: bool
    scores: tuple[Score, ...]
    unblinded: int = 0


def measure_win_rates(evidence: Evidence, preferences: Sequence[Preference]) -> list[WinRate]:
    """Return the win rates of every two models that people compared, of all who compared them.

    All people together come first, then each of them where they are several, then the judges and
    their panel. The model that comes first among the run's is the one compared against.
    """
    answers = {row.key: row for _, listed in evidence.list_answers() for row in listed}
    groups: defaultdict[tuple[str, str], list[Preference]] = defaultdict(list)
    for item in preferences:
        models = sorted(
            (answers[item.left].model, answers[item.right].model), key=evidence.models.index
        )
        groups[models[1], models[0]].append(item)
    return [
        line
        for (model, against), group in sorted(groups.items())
        for line in _measure_group(evidence, answers, model, against, group)
    ]


def _measure_group(
    evidence: Evidence,
    answers: Mapping[str, Answer],
    model: str,
    against: str,
    group: Sequence[Preference],
) -> Iterator[WinRate]:
    people = _gather_people(answers, model, group)
    rated = {score.unit for score in people[0].scores if score.known is not None}
    for opinion in (*people, *_gather_judges(evidence, model, against, rated)):
        agreed = _agree(opinion.scores, people[0].scores) if opinion.judge else None
        yield _describe(opinion, model, against, agreed)


def _gather_people(
    answers: Mapping[str, Answer], model: str, group: Sequence[Preference]
) -> list[_Opinion]:
    """Return the opinion of all people, a mean where several rated a pair, and each one's own."""
    by_rater: defaultdict[str, list[Preference]] = defaultdict(list)
    for item in group:
        by_rater[item.rater].append(item)
    each = [
        _Opinion(
            rater,
            False,
            tuple(_score(answers, model, item) for item in items),
            _count_unblinded(items),
        )
        for rater, items in sorted(by_rater.items())
    ]
    pairs: defaultdict[str, list[Score]] = defaultdict(list)
    for score in (score for opinion in each for score in opinion.scores):
        pairs[score.unit].append(score)
    together = _Opinion(
        PEOPLE, False, tuple(map(_average, pairs.values())), _count_unblinded(group)
    )
    return [together, *(each if len(each) > 1 else [])]


def _score(answers: Mapping[str, Answer], model: str, item: Preference) -> Score:
    answer = answers[item.left]
    value: float | None = None
    if item.preferred is not None:
        winner = answers[item.preferred].model if item.preferred else ""
        value = _TIE if not winner else _WIN if winner == model else _LOSS
    return Score(answer.question_key, answer.persona_key, answer.task, value)


def _average(scores: Sequence[Score]) -> Score:
    values = [score.known for score in scores if score.known is not None]
    first = scores[0]
    mean = math.fsum(values) / len(values) if values else None
    return Score(first.unit, first.persona, first.task, mean)


def _count_unblinded(group: Iterable[Preference]) -> int:
    return sum(item.preferred is not None and not item.blind for item in group)


def _gather_judges(
    evidence: Evidence, model: str, against: str, rated: set[str]
) -> Iterator[_Opinion]:
    verdicts: defaultdict[str, dict[str, dict[str, Score]]] = defaultdict(dict)
    for judge, judged, scores in list_verdicts(evidence):
        verdicts[judge][judged] = {score.unit: score for score in scores if score.unit in rated}
    for judge, by_model in verdicts.items():
        ours, theirs = by_model.get(model, {}), by_model.get(against, {})
        pairs = tuple(_prefer(ours[unit], theirs[unit]) for unit in ours if unit in theirs)
        if pairs:
            yield _Opinion(judge, True, pairs)


def _prefer(ours: Score, theirs: Score) -> Score:
    one, two = ours.known, theirs.known
    if one is None or two is None:
        value = None
    elif math.isclose(one, two):
        value = _TIE
    else:
        value = _WIN if one > two else _LOSS
    return Score(ours.unit, ours.persona, ours.task, value)


def _agree(judged: Iterable[Score], rated: Iterable[Score]) -> Estimate:
    """Estimate how often a judge prefers what people do, where neither calls a tie."""
    wanted = {score.unit: score.known for score in rated}
    both = [(score, wanted.get(score.unit)) for score in judged]
    return estimate_share(
        Score(score.unit, score.persona, score.task, float((score.known > _TIE) == (other > _TIE)))
        for score, other in both
        if score.known not in (None, _TIE) and other not in (None, _TIE)
    )


def _describe(opinion: _Opinion, model: str, against: str, agreed: Estimate | None) -> WinRate:
    found = estimate_share(opinion.scores)
    known = [score.known for score in opinion.scores if score.known is not None]
    return WinRate(
        key=content_key(
            "win rate", "judge" if opinion.judge else "people", opinion.rater, model, against
        ),
        rater=opinion.rater,
        judge=opinion.judge,
        model=model,
        against=against,
        share=found.mean,
        low=found.low,
        high=found.high,
        wins=sum(value > _TIE for value in known),
        ties=sum(value == _TIE for value in known),
        losses=sum(value < _TIE for value in known),
        clusters=found.clusters,
        missing=found.missing,
        unblinded=opinion.unblinded,
        agreed=agreed.mean if agreed else None,
        agreed_low=agreed.low if agreed else None,
        agreed_high=agreed.high if agreed else None,
        agreed_rows=agreed.rows if agreed else 0,
    )
