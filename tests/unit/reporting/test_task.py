"""Checks what names the node of the report."""

from __future__ import annotations

import shutil
from pathlib import Path

from infra.paths import packaged_configs
from tasks.reporting.config import ReportConfig
from tasks.reporting.task import describe_report


def test_every_template_file_counts(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(packaged_configs() / "templates" / "report", folder)
    config = ReportConfig(template=str(folder))
    before = describe_report(config, [])
    assert describe_report(config, []) == before
    for file in sorted(folder.iterdir()):
        old = file.read_text(encoding="utf-8")
        file.write_text(old + "\n", encoding="utf-8")
        assert describe_report(config, []).fingerprint != before.fingerprint, file.name
        file.write_text(old, encoding="utf-8")


def test_a_price_makes_another_page() -> None:
    plain = describe_report(ReportConfig(), [])
    priced = describe_report(ReportConfig(usd_per_engine_hour=2.0), [])
    assert plain.recipe == priced.recipe and plain.fingerprint != priced.fingerprint
