"""Indexes the rows of a run: which there are, which names which as its parent, what each says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from infra.store.manifests import Manifest, NodeRef, PartRef, read_manifest, read_tables
from infra.store.row_store import read_rows
from infra.store.storage import Storage

Status = Literal["accepted", "rejected", "absent"]

_ROW = ("node", "key", "kind", "status")
_EDGE = ("node", "key", "link", "parent")
_KEY = r"^[0-9a-f]{32}$"
_LIST = pl.List(pl.String)
_ACCEPTED = pl.col("status") == "accepted"


@dataclass(frozen=True, slots=True)
class Row:
    """Row as a place in the lineage; ``node`` is empty where the row is absent."""

    node: str
    key: str
    kind: str
    status: Status


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a node's rows are called, what they say, and who their parents are.

    Attributes:
        parents: What each of a row's parents is called, in the order in which the row names them.
            Only the nearest: a dialogue's persona is reached through its character.
        columns: Where their keys stand, of rows without a list of parents.
        beside: Columns that say more of them.
    """

    name: str
    text: pl.Expr
    parents: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class RowIndex:
    """Every row of a run by its key, and who names whom.

    Attributes:
        manifests: Of the nodes that are done, upstream first.
        rows: node, key, kind, status and order of the node. A key may stand for a row and, once
            more, for its rejection by a later node.
        homes: The rows that keys stand for.
        edges: node and key of a row; link and parent, the kind and key of a row that it names.
    """

    manifests: Mapping[str, Manifest]
    rows: pl.DataFrame
    homes: pl.DataFrame
    edges: pl.DataFrame

    def find(self, keys: Iterable[str]) -> dict[str, Row]:
        """Return the rows that keys stand for; unknown keys are left out."""
        found = self.homes.filter(pl.col("key").is_in(sorted(set(keys))))
        return {row.key: row for row in list_rows(found)}


def read_index(storage: Storage, done: Mapping[str, NodeRef]) -> RowIndex:
    """Read the keys and links of all finished nodes; no texts, so that a large run is quick."""
    manifests = {
        stage: read_manifest(storage, reference.manifest)
        for stage, reference in done.items()
        if _knows(stage)
    }
    frames = {stage: _read_keys(storage, manifest) for stage, manifest in manifests.items()}
    rows = [_name_rows(frame, stage, _find_kind(stage).name) for stage, frame in frames.items()]
    edges = [edge for manifest in manifests.values() for edge in _list_edges(manifest, frames)]
    if "questions" in manifests:
        references = _read_references(storage, manifests["questions"])
        rows.append(_name_rows(references, "questions", _REFERENCE.name))
        edges.append(_follow(references, "questions", "question_key", pl.lit("question")))
    order = pl.DataFrame(
        {"node": list(manifests), "order": range(len(manifests))},
        schema={"node": pl.String, "order": pl.Int64},
    )
    table = (
        pl.concat([_empty(_ROW), *rows])
        .unique(["node", "key"], keep="first", maintain_order=True)
        .join(order, on="node")
        .sort(pl.col("status") == "rejected", "order", "key")
    )
    homes = table.unique("key", keep="first", maintain_order=True)
    # A later node that turned a row down did so under the row's own key: it hangs below that row.
    turned = table.join(homes, on=["node", "key"], how="anti")
    links = pl.concat([_empty(_EDGE), *edges]).join(turned, on=["node", "key"], how="anti")
    below = turned.select("node", "key", link="kind", parent="key")
    return RowIndex(manifests, table, homes, pl.concat([links, below]))


def read_texts(storage: Storage, index: RowIndex, rows: Iterable[Row]) -> dict[Row, str]:
    """Read what rows say; of a rejected row, why, and what it was."""
    wanted: dict[tuple[str, str, Status], dict[str, Row]] = {}
    for row in rows:
        if row.status != "absent":
            wanted.setdefault((row.node, row.kind, row.status), {})[row.key] = row
    texts: dict[Row, str] = {}
    for (node, kind, status), by_key in wanted.items():
        manifest = index.manifests[node]
        if status == "rejected":
            said = _read_reasons(storage, manifest)
        else:
            said = _read_kind(
                storage, manifest, _REFERENCE if kind == _REFERENCE.name else _find_kind(node)
            )
        found = said.filter(pl.col("key").is_in(list(by_key)))
        texts |= {by_key[key]: text or "" for key, text in found.select("key", "text").iter_rows()}
    return texts


