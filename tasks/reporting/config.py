"""Declares the knobs of the report."""

from __future__ import annotations

from infra.knobs import Knobs, identity, selection


class ReportConfig(Knobs):
    """Says what the report shows."""

    title: str = identity("OpenCharacter", min_length=1, description="Title of the report")
    template: str = identity(
        "templates/report.html.j2", min_length=1, description="Template; its content counts"
    )
    dialogues: int = selection(60, ge=0, le=2000, description="Dialogues the browser holds")
    rejects: int = selection(5, ge=0, le=100, description="Rejects shown a reason")
