"""Rates pairs of answers in a headless Chromium, by keyboard, up to the win rate in the report."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from infra.nodes.rows import StoredRows
from infra.store.storage import Storage
from tasks.evaluation.config import EvaluationConfig, JudgeConfig
from tasks.evaluation.judging.preferences import read_preferences
from tasks.evaluation.measures.score_table import Inputs, ScoreTable, make_score_table
from tasks.records import Answer
from tasks.reporting.assembly import assemble_pairs
from tasks.reporting.config import ReportConfig
from tasks.reporting.page import render_pairs
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.win_rates import build_win_rate_tables
from tasks.reporting.templates import read_templates
from tests.e2e.chromium import Page
from tests.unit.reporting.worlds import NASTY, write_evaluation

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HOSTILE = f"{NASTY} <img src=x onerror=alert(2)> <svg onload=alert(3)>"
CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13}
VOTES = ("ArrowLeft", "ArrowRight", "t", "ArrowLeft", "ArrowRight")


class World:
    """Is a run's answers and verdicts, and the page of their pairs."""

    def __init__(self, folder: Path) -> None:
        storage = Storage(str(folder / "store"))
        references = write_evaluation(storage, people=20, persona=HOSTILE)
        nodes = RunNodes(storage, references)
        facts = assemble_pairs(nodes, ReportConfig(pairs=40), "f" * 32)
        assert facts is not None
        path = folder / "side_by_side.html"
        path.write_text(render_pairs(facts, read_templates("templates/report")), encoding="utf-8")
        self.address = path.as_uri()
        self.answers = {row.key: row for row in nodes.read_rows(Answer, "answers_")}
        self.storage = storage
        self.made = [item for item in references if item.stage.startswith(("answers", "judge"))]

    def score(self, sheet: Path) -> ScoreTable:
        """Make the score table of the run, with a sheet under ``evaluation.people``."""
        config = EvaluationConfig(judges=(JudgeConfig(),), people=(str(sheet),), resamples=100)
        nodes: list[Any] = [
            SimpleNamespace(
                kind=item.stage.partition("_")[0],
                parameters={"model": item.stage.rpartition("_")[2]},
                reference=item,
            )
            for item in self.made
        ]
        return make_score_table(config, Inputs.read(StoredRows(self.storage), config, nodes))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("pairs"))


@pytest.fixture
def page(browser: Page, world: World) -> Page:
    """The page of pairs, opened anew by somebody who rated nothing yet."""
    browser.start_anew()
    browser.open(world.address)
    browser.evaluate("localStorage.clear()")
    return reload(browser, world)


def reload(page: Page, world: World) -> Page:
    page.open("about:blank")
    page.open(world.address)
    return page


def press(page: Page, *keys: str) -> None:
    for key in keys:
        named: dict[str, Any] = {
            "key": key,
            "windowsVirtualKeyCode": CODES.get(key, ord(key[0].upper())),
        }
        if len(key) == 1:
            named["text"] = key
        page.call("Input.dispatchKeyEvent", type="keyDown", **named)
        page.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def say(page: Page, element: str) -> str:
    told: str = page.evaluate(f"document.getElementById({element!r}).textContent")
    return told


def list_pressed(page: Page) -> list[str]:
    found: list[str] = page.evaluate(
        """[...document.querySelectorAll('.vote [aria-pressed="true"]')].map(item => item.id)"""
    )
    return found


def name_rater(page: Page, name: str) -> None:
    page.evaluate(
        f"""(() => {{
            const box = document.getElementById("rater");
            box.value = {name!r};
            box.dispatchEvent(new Event("change"));
        }})()"""
    )


def choose(page: Page, element: str, place: int) -> None:
    page.evaluate(
        f"""(() => {{
            const box = document.getElementById({element!r});
            box.selectedIndex = {place};
            box.dispatchEvent(new Event("change"));
        }})()"""
    )


def save(page: Page, folder: Path) -> Path:
    """Press the button that saves the ratings, and return the file that comes."""
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.evaluate("document.getElementById('save').click()")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := [path for path in folder.glob("*.csv") if path.stat().st_size]:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("nothing was saved")


