"""Checks what the page says of what ran."""

from __future__ import annotations

from infra.store.storage import Storage
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.overview import (
    ModelLine,
    build_model_table,
    build_node_table,
    list_licences,
)

from .worlds import write_synthesis, write_training

MODELS = (ModelLine("base", "tiny", "vllm"), ModelLine("teacher", "big", "endpoint"))


def test_the_trained_model_joins_those_that_were_configured(storage: Storage) -> None:
    plain = build_model_table(RunNodes(storage, []), MODELS)
    assert [row.name for row in plain.rows] == ["base", "teacher"]
    trained = build_model_table(RunNodes(storage, [write_training(storage)]), MODELS)
    assert [row.name for row in trained.rows] == ["base", "teacher", "tuned"]
    assert [cell.text for cell in trained.rows[2].cells] == ["tiny", "trained here"]


def test_every_node_shows_its_whole_keys(storage: Storage) -> None:
    references = write_synthesis(storage)
    table = build_node_table(RunNodes(storage, references))
    assert [row.name for row in table.rows][:2] == ["personas", "characters"]
    recipe, fingerprint = table.rows[0].cells[3:5]
    assert fingerprint.text == references[0].fingerprint and fingerprint.kind == "key"
    assert len(recipe.text) == 32 and recipe.kind == "key"
    assert table.rows[0].cells[5].text == "2026-11-25 03:40"
    assert "on desk" in table.rows[0].cells[5].hover


def test_licences_are_those_the_data_set_knows(storage: Storage) -> None:
    nodes = RunNodes(storage, write_synthesis(storage))
    assert list_licences(nodes) == (("lima", "cc-by-nc-sa-4.0"), ("personas", "apache-2.0"))
    assert list_licences(RunNodes(storage, [])) == ()
