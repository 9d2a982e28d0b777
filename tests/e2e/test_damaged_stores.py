"""Damages a finished store in six ways and proves that the next run makes anew that part alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest

from flows.control.display import watch
from flows.runs.store_care import verify_store
from infra.store.manifests import Manifest, read_tables
from infra.store.row_store import read_rows
from infra.store.storage import Storage
from tests.e2e.scripted import ScriptedWorld, Silent
from tests.e2e.test_pipeline import latest_states

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HALF = "personas.sample=12"
TABLES = (
    *("personas", "guesses", "instructions", "characters"),
    *("dialogues_generate", "dialogues_rewrite", "curation"),
)


class Heard(Silent):
    """Keeps what is told about nodes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def node_note(self, node: str, text: str) -> None:
        self.lines.append(f"{node}: {text}")


@dataclass
class Store:
    """Copy of a finished store, to be damaged and run again.

    ``rows`` are the tables as they were, of nodes of rows and of whole nodes.
    """

    world: ScriptedWorld
    root: Path
    rows: dict[str, pl.DataFrame] = field(default_factory=dict)

    def read_tables(self) -> dict[str, pl.DataFrame]:
        found = {}
        for stage in TABLES:
            manifest, storage = self.find(stage), Storage(str(self.root))
            if manifest.members is not None:
                found[stage] = read_rows(storage, manifest)
            else:
                for holds in ("accepted", "rejected"):
                    parts = [part for part in manifest.parts if part.holds == holds]
                    found[f"{stage} {holds}"] = read_tables(storage, parts)
        return found

    def find(self, stage: str) -> Manifest:
        return self.world.manifest(stage, self.root_key)

    def parts(self, stage: str) -> list[Path]:
        """Return the files of a stage that no other node of the store has, the largest first."""
        older = {part.path for part in self.world.manifest(stage, self.root_key, HALF).parts}
        own = [part.path for part in self.find(stage).parts if part.path not in older]
        files = [self.root / path for path in own]
        return sorted(files, key=lambda path: path.stat().st_size, reverse=True)

    def manifest_file(self, stage: str) -> Path:
        return self.root / self.find(stage).path

    @property
    def root_key(self) -> str:
        return f"storage.root={self.root}"

    def run(self) -> tuple[list[str], set[str]]:
        """Run again; return what was said about nodes, and which nodes were made."""
        heard = Heard()
        with watch(heard):
            self.world.run(self.root_key)
        made = {name for name, states in latest_states().items() if states[-1] != "Cached"}
        return heard.lines, made


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: str, ray_cluster: None
) -> ScriptedWorld:
    """A store that was made in two steps, so that a stage of rows has two parts."""
    world = ScriptedWorld.make(tmp_path_factory.mktemp("world"))
    world.run(HALF)
    world.run()
    return world


@pytest.fixture
def store(finished: ScriptedWorld, tmp_path: Path) -> Store:
    root = tmp_path / "store"
    shutil.copytree(finished.root, root)
    copy = Store(finished, root)
    copy.rows = copy.read_tables()
    assert all(table.height for name, table in copy.rows.items() if "rejected" not in name)
    return copy


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def check_again(store: Store, made: set[str], *said: str) -> None:
    """Run again: those nodes alone are made, each thing is said, and all tables are as before."""
    lines, remade = store.run()
    assert remade == made
    for words in said:
        assert [line for line in lines if re.search(words, line)], (words, lines)
    assert len(lines) == len(said), lines
    after = store.read_tables()
    assert after.keys() == store.rows.keys()
    for name, table in store.rows.items():
        assert after[name].equals(table), name
    assert store.run() == ([], set())
    assert verify_store(str(store.root), lambda _: None).sound


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(flip, "was changed"), (cut, "has .* bytes instead of"), (Path.unlink, "is gone")],
    ids=["flipped", "cut", "deleted"],
)
def test_of_a_stage_of_rows_one_part_is_made_anew(
    store: Store, spoil: Callable[[Path], None], why: str
) -> None:
    stage = "characters"
    (part,) = store.parts(stage)
    lost = pl.read_parquet(part).height
    spoil(part)
    check_again(store, {stage}, rf"^{stage}: .*{part.name} {why}.*made anew$")
    counts = store.find(stage).counts
    assert (counts.made, counts.reused) == (lost, store.rows[stage].height - lost)
    assert 0 < lost < store.rows[stage].height


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(flip, "was changed"), (cut, "has .* bytes instead of"), (Path.unlink, "is gone")],
    ids=["flipped", "cut", "deleted"],
)
def test_of_a_node_that_is_made_whole_nothing_else_is_made(
    store: Store, spoil: Callable[[Path], None], why: str
) -> None:
    stage = "curation"
    part = store.parts(stage)[0]
    spoil(part)
    check_again(store, {stage}, rf"^{stage}: .*{part.name} {why}.*{stage} is made anew$")


def test_swapped_parts_are_both_made_anew(store: Store) -> None:
    first, second = store.parts("characters")[0], store.parts("dialogues_rewrite")[0]
    away = first.with_suffix(".away")
    for source, target in ((first, away), (second, first), (away, second)):
        source.rename(target)
    made = {"characters", "dialogues_rewrite"}
    check_again(store, made, f"^characters: .*{first.name}", f"^dialogues_rewrite: .*{second.name}")


@pytest.mark.parametrize("stage", ["characters", "curation"])
def test_an_edited_manifest_is_written_again_from_the_rows(store: Store, stage: str) -> None:
    path = store.manifest_file(stage)
    plain = json.loads(path.read_text())
    plain["parts"] = plain["parts"][:1]
    plain["counts"]["accepted"] -= 1
    path.write_text(json.dumps(plain))
    why = "is not the manifest that was written"
    check_again(store, {stage}, f"^{stage}: .*{path.name} {why}")
    counts = store.find(stage).counts
    assert stage == "curation" or counts.made == 0


def test_the_manifest_of_another_node_is_no_proof(store: Store) -> None:
    path = store.manifest_file("personas")
    path.write_bytes(store.manifest_file("guesses").read_bytes())
    check_again(store, {"personas"}, f"^personas: .*{path.name} is not the manifest")


def test_an_old_export_in_the_place_of_the_new_is_replaced(store: Store) -> None:
    export = store.find("export")
    old = store.world.manifest("export", store.root_key, HALF)
    assert old.fingerprint != export.fingerprint
    files = [store.root / part.path for part in export.parts]
    before = {path: path.read_bytes() for path in files}
    named = {part.path.rsplit("/", 1)[-1]: part.path for part in old.parts}
    changed = []
    for path in files:
        data = (store.root / named[path.name]).read_bytes()
        if data != before[path]:
            path.write_bytes(data)
            changed.append(path.name)
    assert len(changed) > 1
    check_again(store, {"export"}, *(f"^export: .*/{name} .*is made anew$" for name in changed))
    assert {path: path.read_bytes() for path in files} == before
