"""Describes a plan, and prints it as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from flows.plan.costs import DiskPlan, NodeCost, TrainingPlan
from infra.engines.model_facts import ModelFacts

_WIDTH = 150
_DASH = "\u2013"
_GIB = 2**30
_MIB = 2**20


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class NodePlan(_Plain):
    """One node of the plan; ``make + reuse == rows``.

    ``about`` says that the rows are an estimate, because what they come from is not made yet.
    """

    node: str
    rows: int
    make: int
    reuse: int
    why: str
    about: bool = False
    cost: NodeCost = NodeCost()


class Totals(_Plain):
    """Sums of what is known; ``untimed`` and ``unpriced`` name the nodes that are left out."""

    prompt_tokens: int
    output_tokens: int
    engine_hours: float
    usd: float
    untimed: tuple[str, ...]
    unpriced: tuple[str, ...]

    @classmethod
    def add_up(cls, nodes: Sequence[NodePlan], training: TrainingPlan | None) -> Totals:
        """Add up the nodes and, if there is one, the training that is to be done."""
        asking = [node for node in nodes if node.cost.prompt_tokens is not None]
        hours = {node.node: node.cost.engine_hours for node in asking}
        prices = {node.node: node.cost.usd for node in asking}
        if training is not None and training.make:
            hours["training"], prices["training"] = training.rank_hours, training.usd
        return cls(
            prompt_tokens=sum(node.cost.prompt_tokens or 0 for node in asking),
            output_tokens=sum(node.cost.output_tokens or 0 for node in asking),
            engine_hours=sum(value or 0.0 for value in hours.values()),
            usd=sum(value or 0.0 for value in prices.values()),
            untimed=tuple(name for name, value in hours.items() if value is None),
            unpriced=tuple(name for name, value in prices.items() if value is None),
        )


class Plan(_Plain):
    """What a run would do, node by node; ``pairs`` counts (question, character) pairs.

    ``models`` says what is known of each role's model, ``inputs`` which files are read,
    ``warnings`` what a person should fix, ``notes`` what was made up for want of inputs and what
    of the sources is not read.
    """

    run: str
    root: str
    personas: int
    questions: int
    pairs: int
    nodes: tuple[NodePlan, ...]
    training: TrainingPlan | None
    disk: DiskPlan
    totals: Totals
    models: dict[str, ModelFacts | None]
    notes: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def print_plan(plan: Plan) -> str:
    """Return the plan as text for people."""
    text = StringIO()
    console = Console(file=text, width=_WIDTH, highlight=False, markup=False)
    console.print(f"run {plan.run} → {plan.root}")
    console.print(
        f"{plan.personas:,} personas, {plan.questions:,} questions, {plan.pairs:,} pairs\n"
    )
    console.print(_tabulate(plan.nodes))
    console.print()
    lines = [
        *_describe_training(plan.training),
        *_describe_totals(plan.totals),
        _describe_disk(plan.disk),
        *_describe_models(plan.models),
        *(f"reads {line}" for line in plan.inputs),
        *(f"note: {note}" for note in plan.notes),
        *(f"warning: {warning}" for warning in plan.warnings),
    ]
    for line in lines:
        console.print(line, soft_wrap=True)
    return text.getvalue().rstrip()


def _tabulate(nodes: Sequence[NodePlan]) -> Table:
    table = Table(box=None, pad_edge=False)
    costs = ("prompt", "output", "engines", "USD")
    for name in ("node", "rows", "to make", "reused", *costs, "why"):
        table.add_column(name, justify="left" if name in ("node", "why") else "right")
    for node in nodes:
        cost, about = node.cost, "~" if node.about else ""
        table.add_row(
            node.node,
            f"{about}{node.rows:,}",
            f"{about}{node.make:,}",
            f"{node.reuse:,}",
            _shorten(cost.prompt_tokens),
            _shorten(cost.output_tokens),
            "" if cost.prompt_tokens is None else _time(cost.engine_hours),
            "" if cost.prompt_tokens is None else _show(cost.usd),
            node.why,
        )
    return table


def _describe_training(training: TrainingPlan | None) -> Iterator[str]:
    if training is None:
        return
    about = "about " if training.about else ""
    yield (
        f"training: {about}{training.examples:,} examples, {_shorten(training.tokens)} tokens in"
        f" {training.rows:,} rows; {training.epochs:g} epochs are {training.steps:,} steps;"
        + (
            f" {_time(training.rank_hours)} of all ranks, {_show(training.usd)} USD"
            if training.make
            else " done"
        )
        + f" (a step can be split over {_list_ranks(training.ranks)})"
    )


def _list_ranks(counts: Sequence[int], most: int = 12) -> str:
    """Write numbers of ranks, of many only the largest and that there are others."""
    listed = [f"{count:,}" for count in counts[-most:]]
    if len(listed) == 1:
        return f"{listed[0]} rank" + ("s" if counts[0] > 1 else "")
    few = "…, " if len(counts) > most else ""
    return f"{few}{', '.join(listed[:-1])} or {listed[-1]} ranks"


def _describe_totals(totals: Totals) -> Iterator[str]:
    hours = totals.engine_hours or (None if totals.untimed else 0.0)
    usd = totals.usd or (None if totals.unpriced else 0.0)
    yield (
        f"in all: {_shorten(totals.prompt_tokens)} prompt tokens,"
        f" {_shorten(totals.output_tokens)} output tokens, {_time(hours)} of engines and ranks,"
        f" {_show(usd)} USD"
    )
    if totals.untimed:
        todo = "run it once, or set plan.tokens_per_s"
        yield f"time not known of: {', '.join(totals.untimed)} ({todo})"
    if totals.unpriced:
        todo = "set plan.usd_per_engine_hour, plan.usd_per_million_tokens"
        yield f"price not known of: {', '.join(totals.unpriced)} ({todo})"


def _describe_models(models: Mapping[str, ModelFacts | None]) -> Iterator[str]:
    for role, facts in models.items():
        if facts is not None:
            yield (
                f"model {role}: {_shorten(facts.parameters)} parameters in {facts.layers} layers,"
                f" {_weigh(facts.bytes)} of weights, context of {facts.context:,} tokens"
            )


def _describe_disk(disk: DiskPlan) -> str:
    parts = (
        ("rows", disk.rows),
        ("token rows", disk.encoding),
        ("checkpoints", disk.checkpoints),
        ("models", disk.models),
        ("data set", disk.export),
    )
    told = [
        f"{name} {_DASH if size is None else _weigh(size)}" for name, size in parts if size != 0
    ]
    return f"disk: {_weigh(disk.total)}" + (f" ({', '.join(told)})" if told else "")


def _show(value: float | None) -> str:
    if value is None:
        return _DASH
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _time(hours: float | None) -> str:
    if hours is None:
        return _DASH
    if not hours:
        return "0"
    if hours >= 1:
        return f"{hours:,.1f} h"
    minutes = hours * 60
    return f"{minutes:.0f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"


def _shorten(count: int | None) -> str:
    if count is None:
        return ""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return str(count)


def _weigh(size: int) -> str:
    return f"{size / _GIB:,.1f} GiB" if size >= _GIB else f"{size / _MIB:,.1f} MiB"