def list_rows(frame: pl.DataFrame) -> list[Row]:
    """Return the rows of a frame that has their columns."""
    return [Row(*values) for values in frame.select(_ROW).iter_rows()]


def _family(stage: str) -> str:
    return stage if stage in _KINDS else stage.partition("_")[0] + "_"


def _knows(stage: str) -> bool:
    return _family(stage) in _KINDS


def _find_kind(stage: str) -> _Kind:
    return _KINDS[_family(stage)]


def _empty(columns: Iterable[str]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict.fromkeys(columns, pl.String))


def _list_parts(manifest: Manifest, holds: str) -> list[PartRef]:
    return [part for part in manifest.parts if part.holds == holds]


def _read_keys(storage: Storage, manifest: Manifest) -> pl.DataFrame:
    """Read key, status and parents of a node's rows; of a set's rejects, where they came from."""
    kind = _find_kind(manifest.stage)
    columns = [*kind.columns, *kind.beside]
    empty = _empty(("key", "status", *columns)).with_columns(parents=pl.lit(None, _LIST))
    if manifest.members is not None:
        if not manifest.parts:
            return empty
        return _fill_parents(read_rows(storage, manifest, ["status", "parents", *columns]), kind)
    frames = [empty]
    accepted, rejected = (_list_parts(manifest, holds) for holds in ("accepted", "rejected"))
    if accepted:
        listed = ["parents"] if manifest.stage == "questions" else []
        frame = read_tables(storage, accepted, ["key", *listed, *columns])
        frames.append(_fill_parents(frame, kind).with_columns(status=pl.lit("accepted")))
    if rejected:
        frame = read_tables(storage, rejected, ["key", "source"])
        frames.append(frame.with_columns(status=pl.lit("rejected")))
    return pl.concat(frames, how="diagonal_relaxed")


def _fill_parents(frame: pl.DataFrame, kind: _Kind) -> pl.DataFrame:
    """Take a row's parents from its columns where it has no list of them: a set's, an old one."""
    told = pl.concat_list(kind.columns) if kind.columns else pl.lit([], _LIST)
    listed = pl.col("parents") if "parents" in frame.columns else pl.lit(None, _LIST)
    return frame.with_columns(parents=pl.coalesce(listed, told))


def _read_references(storage: Storage, manifest: Manifest) -> pl.DataFrame:
    columns = ("key", "question_key", "dialogue_key")
    parts = _list_parts(manifest, "references")
    frame = read_tables(storage, parts, columns) if parts else _empty(columns)
    return frame.with_columns(status=pl.lit("accepted"))


def _name_rows(frame: pl.DataFrame, stage: str, kind: str) -> pl.DataFrame:
    return frame.with_columns(node=pl.lit(stage), kind=pl.lit(kind)).select(_ROW)


def _list_edges(manifest: Manifest, frames: Mapping[str, pl.DataFrame]) -> Iterator[pl.DataFrame]:
    stage = manifest.stage
    frame, kind = frames[stage], _find_kind(stage)
    for place, name in enumerate(kind.parents):
        nth = frame.with_columns(parent=pl.col("parents").list.get(place, null_on_oob=True))
        yield _follow(nth, stage, "parent", _BY_SUITE if stage == "questions" else pl.lit(name))
    if "source" in frame.columns:
        from_rows = frame.filter(pl.col("source").str.contains(_KEY))
        yield _follow(from_rows, stage, "source", pl.lit("row"))
    if kind.name == "answer" and "characters" in manifest.upstream and "characters" in frames:
        yield _follow_characters(frame, stage, frames["characters"])


def _follow_characters(answers: pl.DataFrame, stage: str, characters: pl.DataFrame) -> pl.DataFrame:
    """Name the character whose profile a model was shown: the persona's."""
    shown = characters.filter(_ACCEPTED).select(
        persona_key=pl.col("parents").list.first(), character_key="key"
    )
    joined = answers.join(shown, on="persona_key")
    return _follow(joined, stage, "character_key", pl.lit("character"))


