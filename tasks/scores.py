"""Defines the records of the ``scores`` node: what the report and `compare` read.

They are in long form, one number a row, so that a further judge, task or measure is a further row
and never a further column. ``judge`` is empty where nobody judges; ``task`` is empty where a
number is over all tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

PANEL = "panel"
"""Stands for the mean of all judges, where there are several."""

PEOPLE = "people"
"""Stands for all people together who compared answers."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One number of one model, with its spread.

    Attributes:
        key: Names measure, judge, task and model.
        name: What is measured, see :mod:`tasks.measures`.
        judge: Role of the judge, :data:`PANEL`, or empty.
        task: One of PersonaGym's five, an ability task, or empty.
        model: Role of the model that was measured.
        mean: ``None`` without rows.
        sd: Standard deviation over rows (for a persona_score: over personas).
        low: Lower bound of the 95 % interval, clustered by persona; ``None`` where there is none.
        high: Upper bound.
        chance: What guessing would give, where that is known.
        rows: Values that entered.
        clusters: Personas they belong to.
        missing: Values that were missing (verdicts that could not be read) and did not enter.
    """

    key: str
    name: str
    judge: str
    task: str
    model: str
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None
    chance: float | None
    rows: int
    clusters: int
    missing: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far one model is above another on the same rows: paired, clustered by persona.

    Attributes:
        key: Names measure, judge, task and the two models.
        name: What is compared.
        judge: Role of the judge, :data:`PANEL`, or empty.
        task: As in :class:`Measure`.
        model: The model that is compared.
        against: The one it is compared with.
        mean: ``model`` minus ``against``; ``None`` without pairs.
        low: Lower bound of the 95 % interval; ``None`` below two personas.
        high: Upper bound.
        p_value: Two-sided, not corrected for other comparisons; ``None`` below two personas.
        detectable: Smallest true difference found with 80 % power; never 0, ``None`` where there
            is no spread to reckon it from.
        rows: Pairs that entered.
        clusters: Personas they belong to.
        missing: Pairs left out because a value of either is missing.
        unmatched: Rows that only one of the models has.
    """

    key: str
    name: str
    judge: str
    task: str
    model: str
    against: str
    mean: float | None
    low: float | None
    high: float | None
    p_value: float | None
    detectable: float | None
    rows: int
    clusters: int
    missing: int
    unmatched: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good a judge is on rows whose score is known.

    Attributes:
        key: Names the judge and the file.
        judge: Role of the judge.
        source: Name of the file of labelled rows.
        rows: Rows with a verdict.
        missing: Rows without.
        exact: Share of verdicts that are the true score.
        within_one: Share within one point of it.
        auc: Area under the ROC curve between rows in voice and out of voice; ties count half;
            ``None`` where the file does not say which is which.
    """

    key: str
    judge: str
    source: str
    rows: int
    missing: int
    exact: float | None
    within_one: float | None
    auc: float | None


@dataclass(frozen=True, slots=True)
class JudgeHabit:
    """What a judge does over all answers that it gave a score.

    Attributes:
        key: Names the judge.
        judge: Role of the judge.
        rows: Verdicts with a score.
        commonest: The score that it gives most often.
        share: Share of the verdicts that are it.
        reasons: Verdicts with a reason, on answers long enough to be cited.
        citing: Share of the reasons that share four words in a row with the answer; ``None``
            without reasons.
    """

    key: str
    judge: str
    rows: int
    commonest: float
    share: float
    reasons: int
    citing: float | None


@dataclass(frozen=True, slots=True)
class AnchorOrder:
    """Whether a judge orders its own example replies by the scores it wrote them for.

    Attributes:
        key: Names the judge.
        judge: Role of the judge.
        questions: Questions whose replies were judged.
        pairs: Pairs of replies to one question, both with a verdict.
        missing: Pairs without both.
        ordered: Share of the pairs in their order, equal scores counted half; one half is
            guessing, ``None`` without pairs.
    """

    key: str
    judge: str
    questions: int
    pairs: int
    missing: int
    ordered: float | None


@dataclass(frozen=True, slots=True)
class AgreementLine:
    """Krippendorff's alpha (ordinal) among raters: judges, or people and judges.

    Attributes:
        key: Names the raters.
        raters: Who rated; judges by role, people by the name on their sheet.
        people: Whether people are among them.
        alpha: ``None`` if nothing can be paired.
        low: Lower bound of the 95 % interval, clustered by persona; ``None`` below two personas.
        high: Upper bound.
        personas: Personas that these answers are of.
        units: Answers with two ratings or more.
        ratings: Ratings of them.
        missing: Ratings that were missing.
    """

    key: str
    raters: tuple[str, ...]
    people: bool
    alpha: float | None
    low: float | None
    high: float | None
    personas: int
    units: int
    ratings: int
    missing: int


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often somebody prefers one model's answer to another's, on the pairs that people rated.

    Attributes:
        key: Names who prefers, and the two models.
        rater: :data:`PEOPLE`, the name on a sheet, the role of a judge, or :data:`PANEL`.
        judge: Whether it is a judge, who prefers what it scores higher.
        model: The model that is compared.
        against: The one it is compared with.
        share: Share of pairs that ``model`` wins, a tie counting half; ``None`` without pairs.
        low: Lower bound of the 95 % interval, Wilson's, clustered by persona.
        high: Upper bound.
        wins: Pairs that ``model`` wins; of several people by their mean.
        ties: Pairs that neither wins.
        losses: Pairs that ``against`` wins.
        clusters: Personas that the pairs belong to.
        missing: Pairs that were not decided, or lack a verdict; they enter no share.
        unblinded: Ratings that were given when the models were no longer hidden.
        agreed: Of a judge, the share of pairs on which it prefers what people together do, where
            neither calls a tie; ``None`` for people.
        agreed_low: Lower bound of its 95 % interval.
        agreed_high: Upper bound.
        agreed_rows: Pairs that this share is of.
    """

    key: str
    rater: str
    judge: bool
    model: str
    against: str
    share: float | None
    low: float | None
    high: float | None
    wins: int
    ties: int
    losses: int
    clusters: int
    missing: int
    unblinded: int
    agreed: float | None
    agreed_low: float | None
    agreed_high: float | None
    agreed_rows: int


@dataclass(frozen=True, slots=True)
class PublishedScore:
    """One figure of the paper, to stand beside ours.

    Attributes:
        key: Names suite, model and task.
        suite: ``full`` or ``light``; figures of the two are not comparable.
        model: As the paper has it, or our name of the recipe that trained it.
        judge: Model that judged.
        task: One of PersonaGym's five; empty for the PersonaScore.
        value: Mean over personas, rounded by the paper.
        sd: Standard deviation over personas.
        base: What the paper trained it from; empty for models that it only compares with.
        mark: ``recipe`` for the row of this run's recipe, ``backbone`` for what that starts from,
            else empty.
    """

    key: str
    suite: str
    model: str
    judge: str
    task: str
    value: float
    sd: float | None = None
    base: str = ""
    mark: str = ""
