"""Checks the funnel, the rejects and the costs."""

from __future__ import annotations

from infra.store.manifests import Counts, Usage, read_manifest, write_manifest
from infra.store.storage import Storage
from tasks.records import Persona
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.making import (
    FUNNEL,
    SCORED,
    build_cost_table,
    build_count_table,
    list_bars,
    list_rejects,
)

from .worlds import write_node, write_run, write_synthesis, write_training


def test_the_funnel_goes_from_personas_to_rows_with_reasons(storage: Storage) -> None:
    nodes = RunNodes(storage, list(reversed(write_run(storage))))
    table = build_count_table(nodes, FUNNEL)
    names = [row.name for row in table.rows]
    assert names[0] == "personas" and names[-1] == "curation" and len(names) == 5
    assert [cell.text for cell in table.rows[0].cells] == [
        "17", "12", "5", "70.6 %", "too_short 3, duplicate 2",
    ]  # fmt: skip
    bars = list_bars(nodes)
    assert (bars[0].name, bars[0].accepted, bars[0].rejected) == ("personas", 12, 5)
    scored = [row.name for row in build_count_table(nodes, SCORED).rows]
    assert (
        scored[0] == "questions" and "answers tuned" in scored and "judgements judge base" in scored
    )


def test_many_reasons_are_cut_to_the_commonest(storage: Storage) -> None:
    from tasks.records import Rejection

    rejected = [
        Rejection(f"{reason}{n}", reason, "x", "s")
        for reason, rows in (("a", 1), ("b", 5), ("c", 3), ("d", 2), ("e", 1))
        for n in range(rows)
    ]
    nodes = RunNodes(storage, [write_node(storage, "personas", Persona, [], rejected=rejected)])
    (row,) = build_count_table(nodes, FUNNEL).rows
    assert row.cells[-1].text == "b 5, c 3, d 2, others 2"


def test_rejects_are_listed_by_reason_with_a_few_examples(storage: Storage) -> None:
    nodes = RunNodes(storage, write_synthesis(storage, persona="y" * 700))
    groups = list(list_rejects(nodes, 2))
    assert [(item.stage, item.reason, item.rows) for item in groups] == [
        ("personas", "too_short", 3), ("personas", "duplicate", 2),
        ("characters", "duplicate", 1), ("curation", "too_short", 2), ("curation", "duplicate", 1),
    ]  # fmt: skip
    assert groups[0].examples == ("y" * 600,) * 2
    assert list_rejects_of_none(storage) == []


def list_rejects_of_none(storage: Storage) -> list[object]:
    return list(list_rejects(RunNodes(storage, []), 2))


def test_costs_count_only_stages_that_took_an_engine(storage: Storage) -> None:
    nodes = RunNodes(storage, [*write_synthesis(storage), write_training(storage)])
    table = build_cost_table(nodes, None)
    assert [row.name for row in table.rows] == [
        "characters", "dialogues generate", "dialogues rewrite", "training", "all",
    ]  # fmt: skip
    assert "cost" not in [column.name for column in table.columns]
    assert [cell.text for cell in table.rows[0].cells] == [
        "24", "90,000", "68 %", "42,000", "31.0 s", "1,355",
    ]  # fmt: skip
    assert [cell.text for cell in table.rows[3].cells][4:] == ["95.0 s", "12,995"]
    assert table.rows[-1].cells[0].text == "72" and table.rows[-1].quiet


def test_the_price_of_an_hour_makes_a_column(storage: Storage) -> None:
    nodes = RunNodes(storage, [*write_synthesis(storage), write_training(storage)])
    table = build_cost_table(nodes, 36.0)
    assert [row.cells[-1].text for row in table.rows] == [
        "$0.31", "$0.31", "$0.31", "$0.95", "$1.88",
    ]  # fmt: skip


def test_a_stage_that_went_on_from_an_earlier_run_has_no_rate(storage: Storage) -> None:
    usage = Usage(requests=9, prompt_tokens=90, completion_tokens=900, seconds=1.0)
    reference = write_node(storage, "characters", Persona, [], usage=usage)
    manifest = read_manifest(storage, reference.manifest)
    counts = Counts(planned=9, accepted=9, rejected=0, made=1, reused=8)
    again = write_manifest(storage, manifest.model_copy(update={"counts": counts}))
    (row,) = build_cost_table(RunNodes(storage, [again]), None).rows
    assert row.cells[-1].text == "–"
