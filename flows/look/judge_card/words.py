"""Says in sentences what a judge's figures mean; one that is bad is said to be bad."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.evaluation.judging.card import CardFigures, LengthBias, SelfPreference
from tasks.measures.jackknife import Bounded
from tasks.measures.statistics import Estimate
from tasks.reporting.figures import UNKNOWN, write_count, write_number, write_share

RELIABLE = 0.8
TENTATIVE = 0.667
"""Krippendorff 2004, "Content Analysis", chapter 11: below, no conclusion; between, a tentative
one."""

MISSING_TAKEN = 0.05
ONE_SCORE_TAKEN = 0.8
CHANGED_TAKEN = 0.2

Worth = Literal["reliable", "tentative", "unreliable"]


class Finding(BaseModel):
    """What a figure means: in a judge's favour or not."""

    model_config = ConfigDict(frozen=True)

    good: bool
    text: str


def find_worth(figures: CardFigures) -> Worth:
    """Return what a judge's agreement with the labels carries."""
    alpha = figures.people[0].alpha.value if figures.people else None
    if alpha is None or alpha < TENTATIVE or _says_one_score(figures):
        return "unreliable"
    return "reliable" if alpha >= RELIABLE else "tentative"


def list_findings(figures: CardFigures) -> Iterator[Finding]:
    """Yield what the figures mean, the agreement with the labels first.

    One that says nearly always the same is praised for no bias that it cannot show.
    """
    yield _judge_agreement(figures)
    yield from _judge_missing(figures)
    yield from _judge_scores(figures)
    mute = _says_one_score(figures)
    yield from (found for found in _judge_biases(figures) if not (mute and found.good))


def list_unmeasured(figures: CardFigures, *, has_reference: bool) -> Iterator[str]:
    """Yield what was not measured, and what would have to be there for it."""
    if _says_one_score(figures):
        yield "Absence of biases: a judge that says nearly always the same cannot show it."
    if not has_reference:
        yield "Agreement with another judge: the configuration has no second one."
    if figures.order is None:
        yield (
            "Position bias: the judge's prompt lists no anchors, a line each, that could be turned."
        )
    if figures.own is None:
        yield (
            "Self-preference: no row says that this judge wrote it beside others that it did not"
            " (field author of the labelled rows)."
        )
    if figures.auc is None:
        yield "In voice against out of voice: no row says which it is (field in_voice)."


def write_bounds(found: Bounded | Estimate, digits: int = 2, *, signed: bool = False) -> str:
    """Return the interval of a figure, or nothing where there is none."""
    if found.low is None or found.high is None:
        return ""
    low = write_number(found.low, digits, signed=signed)
    return f"{low} to {write_number(found.high, digits, signed=signed)}"


def write_share_bounds(found: Estimate) -> str:
    """Return the interval of a share, or nothing where there is none."""
    if found.low is None or found.high is None:
        return ""
    return f"{write_number(100 * found.low, 1)} to {write_share(found.high)}"


def _judge_agreement(figures: CardFigures) -> Finding:
    if not figures.people:
        return Finding(good=False, text="It gave no verdict that could be read on any row.")
    alpha = figures.people[0].alpha
    told = (
        f"alpha {write_number(alpha.value, 2)} ({write_bounds(alpha) or UNKNOWN}) on"
        f" {write_count(alpha.rows)} rows of {write_count(alpha.personas)} personas"
    )
    if alpha.value is None:
        return Finding(good=False, text=f"Agreement with the labels cannot be told: {told}.")
    if alpha.value >= RELIABLE:
        return Finding(good=True, text=f"It agrees well with the labels: {told}.")
    if alpha.value >= TENTATIVE:
        text = f"It agrees with the labels enough for tentative conclusions: {told}."
        return Finding(good=True, text=text)
    least = f"{told}, where {TENTATIVE} is the least for a tentative conclusion"
    if alpha.low is not None and alpha.low <= 0:
        text = f"It cannot be told from a judge that guesses: {least}."
    else:
        text = f"It agrees too little with the labels: {least}."
    return Finding(good=False, text=f"{text} Do not rest a claim on its scores.")


def _judge_missing(figures: CardFigures) -> Iterator[Finding]:
    missing = figures.missing
    if missing.mean is not None and missing.mean > MISSING_TAKEN:
        text = (
            f"{write_share(missing.mean)} of its verdicts could not be read"
            f" ({write_share_bounds(missing)}; {write_share(MISSING_TAKEN, 0)} is taken)."
        )
        yield Finding(good=False, text=text)


def _says_one_score(figures: CardFigures) -> bool:
    common = figures.commonest
    if common is None:
        return False
    return common.share >= ONE_SCORE_TAKEN > common.share_of_labels


def _judge_scores(figures: CardFigures) -> Iterator[Finding]:
    if figures.commonest is not None and _says_one_score(figures):
        common = figures.commonest
        text = (
            f"It says {write_number(common.score, 0)} to {write_share(common.share)} of all rows;"
            f" the labels say no score to more than {write_share(common.share_of_labels)}."
        )
        yield Finding(good=False, text=text)


def _judge_biases(figures: CardFigures) -> Iterator[Finding]:
    if figures.length is not None:
        yield from _judge_length(figures.length)
    if figures.order is not None:
        yield from _judge_order(figures)
    if figures.own is not None:
        yield _judge_preference(figures.own)


def _judge_length(length: LengthBias) -> Iterator[Finding]:
    shift, excess = length.shift, length.excess
    if shift.mean is not None:
        told = (
            f"{write_number(shift.mean, 2, signed=True)} points"
            f" ({write_bounds(shift, signed=True) or UNKNOWN}),"
            f" {write_share(length.higher.mean)} of the answers score higher"
        )
        bad = shift.low is not None and shift.low > 0
        begin = "Empty words raise its scores" if bad else "Empty words do not raise its scores"
        if shift.high is not None and shift.high < 0:
            begin = "Empty words lower its scores, which they may"
        yield Finding(good=not bad, text=f"{begin}: {told}.")
    if excess.low is not None and excess.low > 0:
        text = (
            "Its scores go with length more than the labels do: correlation"
            f" {write_number(length.judge.value, 2)} against"
            f" {write_number(length.people.value, 2)}"
            f" (difference {write_bounds(excess, signed=True)})."
        )
        yield Finding(good=False, text=text)


def _judge_order(figures: CardFigures) -> Iterator[Finding]:
    order = figures.order
    if order is None or order.shift.mean is None:
        return
    shift, changed = order.shift, order.changed
    clear = shift.low is not None and shift.high is not None and not shift.low <= 0 <= shift.high
    bad = clear or (changed.mean or 0.0) > CHANGED_TAKEN
    begin = "The order of the anchors moves" if bad else "The order of the anchors does not move"
    text = (
        f"{begin} its scores: turned, {write_share(changed.mean)} of the verdicts change, by"
        f" {write_number(shift.mean, 2, signed=True)} points on the whole"
        f" ({write_bounds(shift, signed=True) or UNKNOWN})."
    )
    yield Finding(good=not bad, text=text)


def _judge_preference(own: SelfPreference) -> Finding:
    found = own.preference
    bad = found.low is not None and found.low > 0
    begin = "It prefers its own answers" if bad else "It does not clearly prefer its own answers"
    text = (
        f"{begin}: {write_number(found.value, 2, signed=True)} points more above the labels than"
        f" others' ({write_bounds(found, signed=True) or UNKNOWN})."
    )
    return Finding(good=not bad, text=text)
