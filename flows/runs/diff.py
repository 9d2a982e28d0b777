"""Says in what two runs differ: their knobs, their nodes, and the prompts behind the nodes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from flows.runs.history import NodeMark, RunRecord, find_record
from flows.runs.past_runs import find_run
from infra.store.manifests import Manifest, read_manifest
from infra.store.storage import Storage

_ABSENT = "(absent)"
_SHOWN_CHARS = 80


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class Change(_Plain):
    """Value that differs; texts of several lines come as a unified diff."""

    key: str
    before: str
    after: str
    diff: str = ""


class NodeDiff(_Plain):
    """Node that differs.

    Attributes:
        why: ``only in A``, ``only in B``, ``own knobs`` or ``what it reads``.
        changes: Of its identity and selection, as far as both manifests are there.
        upstream: The nodes it reads that differ.
    """

    node: str
    why: str
    changes: tuple[Change, ...] = ()
    upstream: tuple[str, ...] = ()
    note: str = ""


class RunDiff(_Plain):
    """Everything in which run B differs from run A."""

    a: str
    b: str
    knobs: tuple[Change, ...]
    versions: tuple[Change, ...]
    nodes: tuple[NodeDiff, ...]
    same_nodes: tuple[str, ...]


def diff_runs(run_a: str, run_b: str, root: str | None) -> RunDiff:
    """Compare two runs, given as for `compare`; ``name@id`` means an earlier start.

    Raises :class:`ConfigError` when there is no such run.
    """
    storage_a, name_a = find_run(f"RUN_A {run_a}", run_a, root)
    storage_b, name_b = find_run(f"RUN_B {run_b}", run_b, root)
    a = find_record(storage_a, name_a, f"RUN_A {run_a}")
    b = find_record(storage_b, name_b, f"RUN_B {run_b}")
    marks_a = {mark.stage: mark for mark in a.nodes}
    marks_b = {mark.stage: mark for mark in b.nodes}
    nodes = []
    same = []
    for stage in dict.fromkeys([*marks_a, *marks_b]):
        one, two = marks_a.get(stage), marks_b.get(stage)
        if one is None or two is None:
            nodes.append(NodeDiff(node=stage, why="only in B" if one is None else "only in A"))
        elif one.fingerprint == two.fingerprint:
            same.append(stage)
        else:
            nodes.append(_diff_node(storage_a, storage_b, one, two))
    return RunDiff(
        a=_name(storage_a, a),
        b=_name(storage_b, b),
        knobs=tuple(diff_values(_read_knobs(a), _read_knobs(b))),
        versions=tuple(diff_values(_list_versions(a), _list_versions(b))),
        nodes=tuple(nodes),
        same_nodes=tuple(same),
    )


def diff_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the leaves that differ between two trees of plain data, by dotted key."""
    one, two = dict(_flatten(before)), dict(_flatten(after))
    for key in sorted({*one, *two}):
        if key in one and key in two and one[key] == two[key]:
            continue
        old, new = (str(side[key]) if key in side else _ABSENT for side in (one, two))
        text = ""
        if "\n" in old or "\n" in new:
            lines = difflib.unified_diff(
                old.splitlines(), new.splitlines(), "A", "B", lineterm="", n=2
            )
            text = "\n".join(lines)
        yield Change(key=key, before=old, after=new, diff=text)


def print_diff(diff: RunDiff) -> str:
    """Return the differences as text for people."""
    lines = [f"A {diff.a}", f"B {diff.b}", ""]
    if not (diff.knobs or diff.nodes or diff.versions):
        return "\n".join([*lines, "no difference: the same knobs and the same nodes"])
    for title, changes in (("knobs", diff.knobs), ("versions", diff.versions)):
        if changes:
            lines += [f"{title}:", *_print_changes(changes, "  "), ""]
    causes = [node for node in diff.nodes if node.why != "what it reads"]
    follow = [node.node for node in diff.nodes if node.why == "what it reads"]
    if causes:
        lines.append("nodes:")
    for node in causes:
        told = f" ({node.note})" if node.note else ""
        lines += [f"  {node.node}: {node.why}{told}", *_print_changes(node.changes, "    ")]
    if follow:
        lines += ["", f"only what they read differs: {', '.join(follow)}"]
    if diff.same_nodes:
        lines += ["", f"the same in both: {', '.join(diff.same_nodes)}"]
    return "\n".join(lines)


def _diff_node(storage_a: Storage, storage_b: Storage, one: NodeMark, two: NodeMark) -> NodeDiff:
    before, after = _read(storage_a, one), _read(storage_b, two)
    if before is None or after is None:
        missing = " and ".join(
            side for side, found in (("A", before), ("B", after)) if found is None
        )
        own = "own knobs" if one.recipe != two.recipe else "selection or what it reads"
        return NodeDiff(node=one.stage, why=own, note=f"its manifest is not there in {missing}")
    changes = [
        *diff_values(before.identity, after.identity),
        *diff_values(before.selection, after.selection),
    ]
    upstream = tuple(
        name
        for name in dict.fromkeys([*before.upstream, *after.upstream])
        if before.upstream.get(name) != after.upstream.get(name)
    )
    # The recipe also hashes the stage's version, which no manifest holds.
    version = one.recipe != two.recipe and not list(diff_values(before.identity, after.identity))
    return NodeDiff(
        node=one.stage,
        why="own knobs" if changes or version else "what it reads",
        changes=tuple(changes),
        upstream=upstream,
        note="another version of the stage" if version else "",
    )


def _read(storage: Storage, mark: NodeMark) -> Manifest | None:
    try:
        return read_manifest(storage, mark.manifest)
    except FileNotFoundError:
        return None


def _read_knobs(record: RunRecord) -> dict[str, Any]:
    try:
        found = yaml.safe_load(record.config)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _list_versions(record: RunRecord) -> dict[str, str]:
    passing = ("made_at", "host")
    return {key: value for key, value in record.provenance.items() if key not in passing}


def _flatten(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a tree; a list of plain values is a leaf."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flatten(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, dict | list | str) for item in value):
        for number, inner in enumerate(value):
            yield from _flatten(inner, f"{key}[{number}]")
    else:
        yield key, value


def _print_changes(changes: tuple[Change, ...], indent: str) -> Iterator[str]:
    for change in changes:
        if change.diff:
            yield f"{indent}{change.key}:"
            yield from (f"{indent}  {line}" for line in change.diff.split("\n"))
        else:
            yield f"{indent}{change.key}: {_shorten(change.before)} → {_shorten(change.after)}"


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"


def _name(storage: Storage, record: RunRecord) -> str:
    start = "" if record.id == "summary" else f"@{record.id}"
    return f"{storage.url('runs')}/{record.run}{start}"
