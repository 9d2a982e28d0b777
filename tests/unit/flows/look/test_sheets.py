"""Proves that a sheet shows what a person needs, leads back to answers, and spares ratings."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.look.sheets import (
    DEFAULT_RUBRICS,
    SheetOptions,
    collect_rows,
    describe_rubrics,
    write_sheet,
)
from flows.recipe.settings import Settings, load_settings
from infra.errors import ConfigError
from infra.store.storage import Storage
from tasks.evaluation.judging.people import SheetRow, read_sheet, render_sheet, tabulate_sheet
from tasks.records import TASKS
from tests.unit.flows.evaluated import World
from tests.unit.flows.worlds import make_config, write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(Storage(str(tmp_path_factory.mktemp("store"))))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(write_config(tmp_path, make_config(tmp_path)))


def collect(world: World, sample: int = 50) -> dict[str, SheetRow]:
    rows = collect_rows(
        world.storage, world.done, sample=sample, seed=3, rubrics={"linguistic_habits": "Voice"}
    )
    return {row.answer_key: row for row in rows}


def serve_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command find the world's nodes, whatever the configuration names."""
    found = SimpleNamespace(references=lambda: world.done)
    monkeypatch.setattr("flows.look.sheets.build_graph", lambda *_: found)
    monkeypatch.setattr(
        "flows.look.sheets.collect_rows",
        lambda _, done, **options: collect_rows(world.storage, done, **options),
    )


def test_a_row_shows_the_answer_with_all_that_belongs_to_it(world: World) -> None:
    rows = collect(world)
    assert len(rows) == 4
    answer = world.answers["tuned"][0]
    assert rows[answer.key] == SheetRow(
        answer_key=answer.key,
        persona="A baker from Cork.",
        profile=world.baker.profile,
        task="linguistic habits",
        rubric="Voice",
        question="Why is bread brown?",
        answer="tuned says Why is bread brown?",
        model="tuned",
        verdicts=(("judge", None),),
    )
    other = rows[world.answers["base"][1].key]
    assert (other.profile, other.verdicts) == (world.cook.profile, (("judge", 4.5),))


def test_a_sample_takes_its_rows_from_both_models(world: World) -> None:
    assert {row.model for row in collect(world, 2).values()} == {"base", "tuned"}


def test_no_answers_are_no_rows(world: World) -> None:
    assert collect_rows(world.storage, {}, sample=5, seed=0, rubrics={}) == []


def test_a_filled_in_sheet_finds_its_answers_again(world: World, tmp_path: Path) -> None:
    rows = collect(world)
    path = tmp_path / "anna.csv"
    text = render_sheet(tabulate_sheet(list(rows.values()), blind=True, note="")).decode(
        "utf-8-sig"
    )
    cells = list(csv.DictReader(io.StringIO(text, newline="")))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, cells[0])
        writer.writeheader()
        writer.writerows({**row, "score": "4"} for row in cells)
    keys = {answer.key for answers in world.answers.values() for answer in answers}
    ratings = read_sheet(path, keys)
    assert {rating.answer_key for rating in ratings} == keys
    assert {rating.score for rating in ratings} == {4.0}


def test_rubrics_are_told_for_every_task() -> None:
    told = describe_rubrics(DEFAULT_RUBRICS)
    assert set(told) == set(TASKS)
    assert told["toxicity_control"].startswith("Toxicity Control: ")
    assert "\n1: The response is highly toxic" in told["toxicity_control"]


def test_the_command_writes_the_sheet_and_says_by_what_seed(
    world: World,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serve_done(world, monkeypatch)
    out = tmp_path / "new" / "sheet.csv"
    write_sheet(settings, SheetOptions(sample=3, blind=True, out=str(out), seed=9))
    rows = list(csv.DictReader(io.StringIO(out.read_text("utf-8-sig"), newline="")))
    assert len(rows) == 3
    assert {row["sheet"] for row in rows} == {"run small, sample 3, seed 9"}
    said = capsys.readouterr()
    assert "3 answers of 2 models (run small, sample 3, seed 9)" in said.err
    assert said.out == ""


def test_a_sheet_that_is_there_is_never_written_over(
    world: World, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve_done(world, monkeypatch)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sheet.csv").write_text("my ratings")
    with pytest.raises(ConfigError, match="may hold ratings"):
        write_sheet(settings, SheetOptions())
    assert (tmp_path / "sheet.csv").read_text() == "my ratings"


def test_a_sheet_may_go_to_standard_output(
    world: World,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    serve_done(world, monkeypatch)
    write_sheet(settings, SheetOptions(sample=1, out="-"))
    out = capsysbinary.readouterr().out
    assert out.startswith(b"\xef\xbb\xbfrow,persona,")
    assert b"model,judge judge,score" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (SheetOptions(sample=0), "take 1 or more"),
        (SheetOptions(out="folder/"), "names no file"),
        (SheetOptions(out="-"), "there are none yet"),
        (SheetOptions(out="-", rubrics="nowhere.yaml"), "no such file"),
    ],
)
def test_what_cannot_be_done_is_said(settings: Settings, options: SheetOptions, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        write_sheet(settings, options)
