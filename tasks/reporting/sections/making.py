"""Says how the rows came about: the funnel, what was rejected and why, and what it all cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.store.manifests import Manifest
from tasks.reporting.charts import FunnelBar
from tasks.reporting.figures import (
    UNKNOWN,
    write_count,
    write_dollars,
    write_number,
    write_seconds,
    write_share,
)
from tasks.reporting.links import anchor_rejects, link_node, link_rejects
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.tables import Cell, Column, Row, Table, drop_empty_columns, name_columns

FUNNEL = ("personas", "instructions", "guesses", "characters", "dialogues_", "curation", "encoding")
"""Nodes from the personas to what is trained on, in the paper's order."""

SCORED = (
    "questions", "answers_", "examples_", "anchors_", "judgements_", "calibration_", "attribution_",
)  # fmt: skip
"""Nodes of the evaluation that make rows."""

_SHOWN_REASONS = 3
_SHOWN_CHARS = 600
_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, slots=True)
class RejectGroup:
    """Reason with its count and a few raw examples."""

    stage: str
    reason: str
    rows: int
    examples: tuple[str, ...]
    anchor: str = ""
    """What links call it by: the first reason of a stage is called by all of them."""


def name_stage(stage: str) -> str:
    """Return a node's name for people."""
    return stage.replace("_", " ")


def list_bars(nodes: RunNodes) -> tuple[FunnelBar, ...]:
    """Return the bars of the funnel."""
    found = [nodes.manifests[stage] for stage in _order(nodes, FUNNEL)]
    return tuple(
        FunnelBar(name_stage(item.stage), item.counts.accepted, item.counts.rejected)
        for item in found
    )


def build_count_table(nodes: RunNodes, kinds: Sequence[str]) -> Table:
    """Return planned, accepted and rejected rows of the nodes, with the commonest reasons."""
    table = Table(
        columns=name_columns(
            "stage", "planned", "accepted", "rejected", "yield", Column("reasons", "text")
        ),
        rows=tuple(_count_row(nodes.manifests[stage]) for stage in _order(nodes, kinds)),
    )
    return drop_empty_columns(table, ("reasons",))


def build_cost_table(nodes: RunNodes, usd_per_hour: float | None) -> Table:
    """Return requests, tokens, time and, where an hour's price is known, cost of each stage."""
    found = [item for item in nodes.manifests.values() if item.usage.requests or _trained(item)]
    rows = [_cost_row(item, usd_per_hour) for item in found]
    if len(rows) > 1:
        rows.append(_sum_row(found, usd_per_hour))
    return Table(
        columns=name_columns(
            "stage",
            "requests",
            "prompt tokens",
            Column("cached", hover="share of prompt tokens that came from the prefix cache"),
            "generated",
            "time",
            Column("tokens/s", hover="generated, or trained on, by the clock of the stage"),
            *(["cost"] if usd_per_hour is not None else []),
        ),
        rows=tuple(rows),
    )


def list_rejects(nodes: RunNodes, each: int) -> Iterator[RejectGroup]:
    """Return every reason of every node, commonest first, with a few raw examples."""
    for stage, frame in nodes.read_rejects():
        counted = frame["reason"].value_counts(sort=True, name="rows")
        groups = sorted(counted.rows(), key=lambda row: (-row[1], row[0]))
        for place, (reason, rows) in enumerate(groups):
            details = frame.filter(frame["reason"] == reason)["detail"].head(each).to_list()
            examples = tuple(str(text)[:_SHOWN_CHARS] for text in details)
            anchor = "" if place else anchor_rejects(stage)
            yield RejectGroup(name_stage(stage), str(reason), int(rows), examples, anchor)


def _order(nodes: RunNodes, kinds: Sequence[str]) -> list[str]:
    return [stage for kind in kinds for stage in nodes.list_stages(kind)]


def _count_row(manifest: Manifest) -> Row:
    counts = manifest.counts
    share = counts.accepted / counts.planned if counts.planned else None
    commonest = sorted(manifest.reasons.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{reason} {write_count(rows)}" for reason, rows in commonest[:_SHOWN_REASONS]]
    rest = sum(rows for _, rows in commonest[_SHOWN_REASONS:])
    told += [f"others {write_count(rest)}"] if rest else []
    return Row(
        name_stage(manifest.stage),
        (
            Cell(write_count(counts.planned)),
            Cell(write_count(counts.accepted)),
            Cell(
                write_count(counts.rejected),
                link=link_rejects(manifest.stage) if counts.rejected else "",
            ),
            Cell(write_share(share)),
            Cell(", ".join(told), kind="text", tone="soft"),
        ),
        link=link_node(manifest.stage),
    )


def _trained(manifest: Manifest) -> bool:
    return manifest.stage.partition("_")[0] == "training"


def _time_of(manifest: Manifest) -> float:
    return float(manifest.facts["seconds"]) if _trained(manifest) else manifest.usage.seconds


def _cost_row(manifest: Manifest, usd_per_hour: float | None) -> Row:
    usage, seconds = manifest.usage, _time_of(manifest)
    made = int(manifest.facts["tokens"]) if _trained(manifest) else usage.completion_tokens
    # Tokens are of all rows, the clock of this run's: with rows from earlier runs there is no rate.
    whole = _trained(manifest) or not manifest.counts.reused
    cached = usage.cached_tokens / usage.prompt_tokens if usage.prompt_tokens else None
    return Row(
        name_stage(manifest.stage),
        (
            Cell(write_count(usage.requests) if usage.requests else UNKNOWN),
            Cell(write_count(usage.prompt_tokens) if usage.requests else UNKNOWN),
            Cell(write_share(cached, 0)),
            Cell(write_count(usage.completion_tokens) if usage.requests else UNKNOWN),
            Cell(write_seconds(seconds)),
            Cell(write_number(made / seconds, 0) if whole and seconds else UNKNOWN),
            *_price(seconds, usd_per_hour),
        ),
        link=link_node(manifest.stage),
    )


def _sum_row(found: Sequence[Manifest], usd_per_hour: float | None) -> Row:
    usages = [item.usage for item in found]
    seconds = sum(_time_of(item) for item in found)
    prompt = sum(usage.prompt_tokens for usage in usages)
    cached = sum(usage.cached_tokens for usage in usages)
    return Row(
        "all",
        (
            Cell(write_count(sum(usage.requests for usage in usages))),
            Cell(write_count(prompt)),
            Cell(write_share(cached / prompt if prompt else None, 0)),
            Cell(write_count(sum(usage.completion_tokens for usage in usages))),
            Cell(write_seconds(seconds)),
            Cell(""),
            *_price(seconds, usd_per_hour),
        ),
        quiet=True,
    )


def _price(seconds: float, usd_per_hour: float | None) -> tuple[Cell, ...]:
    if usd_per_hour is None:
        return ()
    return (Cell(write_dollars(seconds / _SECONDS_AN_HOUR * usd_per_hour)),)