def _follow(frame: pl.DataFrame, stage: str, column: str, name: pl.Expr) -> pl.DataFrame:
    """Return the edges from rows to what a column names; an empty one names nobody."""
    named = frame.filter(pl.col(column).is_not_null() & (pl.col(column) != ""))
    return named.select(
        pl.lit(stage).alias("node"),
        pl.col("key"),
        name.alias("link"),
        pl.col(column).cast(pl.String).alias("parent"),
    )


def _read_reasons(storage: Storage, manifest: Manifest) -> pl.DataFrame:
    columns = ["reason", "detail"]
    if manifest.members is not None:
        frame = read_rows(storage, manifest, ["status", *columns]).filter(~_ACCEPTED)
    else:
        frame = read_tables(storage, _list_parts(manifest, "rejected"), ["key", *columns])
    return frame.select("key", text=pl.format("{}: {}", "reason", "detail"))


def _read_kind(storage: Storage, manifest: Manifest, kind: _Kind) -> pl.DataFrame:
    columns = kind.text.meta.root_names()
    if manifest.members is not None:
        frame = read_rows(storage, manifest, ["status", *columns]).filter(_ACCEPTED)
    else:
        holds = "references" if kind is _REFERENCE else "accepted"
        frame = read_tables(storage, _list_parts(manifest, holds), ["key", *columns])
    return frame.select("key", text=kind.text)


def _take_turn(column: str, place: int = 0) -> pl.Expr:
    return pl.col(column).list.get(place, null_on_oob=True).struct.field("content")


_VERDICT = pl.format(
    "{}: {}", pl.col("score").cast(pl.String).fill_null("no verdict"), pl.col("justification")
)
_ATTRIBUTED = pl.format(
    "{}: credit {} among random characters, {} among like ones",
    pl.col("model"),
    pl.col("random_credit").round(2),
    pl.col("hard_credit").round(2),
)
_BY_SUITE = pl.col("suite").replace_strict(
    {"held_out": "dialogue", "generated": "written questions"}, default="persona"
)
"""What a question was read from."""
_REFERENCE = _Kind("reference", pl.col("reference"))
_KINDS = {
    "personas": _Kind("persona", pl.col("persona")),
    "instructions": _Kind("instruction", _take_turn("turns")),
    "guesses": _Kind("instruction", _take_turn("turns"), ("persona",), ("question_id",)),
    "characters": _Kind(
        "character", pl.format("{}: {}", "name", "persona"), ("persona",), ("persona_key",)
    ),
    "dialogues_": _Kind(
        "dialogue",
        _take_turn("turns"),
        ("character", "instruction"),
        ("character_key", "instruction_key"),
    ),
    "curation": _Kind("example", _take_turn("messages", 1), ("dialogue",), ("dialogue_key",)),
    "question_settings": _Kind(
        "settings", pl.col("settings").list.join(", "), ("persona",), ("persona_key",)
    ),
    "question_texts": _Kind(
        "written questions",
        pl.format("{} for {}", "task", "persona"),
        ("settings",),
        ("persona_key",),
    ),
    "questions": _Kind("question", pl.col("question"), ("row",), ("persona_key",), ("suite",)),
    "answers_": _Kind(
        "answer", pl.col("answer"), ("question",), ("question_key",), ("persona_key",)
    ),
    "examples_": _Kind(
        "score examples",
        pl.col("examples").list.get(0, null_on_oob=True),
        ("question",),
        ("question_key",),
    ),
    "judgements_": _Kind("judgement", _VERDICT, ("answer", "score examples"), ("answer_key",)),
    "anchors_": _Kind("judgement of an example", _VERDICT),
    "calibration_": _Kind("calibration", _VERDICT),
    "attribution_": _Kind("attribution", _ATTRIBUTED, ("example",), ("example_key",)),
    "abilities_": _Kind("ability", pl.format("{} {}: {}", "task", "metric", "value")),
}
"""By a node's name, or its beginning: ``answers_`` stands for ``answers_base`` and the like."""
