"""Checks what names the node of the report, and which pages it writes."""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.generation.reruns import Reruns
from infra.paths import packaged_configs
from infra.store.manifests import NodeSpec, read_manifest
from infra.store.storage import Storage
from tasks.reporting.config import ReportConfig
from tasks.reporting.nodes import Report
from tests.unit.given_nodes import give_node, open_quiet

from .worlds import write_evaluation


def describe(config: ReportConfig, folder: Path) -> NodeSpec:
    context = open_quiet(Storage(str(folder / "store")))
    return Report(context=context, reruns=Reruns(), config=config, shown=[]).spec


def test_every_template_file_counts(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(packaged_configs() / "templates" / "report", folder)
    config = ReportConfig(template=str(folder))
    before = describe(config, tmp_path)
    assert describe(config, tmp_path) == before
    for file in sorted(folder.iterdir()):
        old = file.read_text(encoding="utf-8")
        file.write_text(old + "\n", encoding="utf-8")
        assert describe(config, tmp_path).fingerprint != before.fingerprint, file.name
        file.write_text(old, encoding="utf-8")


def test_a_price_makes_another_page(tmp_path: Path) -> None:
    plain = describe(ReportConfig(), tmp_path)
    priced = describe(ReportConfig(usd_per_engine_hour=2.0), tmp_path)
    assert plain.recipe == priced.recipe and plain.fingerprint != priced.fingerprint


def write_pages(storage: Storage, config: ReportConfig) -> dict[str, str]:
    """Return the pages that the node writes of a run that two models answered in, by their fact."""
    context = open_quiet(storage)
    shown = [
        give_node(NodeSpec.build(item.stage, 1, identity={}, selection={}), context)
        for item in write_evaluation(storage)
    ]
    report = Report(context=context, reruns=Reruns(), config=config, shown=shown)
    manifest = read_manifest(storage, report.make().manifest)
    named = {name: str(path) for name, path in manifest.facts.items() if name != "summary"}
    assert sorted(named.values()) == sorted(part.path for part in manifest.parts)
    return {name: storage.read_bytes(path).decode() for name, path in named.items()}


def test_a_page_of_pairs_stands_beside_the_report_and_both_name_each_other(
    storage: Storage,
) -> None:
    pages = write_pages(storage, ReportConfig())
    assert 'href="side_by_side.html"' in pages["page"]
    assert 'href="report.html"' in pages["pairs"]


def test_without_pairs_there_is_one_page_and_no_link(storage: Storage) -> None:
    pages = write_pages(storage, ReportConfig(pairs=0))
    assert list(pages) == ["page"] and "side_by_side.html" not in pages["page"]
