"""Compares the models of two runs on the questions that both runs asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.look.gates import Gate, GateOutcome, check_gates
from flows.runs.past_runs import PastRun, read_run
from infra.errors import ConfigError, Problem
from tasks.evaluation.measures.scoring import compare_models, measure_models
from tasks.measures.evidence import Evidence
from tasks.records import Answer, Attribution
from tasks.scores import Comparison, Measure

R = TypeVar("R", Answer, Attribution)

_WIDTH = 150
_DASH = "\u2013"


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunSide(_Plain):
    """One of the two runs; ``models`` says what stands behind each name, such as ``A:base``."""

    label: str
    run: str
    root: str
    models: dict[str, str]


class JudgeMatch(_Plain):
    """Whether a judge's verdicts can be paired, and why or why not."""

    judge: str
    paired: bool
    why: str


class SharedRows(_Plain):
    """Counts of what the runs share: questions that were answered, or answers attributed."""

    what: str
    both: int
    only_a: int
    only_b: int


class RunComparison(_Plain):
    """Comparison of the models of two runs.

    A measure is over all that a model was measured on. A comparison is a model of B minus a model
    of A, over what both were measured on.
    """

    a: RunSide
    b: RunSide
    shared: tuple[SharedRows, ...]
    judges: tuple[JudgeMatch, ...]
    measures: tuple[Measure, ...]
    comparisons: tuple[Comparison, ...]
    gates: tuple[GateOutcome, ...] = ()


def check_seed(seed: int) -> None:
    """Raise :class:`ConfigError` for a number that nothing can be drawn with."""
    if seed < 0:
        raise ConfigError(Problem("--seed", f"is {seed}", "give 0 or more"))


def compare_runs(
    run_a: str,
    run_b: str,
    root: str | None = None,
    *,
    seed: int = 0,
    gates: Sequence[Gate] = (),
) -> RunComparison:
    """Compare every model of run B with every model of run A, on what both were asked.

    A run is ``<root>/runs/<name>``, local or on S3, or a name below ``root``. Verdicts are paired
    only where one judge gave them by one recipe; else they stand side by side.

    Raises :class:`ConfigError` for runs that are not there, numbers that nothing can be drawn
    with, and gates that nothing can be held to.
    """
    check_seed(seed)
    one, two = read_run("A", run_a, root), read_run("B", run_b, root)
    matches = match_judges(one, two)
    paired = [match.judge for match in matches if match.paired]
    evidence = _gather_evidence(one, two, paired)
    comparisons = compare_models(evidence, pairs=_pair_models(one, two))
    return RunComparison(
        a=_describe_side(one),
        b=_describe_side(two),
        shared=tuple(_count_shared(one, two)),
        judges=tuple(matches),
        measures=tuple(measure_models(evidence, seed=seed)),
        comparisons=tuple(comparisons),
        gates=tuple(check_gates(comparisons, gates)),
    )


def match_judges(one: PastRun, two: PastRun) -> list[JudgeMatch]:
    """Say of every judge whether the two runs' verdicts can be paired.

    A judge is a role, and a role may be another model, or be asked otherwise, in another run.
    """
    matches = []
    for judge in dict.fromkeys((*one.recipes, *two.recipes)):
        recipes = [*one.recipes.get(judge, ()), *two.recipes.get(judge, ())]
        changed = sorted({name for other in recipes for name in _differ(recipes[0], other)})
        if judge not in one.recipes or judge not in two.recipes:
            why = f"it judged run {'A' if judge in one.recipes else 'B'} alone"
            matches.append(JudgeMatch(judge=judge, paired=False, why=why))
        elif changed:
            why = f"its verdicts were made otherwise: {', '.join(changed)}"
            matches.append(JudgeMatch(judge=judge, paired=False, why=why))
        else:
            matches.append(JudgeMatch(judge=judge, paired=True, why="one recipe in both runs"))
    return matches


def print_comparison(found: RunComparison) -> str:
    """Return a comparison as text for people."""
    sink = StringIO()
    console = Console(file=sink, width=_WIDTH, highlight=False, markup=False)
    for side in (found.a, found.b):
        console.print(f"{side.label} = run {side.run} in {side.root}")
        for name, model in side.models.items():
            console.print(f"    {name}  {model}")
    for count in found.shared:
        console.print(
            f"{count.what}: {count.both:,} in both runs, {count.only_a:,} only in A, "
            f"{count.only_b:,} only in B"
        )
    for match in found.judges:
        console.print(f"judge {match.judge}: {'' if match.paired else 'not '}paired, {match.why}")
    console.print("\nMeans, each over all that the model was asked")
    console.print(_tabulate_measures(found.measures))
    told = [item for item in found.comparisons if item.rows]
    console.print("\nDifferences, over what both models were asked")
    console.print(_tabulate_comparisons(told) if told else "Nothing was measured in both runs.")
    if told and len(told) < len(found.comparisons):
        console.print(f"{len(found.comparisons) - len(told)} comparisons have no row in common.")
    if found.gates:
        console.print()
    for outcome in found.gates:
        console.print(str(outcome), soft_wrap=True)
    return sink.getvalue().rstrip()


