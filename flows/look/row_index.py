"""Indexes the rows of a run: which there are, which names which as its parent, what each says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Literal, get_args

import polars as pl

from infra.store.fingerprints import row_key
from infra.store.manifests import Manifest, NodeRef, PartRef, read_manifest, read_tables
from infra.store.row_store import read_rows
from infra.store.storage import Storage
from tasks.records import EvalTask

Status = Literal["accepted", "rejected", "absent"]

_ROW = ("node", "key", "kind", "status")
_EDGE = ("node", "key", "link", "parent")
_KEY = r"^[0-9a-f]{32}$"
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
    """What a node's rows are called, what they say, and how they name their parents.

    Attributes:
        links: Columns with a parent's key, and what that parent is called. Only the nearest
            parents: a dialogue's persona is reached through its character.
        derived: The same for parents that no column names and that are found by their keys.
        only_parents: Node whose rows are the only parents. A rejected row has no record and so
            names none, but its own key is a hash of theirs.
    """

    name: str
    text: pl.Expr
    links: tuple[tuple[str, str], ...] = ()
    derived: tuple[tuple[str, str], ...] = ()
    only_parents: str = ""


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
    frames = _lead_through_writing(
        manifests, {stage: _read_keys(storage, manifest) for stage, manifest in manifests.items()}
    )
    rows = [_name_rows(frame, stage, _find_kind(stage).name) for stage, frame in frames.items()]
    edges = [edge for manifest in manifests.values() for edge in _list_edges(manifest, frames)]
    if "questions" in manifests:
        references = _read_references(storage, manifests["questions"])
        rows.append(_name_rows(references, "questions", _REFERENCE.name))
        edges += _follow(references, "questions", _REFERENCE.links)
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
    """Read key, status and links of a node's rows; of a set's rejects, where they came from."""
    kind = _find_kind(manifest.stage)
    links = [column for column, _ in kind.links]
    if kind.name == "judgement":
        links.append("question_key")
    if kind.name == "answer":
        links.append("persona_key")
    empty = _empty(("key", "status"))
    if manifest.members is not None:
        return read_rows(storage, manifest, ["status", *links]) if manifest.parts else empty
    frames = [empty]
    for holds, columns in (("accepted", ["key", *links]), ("rejected", ["key", "source"])):
        parts = _list_parts(manifest, holds)
        if parts:
            frame = read_tables(storage, parts, columns)
            if manifest.stage == "questions" and holds == "accepted":
                told = _read_references(storage, manifest)
                frame = _lead_through(frame, told.select("dialogue_key", key="question_key"))
            frames.append(frame.with_columns(status=pl.lit(holds)))
    return pl.concat(frames, how="diagonal")


def _read_references(storage: Storage, manifest: Manifest) -> pl.DataFrame:
    columns = ("key", "question_key", "dialogue_key")
    parts = _list_parts(manifest, "references")
    frame = read_tables(storage, parts, columns) if parts else _empty(columns)
    return frame.with_columns(status=pl.lit("accepted"))


def _lead_through_writing(
    manifests: Mapping[str, Manifest], frames: dict[str, pl.DataFrame]
) -> dict[str, pl.DataFrame]:
    """Let written questions lead to the request that wrote them, and that to its settings.

    Neither is named in a record, but keys are hashes of their parents' keys.
    """
    texts, questions = frames.get("question_texts"), frames.get("questions")
    if texts is None:
        return frames
    found = dict(frames)
    if "question_settings" in frames:
        recipe = manifests["question_texts"].recipe
        chosen = frames["question_settings"].filter(_ACCEPTED)["key"].to_list()
        made = {row_key(recipe, [key, task]): key for key in chosen for task in get_args(EvalTask)}
        found["question_texts"] = _lead_through(texts, _pair(texts, made, "settings_key"))
    if questions is not None:
        batches = texts.filter(_ACCEPTED)["key"].to_list()
        pairs = []
        for number in count():
            made = {row_key("evaluation question", [key], number): key for key in batches}
            pairs.append(_pair(questions, made, "texts_key"))
            if pairs[-1].is_empty():
                break
        found["questions"] = _lead_through(questions, pl.concat(pairs))
    return found


def _pair(frame: pl.DataFrame, made: Mapping[str, str], column: str) -> pl.DataFrame:
    """Return the keys of a frame that are among those made of parents, beside the parents."""
    pairs = [(key, made[key]) for key in frame["key"].to_list() if key in made]
    return pl.DataFrame(pairs, schema={"key": pl.String, column: pl.String}, orient="row")


def _lead_through(rows: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Add nearer parents to rows, and leave it to these to lead on to the persona."""
    (column,) = (name for name in pairs.columns if name != "key")
    joined = rows.join(pairs, on="key", how="left")
    if "persona_key" not in joined.columns:
        return joined
    far = pl.when(pl.col(column).is_null()).then(pl.col("persona_key"))
    return joined.with_columns(persona_key=far)


def _name_rows(frame: pl.DataFrame, stage: str, kind: str) -> pl.DataFrame:
    return frame.with_columns(node=pl.lit(stage), kind=pl.lit(kind)).select(_ROW)


