"""Checks what names the node of the report."""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.generation.reruns import Reruns
from infra.paths import packaged_configs
from infra.store.manifests import NodeSpec
from infra.store.storage import Storage
from tasks.reporting.config import ReportConfig
from tasks.reporting.nodes import Report
from tests.unit.given_nodes import open_quiet


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
