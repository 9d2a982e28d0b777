"""Says what ran: models, versions, licences, and every node with its recipe and fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.store.manifests import Manifest
from tasks.records import CONTROL, TUNED
from tasks.reporting.figures import write_count
from tasks.reporting.links import anchor_node
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.judges import JudgeLine
from tasks.reporting.sections.making import name_stage
from tasks.reporting.tables import Cell, Column, Row, Table, name_columns


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One configured model: its role, its name, what runs it."""

    role: str
    label: str
    engine: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the run knows of itself beside its nodes."""

    fingerprint: str
    demo: bool
    models: tuple[ModelLine, ...]
    versions: tuple[tuple[str, str], ...]
    config_text: str
    judges: tuple[JudgeLine, ...] = ()


def build_model_table(nodes: RunNodes, models: tuple[ModelLine, ...]) -> Table:
    """Return the models by role; the trained one, which no configuration names, last."""
    lines = list(models)
    training = nodes.find("training")
    if training is not None and all(line.role != TUNED for line in lines):
        lines.append(ModelLine(TUNED, str(training.facts["base"]), "trained here"))
    control = nodes.find(f"training_{CONTROL}")
    if control is not None:
        told = "trained here, under other characters' profiles"
        lines.append(ModelLine(CONTROL, str(control.facts["base"]), told))
    return Table(
        columns=name_columns("role", Column("model", "text"), Column("engine", "text")),
        rows=tuple(
            Row(line.role, (Cell(line.label, kind="text"), Cell(line.engine, kind="text")))
            for line in lines
        ),
    )


def build_node_table(nodes: RunNodes) -> Table:
    """Return every node with the names that prove what it was made from."""
    return Table(
        columns=name_columns(
            "node",
            "rows",
            Column("reused", hover="rows that an earlier run had made"),
            Column("files", "text", hover="folder of its rows in the store"),
            Column("recipe key", "key", hover="moves with whatever changes rows"),
            Column("fingerprint", "key", hover="moves with whatever the node was made from"),
            Column("made", "text"),
        ),
        rows=tuple(_node_row(manifest) for manifest in nodes.manifests.values()),
    )


def list_licences(nodes: RunNodes) -> tuple[tuple[str, str], ...]:
    """Return the licence of each source that the data set's node knows of."""
    manifest = nodes.find("export")
    known = manifest.identity.get("licences") if manifest else None
    if not isinstance(known, Mapping):
        return ()
    return tuple((str(name), str(licence)) for name, licence in sorted(known.items()))


def _node_row(manifest: Manifest) -> Row:
    counts = manifest.counts
    made_at = manifest.provenance.get("made_at", "")
    return Row(
        name_stage(manifest.stage),
        (
            Cell(write_count(counts.planned)),
            Cell(write_count(counts.reused)),
            Cell(_find_folder(manifest), kind="text", tone="soft"),
            Cell(manifest.recipe, kind="key"),
            Cell(manifest.fingerprint, kind="key"),
            Cell(
                made_at[:16].replace("T", " "),
                hover=f"{made_at} on {manifest.provenance.get('host', 'an unnamed machine')}",
                kind="text",
                tone="soft",
            ),
        ),
        anchor=anchor_node(manifest.stage),
    )


def _find_folder(manifest: Manifest) -> str:
    first = next(iter(manifest.parts), None)
    return first.path.rpartition("/")[0] if first else ""