def test_five_pairs_rated_by_keyboard_become_a_win_rate(
    page: Page, world: World, tmp_path: Path
) -> None:
    name_rater(page, "Ana Ruiz")
    asked = []
    for vote in VOTES:
        asked.append(say(page, "question"))
        press(page, vote, "j")
    assert say(page, "told") == "Pair 6 of 40; 5 rated."

    reload(page, world)
    assert page.evaluate("document.getElementById('rater').value") == "Ana Ruiz"
    assert say(page, "told") == "Pair 6 of 40; 5 rated."
    press(page, "k", "p")
    assert say(page, "told") == "Pair 4 of 40; 5 rated."
    assert say(page, "question") == asked[3] and list_pressed(page) == ["vote-left"]

    sheet = save(page, tmp_path)
    assert sheet.name == "ratings-Ana-Ruiz.csv"
    found = read_preferences([sheet], world.answers)
    assert [item.rater for item in found] == ["Ana Ruiz"] * 5
    assert all(item.blind for item in found)
    sides = {"ArrowLeft": "left", "ArrowRight": "right"}
    chosen = [
        getattr(item, sides[vote]) if vote in sides else ""
        for item, vote in zip(found, VOTES, strict=True)
    ]
    assert [item.preferred for item in found] == chosen
    assert [world.answers[item.left].question for item in found] == asked

    table = world.score(sheet)
    people, judge = table.win_rates
    models = [world.answers[key].model if key else "" for key in chosen]
    wins, losses = models.count("tuned"), models.count("base")
    assert (people.wins, people.ties, people.losses) == (wins, 1, losses)
    assert people.share == pytest.approx((wins + 0.5) / 5)
    assert judge.judge and judge.wins + judge.ties + judge.losses + judge.missing == 5
    (shown,) = build_win_rate_tables(table.win_rates)
    assert shown.rows[0].cells[0].text == f"{20 * wins + 10:.1f} %"
    assert page.problems == []


def test_models_and_scores_are_hidden_until_a_pair_is_rated_or_revealed(page: Page) -> None:
    def read_pair() -> str:
        text: str = page.evaluate("document.getElementById('pair').innerText")
        return text.replace("tuned and base", "")  # which two are compared is no secret

    def tells() -> bool:
        return any(word in read_pair() for word in ("tuned", "base", "judge:"))

    assert not tells() and say(page, "left-head") == "Left"
    press(page, "t")
    assert tells() and list_pressed(page) == ["vote-tie"]
    press(page, "j")
    assert not tells()
    press(page, "r")
    assert tells() and list_pressed(page) == []
    press(page, "j", "k")
    assert tells()  # it stays revealed


def test_a_rating_after_a_reveal_is_saved_as_not_blind(
    page: Page, world: World, tmp_path: Path
) -> None:
    press(page, "r")
    reload(page, world)
    press(page, "ArrowLeft", "j", "ArrowRight", "j", "t", "x", "j", "ArrowLeft", "ArrowRight")
    found = read_preferences([save(page, tmp_path)], world.answers)
    assert [item.blind for item in found] == [False, True, False]
    assert [item.rater for item in found] == ["ratings"] * 3
    assert found[2].preferred == found[2].right


def test_ratings_lie_under_the_raters_name(page: Page) -> None:
    press(page, "t")
    name_rater(page, "Ana")
    assert say(page, "told").endswith("; 1 rated.")  # what was rated before there was a name
    name_rater(page, "Ben")
    assert say(page, "told") == "Pair 1 of 40; 0 rated."
    press(page, "ArrowLeft", "j", "ArrowLeft")
    name_rater(page, "Ana")
    assert say(page, "told") == "Pair 2 of 40; 1 rated."


def test_orders_sort_the_same_pairs_and_shuffled_is_first(page: Page) -> None:
    labels = page.evaluate("[...document.getElementById('order').options].map(item => item.value)")
    assert labels == [
        "shuffled, a fair sample", "scores of judge differ most", "lengths differ most",
        "shortest first",
    ]  # fmt: skip
    assert say(page, "fair") == ""
    choose(page, "order", 3)
    assert "extremes first" in say(page, "fair")
    lengths = []
    for _ in range(40):
        lengths.append(
            page.evaluate(
                "['left', 'right'].map(side => document.querySelector(`#${side} p`).textContent)"
                ".join(' ').split(/\\s+/).length"
            )
        )
        press(page, "j")
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]
    assert say(page, "told").startswith("Pair 40 of 40")


