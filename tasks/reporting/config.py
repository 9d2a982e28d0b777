"""Declares the knobs of the report."""

from __future__ import annotations

from infra.knobs import Knobs, identity, selection


class ReportConfig(Knobs):
    """Knobs of what the report shows."""

    title: str = identity("OpenCharacter", min_length=1, description="Title of the report")
    template: str = identity(
        "templates/report",
        min_length=1,
        description="Folder of the page's templates, style and script; their contents count",
    )
    usd_per_engine_hour: float | None = selection(
        None,
        ge=0,
        description="Price in USD of an hour of what an engine, or a training, runs on;"
        " None leaves the cost out",
    )
    characters: int | None = selection(
        400, ge=0, description="Characters the browser holds; None for all"
    )
    dialogues: int | None = selection(
        400, ge=0, description="Dialogues the browser holds; None for all"
    )
    answers: int | None = selection(
        400, ge=0, description="Answers the browser holds, all models' together; None for all"
    )
    pairs: int | None = selection(
        200, ge=0, description="Pairs of answers to compare, beside the report; None for all"
    )
    pairs_seed: int = selection(
        0, ge=0, description="Seed of which pairs, in which order, and which model stands left"
    )
    rejects: int = selection(5, ge=0, le=100, description="Rejects shown a reason")
