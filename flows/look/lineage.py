"""Walks from any row of a run to all it came from, and to all that came from it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import polars as pl
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from flows.look.row_index import Row, RowIndex, Status, list_rows, read_index, read_texts
from flows.recipe.graph import build_graph
from flows.recipe.opening import open_context
from flows.recipe.settings import Settings
from infra.context import Quiet
from infra.errors import ConfigError, Problem
from infra.store.manifests import NodeRef
from infra.store.storage import Storage

SHOWN_ROWS = 12
"""Rows of one node that are shown below one row; the others are counted."""

_LEAST_DIGITS = 6
_MOST_CANDIDATES = 10
_TEXT_CHARS = 600
_LABEL_CHARS = 110

Links = dict[Row, tuple[Row, ...]]


class Branch(BaseModel):
    """Row in the tree, with the rows it leads to.

    Attributes:
        status: ``absent`` is a row that another one names and that no node of the run holds.
        repeated: Its own branches are shown where it stands first.
        more: By node, how many rows it leads to beyond those shown.
    """

    model_config = ConfigDict(frozen=True)

    kind: str
    key: str
    node: str
    status: Status
    text: str
    repeated: bool = False
    more: dict[str, int] = {}
    branches: tuple[Branch, ...] = ()


class Lineage(BaseModel):
    """A row, all it came from and all that came from it.

    ``more`` counts, by node, the row's own descendants that are not shown; nodes that are
    ``unfinished`` were not searched.
    """

    model_config = ConfigDict(frozen=True)

    row: Branch
    came_from: tuple[Branch, ...]
    gave: tuple[Branch, ...]
    more: dict[str, int]
    unfinished: tuple[str, ...]


def show_lineage(
    settings: Settings, given: str, *, as_json: bool = False, limit: int = SHOWN_ROWS
) -> None:
    """Print the lineage of a row, as a tree or as JSON."""
    with open_context(settings, Quiet()) as context:
        graph = build_graph(settings, context)
        done = graph.references()
        found = trace_lineage(
            context.storage,
            done,
            given,
            limit=limit,
            unfinished=[node.name for node in graph if node.name not in done],
        )
    if as_json:
        print(found.model_dump_json())
    else:
        print_lineage(found, Console(highlight=False))


def trace_lineage(
    storage: Storage,
    done: Mapping[str, NodeRef],
    given: str,
    *,
    limit: int = SHOWN_ROWS,
    unfinished: Sequence[str] = (),
) -> Lineage:
    """Find a row by its key, or the beginning of it, and walk both ways.

    Raises :class:`ConfigError` with candidates when no row, or more than one, begins so.
    """
    index = read_index(storage, done)
    start = _find_row(index, given, unfinished)
    above = _climb(index, start)
    below, more = _descend(index, start, limit)
    shown = {start}.union(*above.values(), *below.values())
    texts = read_texts(storage, index, shown)
    climbed, descended = {start}, {start}
    return Lineage(
        row=_make_branch(start, texts),
        came_from=tuple(_grow(row, above, {}, texts, climbed) for row in above[start]),
        gave=tuple(_grow(row, below, more, texts, descended) for row in below[start]),
        more=more.get(start, {}),
        unfinished=tuple(unfinished),
    )


def print_lineage(found: Lineage, console: Console) -> None:
    """Print a lineage as a tree."""
    tree = Tree(_label(found.row, _TEXT_CHARS), guide_style="dim")
    above = tree.add(_title("came from", found.came_from))
    below = tree.add(_title("gave", found.gave))
    _hang(above, found.came_from, {})
    _hang(below, found.gave, found.more)
    console.print(tree)
    if found.unfinished:
        text = f"not searched, because not finished: {', '.join(found.unfinished)}"
        console.print(Text(text, style="dim"))


def _find_row(index: RowIndex, given: str, unfinished: Sequence[str]) -> Row:
    wanted = given.strip().lower()
    where = f"ID {given.strip()[:40]}"
    if not re.fullmatch(rf"[0-9a-f]{{{_LEAST_DIGITS},32}}", wanted):
        what = "is not the key of a row, which is 32 hex digits"
        raise ConfigError(Problem(where, what, f"give it, or its first {_LEAST_DIGITS} or more"))
    found = _begin_with(index, wanted)
    if len(found) == 1:
        return found[0]
    if found:
        what = f"is how {_count(found)} begin: {_list_candidates(found)}"
        raise ConfigError(Problem(where, what, "give more digits"))
    near = _begin_with(index, wanted[: _LEAST_DIGITS - 2])
    what = "no row of this run begins so"
    if near:
        what += f"; these are nearest: {_list_candidates(near)}"
    if unfinished:
        what += f" (not searched, because not finished: {', '.join(unfinished)})"
    todo = "`opencharacter show CONFIG characters`, dialogues or rejects print keys"
    raise ConfigError(Problem(where, what, todo))


def _begin_with(index: RowIndex, prefix: str) -> list[Row]:
    """Return the rows whose keys begin so, one more than are listed at most."""
    found = index.homes.filter(pl.col("key").str.starts_with(prefix))
    return list_rows(found.head(_MOST_CANDIDATES + 1))


def _count(rows: Sequence[Row]) -> str:
    return (
        f"more than {_MOST_CANDIDATES} rows"
        if len(rows) > _MOST_CANDIDATES
        else (f"{len(rows)} rows")
    )


def _list_candidates(rows: Sequence[Row]) -> str:
    named = [f"{row.key} ({row.kind}, {row.node})" for row in rows[:_MOST_CANDIDATES]]
    return ", ".join(named) + ("…" if len(rows) > _MOST_CANDIDATES else "")


def _climb(index: RowIndex, start: Row) -> Links:
    """Return the parents of a row and of all its ancestors."""
    links: Links = {}
    frontier = [start]
    while frontier:
        named = index.edges.join(_frame(frontier), on=["node", "key"], how="semi")
        homes = index.find(named["parent"].to_list())
        parents: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
        for node, key, link, parent in named.sort("link", "parent").iter_rows():
            absent = Row("", parent, link, "absent")
            parents[node, key].append(homes.get(parent, absent))
        for row in frontier:
            links[row] = tuple(dict.fromkeys(parents[row.node, row.key]))
        above = dict.fromkeys(row for child in frontier for row in links[child])
        frontier = [row for row in above if row not in links and row.status != "absent"]
    return links


def _descend(index: RowIndex, start: Row, limit: int) -> tuple[Links, dict[Row, dict[str, int]]]:
    """Return the children of a row and of its descendants, and how many were left out by node."""
    links: Links = {}
    more: dict[Row, dict[str, int]] = {}
    frontier = [start]
    while frontier:
        homes = index.find(row.key for row in frontier)
        # A rejection under another row's key is nobody's parent: that other row is.
        parents = {row.key: row for row in frontier if homes.get(row.key) == row}
        found = (
            index.edges.filter(pl.col("parent").is_in(list(parents)))
            .join(index.rows, on=["node", "key"])
            .unique(["parent", "node", "key"], maintain_order=True)
            .sort("order", "key")
        )
        place = pl.int_range(pl.len()).over("parent", "node")
        children: defaultdict[Row, list[Row]] = defaultdict(list)
        kept = found.filter(place < limit)
        for parent, row in zip(kept["parent"].to_list(), list_rows(kept), strict=True):
            children[parents[parent]].append(row)
        left = (
            found.group_by("parent", "node", maintain_order=True)
            .len()
            .filter(pl.col("len") > limit)
        )
        for parent, node, count in left.iter_rows():
            more.setdefault(parents[parent], {})[node] = count - limit
        for row in frontier:
            links[row] = tuple(children[row])
        below = dict.fromkeys(row for parent in frontier for row in links[parent])
        frontier = [row for row in below if row not in links]
    return links, more


def _frame(rows: Iterable[Row]) -> pl.DataFrame:
    pairs = [(row.node, row.key) for row in rows]
    return pl.DataFrame(pairs, schema={"node": pl.String, "key": pl.String}, orient="row")


def _grow(
    row: Row,
    links: Links,
    more: Mapping[Row, dict[str, int]],
    texts: Mapping[Row, str],
    seen: set[Row],
) -> Branch:
    """Build a branch; a row met before is named again, and not followed again."""
    branch = _make_branch(row, texts)
    further = links.get(row, ())
    if row in seen:
        return branch.model_copy(update={"repeated": bool(further)})
    seen.add(row)
    branches = tuple(_grow(item, links, more, texts, seen) for item in further)
    return branch.model_copy(update={"branches": branches, "more": more.get(row, {})})


def _make_branch(row: Row, texts: Mapping[Row, str]) -> Branch:
    text = "not among the rows of this run" if row.status == "absent" else texts.get(row, "")
    return Branch(
        kind=row.kind,
        key=row.key,
        node=row.node,
        status=row.status,
        text=text if len(text) <= _TEXT_CHARS else f"{text[:_TEXT_CHARS]}…",
    )


def _title(name: str, branches: Sequence[Branch]) -> Text:
    return Text(name if branches else f"{name} nothing in this run", style="bold")


def _hang(tree: Tree, branches: Iterable[Branch], more: Mapping[str, int]) -> None:
    for branch in branches:
        _hang(tree.add(_label(branch, _LABEL_CHARS)), branch.branches, branch.more)
    for node, count in more.items():
        tree.add(Text(f"and {count:,} more of {node}", style="dim"))


def _label(branch: Branch, most: int) -> Text:
    label = Text(f"{branch.kind} ", style="cyan")
    label.append(branch.key, style="bold")
    label.append(f" {branch.node}", style="dim")
    if branch.status == "rejected":
        label.append(" rejected", style="red")
    if branch.repeated:
        label.append(" (as above)", style="dim")
    return label.append(f"\n{_make_short(branch.text, most)}", style="default")


def _make_short(text: str, most: int) -> str:
    """Return a text as one line, without the characters that could steer a terminal."""
    line = "".join(char for char in " ".join(text.split()) if char.isprintable())
    return line if len(line) <= most else f"{line[:most]}…"