def test_keys_write_in_the_field_of_the_name_and_do_not_rate(page: Page) -> None:
    page.evaluate("document.getElementById('rater').focus()")
    press(page, "t", "j", "ArrowLeft", "Tab")
    assert page.evaluate("document.getElementById('rater').value") == "tj"
    assert say(page, "told") == "Pair 1 of 40; 0 rated."


def test_everything_has_a_name_that_can_be_read_out(page: Page) -> None:
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    named = {"button", "combobox", "textbox", "article", "region"}
    silent = [
        node["role"]["value"]
        for node in tree
        if not node.get("ignored")
        and node.get("role", {}).get("value") in named
        and not node.get("name", {}).get("value")
    ]
    assert silent == []
    names = {node.get("name", {}).get("value") for node in tree if not node.get("ignored")}
    assert {"Left", "Right", "Which answer is better", "Your name", "Order"} <= names
    press(page, "ArrowLeft")
    live = page.evaluate("document.getElementById('told').getAttribute('aria-live')")
    assert live == "polite" and say(page, "told").startswith("You prefer the left. Left is ")


def test_text_is_text_and_nothing_is_asked_for(page: Page, world: World) -> None:
    seen = ""
    for _ in range(40):
        seen += say(page, "persona")
        press(page, "t", "j")
    assert HOSTILE in seen
    assert page.evaluate("document.scripts.length") == 2
    assert page.evaluate("document.querySelectorAll('main script, main img, main svg').length") == 0
    assert [asked for asked in page.requests if asked not in ("about:blank", world.address)] == []
    assert page.problems == []


def test_a_formula_in_a_question_is_saved_as_text(page: Page, tmp_path: Path) -> None:
    name_rater(page, "=1+1")
    press(page, "t")
    sheet = save(page, tmp_path)
    assert sheet.name == "ratings-1-1.csv"
    (row,) = csv.DictReader(sheet.read_text(encoding="utf-8-sig").splitlines())
    assert row["rater"] == "'=1+1" and row["order"] == "shuffled, a fair sample"
    assert row["sheet"] == "report ffffffffffff, seed 0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(page: Page, scheme: str) -> None:
    """WCAG AA asks 4.5 to 1 for texts of ordinary size."""
    page.prefer(scheme)
    press(page, "ArrowLeft")
    low: list[Any] = page.evaluate(
        """(() => {
            const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
            const light = colour => numbers(colour).slice(0, 3).map(part => part / 255)
                .map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
                .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
            const ground = item => {
                for (; item; item = item.parentElement) {
                    const colour = getComputedStyle(item).backgroundColor;
                    if ((numbers(colour)[3] ?? 1) === 1) return colour;
                }
                return "rgb(255, 255, 255)";
            };
            return [...document.querySelectorAll("body *")].filter(item =>
                item.checkVisibility() && !item.disabled && !item.closest("button:disabled") &&
                [...item.childNodes].some(node => node.nodeType === 3 && node.data.trim())
            ).map(item => {
                const [one, two] = [getComputedStyle(item).color, ground(item)].map(light);
                const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
                return [ratio, item.outerHTML.slice(0, 80)];
            }).filter(([ratio]) => ratio < 4.5);
        })()"""
    )
    assert low == []


def test_on_a_phone_nothing_hangs_over(page: Page) -> None:
    page.resize(390, 844, phone=True)
    press(page, "r")
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390


def test_pictures_of_it_are_light_and_dark(page: Page, tmp_path: Path) -> None:
    press(page, "ArrowLeft")
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        with Image.open(page.photograph(tmp_path / f"{scheme}.png", whole=True)) as picture:
            corner = picture.convert("L").tobytes()[0]
        assert corner > 200 if scheme == "light" else corner < 60
