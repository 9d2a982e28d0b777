"""Says how far the judges can be trusted: by known scores, by habit, and among themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from infra.engines.identity import identify_model
from infra.nodes.node import Node, RowNode
from tasks.measures.statistics import FEW_PERSONAS
from tasks.reporting.figures import UNKNOWN, write_count, write_number, write_share
from tasks.reporting.tables import Cell, Column, Row, Table, Tone, name_columns
from tasks.scores import PANEL, AgreementLine, AnchorOrder, Calibration, JudgeHabit

WITHIN_ONE_ASKED = 0.8
AUC_ASKED = 0.9
"""What a judge must reach on rows of known score before its verdicts mean much."""

MOST_OF_ONE_SCORE = 0.95
FEWEST_ROWS = 10
"""A judge that gives one score to so many of its rows, if it has so many, is called out."""

_WRITTEN = ("instructions", "characters", "dialogues")
"""Stages whose rows become training data."""


@dataclass(frozen=True, slots=True)
class JudgeLine:
    """What is known of a judge before it judges.

    ``rubric`` is the name of the one that serves all tasks, empty if each has its own; ``wrote``
    are the nodes of training data that the judge's model wrote.
    """

    role: str
    rubric: str
    wrote: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JudgeNote:
    """Whether a judge reached what is asked of it, in words."""

    good: bool
    text: str


def describe_judges(nodes: Sequence[Node]) -> tuple[JudgeLine, ...]:
    """Say of each judge by how many rubrics it rates, and which training data its model wrote.

    Models are compared by what they are, weights or an endpoint's model, whatever their roles are
    called: two roles of one model are one.
    """
    asking = [node for node in nodes if isinstance(node, RowNode)]
    judging = {node.role: node for node in asking if node.kind == "judgements"}
    return tuple(
        JudgeLine(
            role,
            node.remarks().get("rubric", ""),
            tuple(
                one.name
                for one in asking
                if one.stage in _WRITTEN and identify_model(one.model) == identify_model(node.model)
            ),
        )
        for role, node in judging.items()
    )


def find_single_rubrics(judges: Iterable[JudgeLine]) -> Mapping[str, str]:
    """Return the names of rubrics that serve all tasks, by judge; of the panel, if all share it."""
    lines = list(judges)
    found = {line.role: line.rubric for line in lines if line.rubric}
    shared = {line.rubric for line in lines}
    return {**found, PANEL: shared.pop()} if len(shared) == 1 and found else found


def list_self_notes(judges: Iterable[JudgeLine]) -> tuple[JudgeNote, ...]:
    """Say of each judge whose model wrote training data that it may prefer its own words."""
    return tuple(
        JudgeNote(
            False,
            f"Judge {line.role} and the teacher are one model: it wrote {_join(line.wrote)}, which"
            " the trained model learned from. A judge may prefer what sounds like itself; to rule"
            " that out, add a judge of another model.",
        )
        for line in judges
        if line.wrote
    )


def build_calibration_table(calibrations: Sequence[Calibration]) -> Table:
    """Return each judge against rows whose score is known."""
    return Table(
        columns=name_columns(
            "judge",
            Column("within one", hover="share of verdicts within one point of the true score"),
            "exact",
            Column("AUC", hover="in voice against out of voice; one half is guessing"),
            "rows",
            Column("missing", hover="rows without a verdict; they enter no share"),
        ),
        rows=tuple(
            Row(
                item.judge,
                (
                    Cell(
                        write_share(item.within_one), tone=_mark(item.within_one, WITHIN_ONE_ASKED)
                    ),
                    Cell(write_share(item.exact)),
                    Cell(write_number(item.auc, 3), tone=_mark(item.auc, AUC_ASKED)),
                    Cell(write_count(item.rows)),
                    Cell(write_count(item.missing), tone="bad" if item.missing else ""),
                ),
                note=item.source,
            )
            for item in calibrations
        ),
    )


def list_judge_notes(calibrations: Sequence[Calibration]) -> tuple[JudgeNote, ...]:
    """Say of each judge whether it is good enough, and if not, where it falls short."""
    return tuple(_note(item) for item in calibrations)


def build_habit_table(habits: Sequence[JudgeHabit]) -> Table:
    """Return what each judge does whatever it is shown."""
    return Table(
        columns=name_columns(
            "judge",
            Column("commonest score", hover="over all answers of all models"),
            Column("share", hover="of its verdicts"),
            "verdicts",
            Column("cite the answer", hover="reasons that share four words in a row with it"),
            Column("reasons", hover="on answers of four words or more"),
        ),
        rows=tuple(
            Row(
                item.judge,
                (
                    Cell(write_number(item.commonest, 0 if item.commonest.is_integer() else 1)),
                    Cell(write_share(item.share), tone="bad" if _is_deaf(item) else ""),
                    Cell(write_count(item.rows)),
                    Cell(write_share(item.citing)),
                    Cell(write_count(item.reasons)),
                ),
            )
            for item in habits
        ),
    )


def list_habit_notes(habits: Sequence[JudgeHabit]) -> tuple[JudgeNote, ...]:
    """Call out each judge that gives one score to nearly everything."""
    return tuple(
        JudgeNote(
            False,
            f"Judge {item.judge} gives {item.commonest:g} to {write_share(item.share)} of "
            f"{write_count(item.rows)} answers: whatever it is shown, it says the same. Do not "
            "rest a claim on its scores.",
        )
        for item in habits
        if _is_deaf(item)
    )


def list_anchor_notes(anchors: Sequence[AnchorOrder]) -> tuple[JudgeNote, ...]:
    """Say of each judge whether it orders its own example replies as they were made."""
    return tuple(
        JudgeNote(
            item.ordered is not None and item.ordered >= AUC_ASKED,
            f"Judge {item.judge} puts {write_share(item.ordered)} of {write_count(item.pairs)} "
            f"pairs of its own example replies to {write_count(item.questions)} questions in the "
            f"order they were made in; one half is guessing, {write_share(AUC_ASKED, 0)} is asked."
            + (f" {write_count(item.missing)} pairs lack a verdict." if item.missing else ""),
        )
        for item in anchors
    )


def _is_deaf(item: JudgeHabit) -> bool:
    return item.share >= MOST_OF_ONE_SCORE and item.rows >= FEWEST_ROWS


def build_agreement_table(lines: Sequence[AgreementLine]) -> Table:
    """Return Krippendorff's alpha for each group of raters."""
    return Table(
        columns=name_columns(
            "raters",
            Column("alpha", hover="Krippendorff's, ordinal: 1 is perfect, 0 is chance"),
            Column("95 % interval", hover="bootstrap over personas"),
            "personas",
            "answers",
            "ratings",
            "missing",
        ),
        rows=tuple(
            Row(
                ", ".join(line.raters),
                (
                    Cell(write_number(line.alpha, 2)),
                    Cell(_write_bounds(line)),
                    _count_personas(line),
                    Cell(write_count(line.units)),
                    Cell(write_count(line.ratings)),
                    Cell(write_count(line.missing), tone="bad" if line.missing else ""),
                ),
                note="people and judges" if line.people else "judges",
            )
            for line in lines
        ),
    )


