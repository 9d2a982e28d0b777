"""Proves that a run's folder gets the pages that its report has."""

from __future__ import annotations

from pathlib import Path

from flows.runs.closing import copy_pages
from infra.store.manifests import NodeSpec, read_manifest
from infra.store.set_store import write_set
from infra.store.storage import Storage
from tasks.records import Persona


def test_a_run_has_the_pages_of_its_report_and_no_others(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    pages = {"page": "report/a.html", "pairs": "report/a.pairs.html"}
    for path in pages.values():
        storage.write_bytes(path, path.encode())
    for name, facts in (("both", pages), ("one", {"page": pages["page"]})):
        node = NodeSpec.build("report", 1, identity={"name": name}, selection={})
        made = write_set(
            storage, node, [], [], record=Persona, provenance={}, seconds=0.0, facts=facts,
            may_be_empty=True,
        )  # fmt: skip
        copy_pages(storage, read_manifest(storage, made.manifest), f"runs/{name}")
    both = sorted(path.name for path in (tmp_path / "runs" / "both").iterdir())
    assert both == ["report.html", "side_by_side.html"]
    assert [path.name for path in (tmp_path / "runs" / "one").iterdir()] == ["report.html"]
    page = (tmp_path / "runs" / "both" / "side_by_side.html").read_text()
    assert page == "report/a.pairs.html"