def _differ(one: Mapping[str, object], two: Mapping[str, object]) -> list[str]:
    return [name for name in {*one, *two} if one.get(name) != two.get(name)]


def _describe_side(run: PastRun) -> RunSide:
    return RunSide(label=run.label, run=run.name, root=run.root, models=dict(run.models))


def _count_shared(one: PastRun, two: PastRun) -> Iterator[SharedRows]:
    for what, mine, theirs in (
        ("questions", _name_questions(one), _name_questions(two)),
        ("held-out answers attributed", _name_examples(one), _name_examples(two)),
    ):
        if mine or theirs:
            yield SharedRows(
                what=what,
                both=len(mine & theirs),
                only_a=len(mine - theirs),
                only_b=len(theirs - mine),
            )


def _name_questions(run: PastRun) -> set[str]:
    return {row.question_key for row in run.answers}


def _name_examples(run: PastRun) -> set[str]:
    return {row.example_key for row in run.attribution}


def _gather_evidence(one: PastRun, two: PastRun, paired: Collection[str]) -> Evidence:
    """Put the rows of both runs together.

    A judge whose verdicts cannot be paired is one judge a run, named with the run's label.
    """
    judgements = tuple(
        row if row.judge in paired else replace(row, judge=f"{run.label}:{row.judge}")
        for run in (one, two)
        for row in run.judgements
    )
    return Evidence(
        models=(*one.models, *two.models),
        judges=tuple(dict.fromkeys(row.judge for row in judgements)),
        judgements=judgements,
        answers=_group([*one.answers, *two.answers]),
        attributions=_group([*one.attribution, *two.attribution]),
        abilities=(),
        panel=tuple(paired),
    )


def _group(rows: Iterable[R]) -> dict[str, list[R]]:
    groups: defaultdict[str, list[R]] = defaultdict(list)
    for row in rows:
        groups[row.model].append(row)
    return dict(groups)


def _pair_models(one: PastRun, two: PastRun) -> list[tuple[str, str]]:
    """Return every model of B with every model of A, those of one role first."""
    pairs = [(model, against) for model in two.models for against in one.models]
    return sorted(pairs, key=lambda pair: pair[0].partition(":")[2] != pair[1].partition(":")[2])


def _tabulate_measures(measures: Iterable[Measure]) -> Table:
    table = _make_table("measure", "judge", "model", "mean", "95 %", "chance", "rows", "missing")
    for item in measures:
        cells = (
            _name_measure(item.name, item.task),
            item.judge,
            item.model,
            _show(item.mean),
            _show_interval(item.low, item.high),
            "" if item.chance is None else _show(item.chance),
            f"{item.rows:,}",
            f"{item.missing:,}",
        )
        table.add_row(*map(Text, cells))
    return table


def _tabulate_comparisons(comparisons: Iterable[Comparison]) -> Table:
    table = _make_table(
        "measure", "judge", "models", "difference", "95 %", "p", "detectable", "rows", "missing",
        "unmatched",
    )  # fmt: skip
    for item in comparisons:
        cells = (
            _name_measure(item.name, item.task),
            item.judge,
            f"{item.model} \u2212 {item.against}",
            _show(item.mean, "+"),
            _show_interval(item.low, item.high, "+"),
            _show(item.p_value),
            _show(item.detectable),
            f"{item.rows:,}",
            f"{item.missing:,}",
            f"{item.unmatched:,}",
        )
        table.add_row(*map(Text, cells))
    return table


def _make_table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in names:
        named = name in ("measure", "judge", "model", "models")
        table.add_column(Text(name), justify="left" if named else "right")
    return table


def _name_measure(name: str, task: str) -> str:
    return f"{name} {task}".strip().replace("_", " ")


def _show(value: float | None, sign: str = "") -> str:
    return _DASH if value is None else f"{value:{sign}.3f}"


def _show_interval(low: float | None, high: float | None, sign: str = "") -> str:
    return _DASH if low is None or high is None else f"{low:{sign}.3f} … {high:{sign}.3f}"