def _list_edges(manifest: Manifest, frames: Mapping[str, pl.DataFrame]) -> Iterator[pl.DataFrame]:
    stage = manifest.stage
    frame, kind = frames[stage], _find_kind(stage)
    yield from _follow(frame, stage, (*kind.links, *kind.derived))
    if "source" in frame.columns:
        from_rows = frame.filter(pl.col("source").str.contains(_KEY))
        yield from _follow(from_rows, stage, (("source", "row"),))
    for name in manifest.upstream:
        if kind.name == "judgement" and name.startswith("examples_") and name in frames:
            yield from _follow_examples(frame, stage, frames[name])
    if kind.name == "answer" and "characters" in manifest.upstream and "characters" in frames:
        yield from _follow_characters(frame, stage, frames["characters"])
    if manifest.members is not None and kind.only_parents in frames:
        parents = frames[kind.only_parents].filter(_ACCEPTED)["key"].to_list()
        made = {row_key(manifest.recipe, [parent]): parent for parent in parents}
        named = _pair(frame.filter(~_ACCEPTED), made, "parent")
        yield from _follow(named, stage, (("parent", "row"),))


def _follow_examples(
    judgements: pl.DataFrame, stage: str, examples: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Name the example replies that a judge saw: its own, for the question that was answered."""
    if "question_key" in judgements.columns and "question_key" in examples.columns:
        shown = examples.filter(_ACCEPTED).select("question_key", examples_key="key")
        joined = judgements.join(shown, on="question_key")
        yield from _follow(joined, stage, (("examples_key", "score examples"),))


def _follow_characters(
    answers: pl.DataFrame, stage: str, characters: pl.DataFrame
) -> Iterator[pl.DataFrame]:
    """Name the character whose profile a model was shown: the persona's."""
    if "persona_key" in answers.columns and "persona_key" in characters.columns:
        shown = characters.filter(_ACCEPTED).select("persona_key", character_key="key")
        joined = answers.join(shown, on="persona_key")
        yield from _follow(joined, stage, (("character_key", "character"),))


def _follow(
    frame: pl.DataFrame, stage: str, links: Iterable[tuple[str, str]]
) -> Iterator[pl.DataFrame]:
    for column, name in links:
        if column in frame.columns:
            named = frame.filter(pl.col(column).is_not_null() & (pl.col(column) != ""))
            yield named.select(
                pl.lit(stage).alias("node"),
                pl.col("key"),
                pl.lit(name).alias("link"),
                pl.col(column).alias("parent"),
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


_PERSONA = ("persona_key", "persona")
_DIALOGUE = ("dialogue_key", "dialogue")
_QUESTION = ("question_key", "question")
_VERDICT = pl.format(
    "{}: {}", pl.col("score").cast(pl.String).fill_null("no verdict"), pl.col("justification")
)
_ATTRIBUTED = pl.format(
    "{}: credit {} among random characters, {} among like ones",
    pl.col("model"),
    pl.col("random_credit").round(2),
    pl.col("hard_credit").round(2),
)
_REFERENCE = _Kind("reference", pl.col("reference"), (_QUESTION,))
_KINDS = {
    "personas": _Kind("persona", pl.col("persona")),
    "instructions": _Kind("instruction", _take_turn("turns")),
    "guesses": _Kind(
        "instruction", _take_turn("turns"), (("question_id", "persona"),), only_parents="personas"
    ),
    "characters": _Kind(
        "character", pl.format("{}: {}", "name", "persona"), (_PERSONA,), only_parents="personas"
    ),
    "dialogues_": _Kind(
        "dialogue",
        _take_turn("turns"),
        (("character_key", "character"), ("instruction_key", "instruction")),
    ),
    "curation": _Kind("example", _take_turn("messages", 1), (_DIALOGUE,)),
    "question_settings": _Kind(
        "settings", pl.col("settings").list.join(", "), (_PERSONA,), only_parents="personas"
    ),
    "question_texts": _Kind(
        "written questions",
        pl.format("{} for {}", "task", "persona"),
        (_PERSONA,),
        (("settings_key", "settings"),),
    ),
    "questions": _Kind(
        "question",
        pl.col("question"),
        (_PERSONA,),
        (_DIALOGUE, ("texts_key", "written questions")),
    ),
    "answers_": _Kind("answer", pl.col("answer"), (_QUESTION,), only_parents="questions"),
    "examples_": _Kind(
        "score examples",
        pl.col("examples").list.get(0, null_on_oob=True),
        (_QUESTION,),
        only_parents="questions",
    ),
    "judgements_": _Kind("judgement", _VERDICT, (("answer_key", "answer"),)),
    "calibration_": _Kind("calibration", _VERDICT),
    "attribution_": _Kind("attribution", _ATTRIBUTED, (("example_key", "example"),)),
    "abilities_": _Kind("ability", pl.format("{} {}: {}", "task", "metric", "value")),
}
"""By a node's name, or its beginning: ``answers_`` stands for ``answers_base`` and the like."""