def _write_bounds(line: AgreementLine) -> str:
    if line.low is None or line.high is None:
        return UNKNOWN
    return f"{write_number(line.low, 2)} to {write_number(line.high, 2)}"


def _count_personas(line: AgreementLine) -> Cell:
    """Return how many personas an interval rests on; a bootstrap of few is too sure."""
    few = line.personas < FEW_PERSONAS
    hover = "too few: the interval is narrower than it should be" if few else ""
    return Cell(write_count(line.personas), tone="bad" if few else "", hover=hover)


def _join(nodes: Sequence[str]) -> str:
    names = [name.replace("_", " ") for name in nodes]
    return ", ".join(names[:-1]) + (" and " if names[1:] else "") + names[-1]


def _mark(value: float | None, asked: float) -> Tone:
    if value is None:
        return ""
    return "good" if value >= asked else "bad"


def _note(item: Calibration) -> JudgeNote:
    short = []
    if item.within_one is None:
        short.append("no verdict on any row")
    elif item.within_one < WITHIN_ONE_ASKED:
        short.append(
            f"within one point of the truth on {write_share(item.within_one)} of the rows "
            f"({write_share(WITHIN_ONE_ASKED, 0)} is asked)"
        )
    if item.auc is not None and item.auc < AUC_ASKED:
        short.append(
            f"AUC in voice against out of voice {write_number(item.auc, 3)} "
            f"({write_number(AUC_ASKED, 1)} is asked)"
        )
    if short:
        return JudgeNote(
            False,
            f"Judge {item.judge} falls short on {item.source}: {' and '.join(short)}. "
            "Do not rest a claim on its scores.",
        )
    auc = f", AUC {write_number(item.auc, 3)}" if item.auc is not None else ""
    return JudgeNote(
        True,
        f"Judge {item.judge} is good enough on {item.source}: within one point of the truth on "
        f"{write_share(item.within_one)} of {write_count(item.rows)} rows{auc}.",
    )
