"""Reads the report in a headless Chromium, with twenty thousand rows behind it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from infra.store.storage import Storage
from tasks.records import Attribution
from tasks.reporting.assembly import assemble_report
from tasks.reporting.config import ReportConfig
from tasks.reporting.page import render_report
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.overview import ModelLine, RunFacts
from tasks.reporting.templates import read_templates
from tests.e2e.chromium import Page
from tests.unit.reporting.worlds import NASTY, make_persona_text, write_node, write_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PEOPLE = 4_000
"""A character, two dialogues, a question and two answers each: 20,000 rows."""

HOSTILE = f"{NASTY} <img src=x onerror=alert(2)> <svg onload=alert(3)>"
ALL = ReportConfig(characters=None, dialogues=None, answers=None, usd_per_engine_hour=2.5)
RUN = RunFacts(
    fingerprint="3f9c" * 8,
    demo=True,
    models=(ModelLine("base", "tiny", "vllm"), ModelLine("teacher", "larger", "endpoint")),
    versions=(("ray", "2.60.0"), ("torch", "2.13.0")),
    config_text="storage:\n  root: data/demo\n",
)


def write_page(folder: Path, people: int) -> Path:
    storage = Storage(str(folder / "store"))
    trials = [
        write_node(storage, f"attribution_{model}", Attribution, []) for model in ("base", "tuned")
    ]
    made = write_run(storage, people, each=1, persona=HOSTILE)
    nodes = RunNodes(storage, [*made, *trials])
    facts = assemble_report(nodes, ALL, RUN)
    path = folder / "report.html"
    path.write_text(render_report(facts, read_templates(ALL.template)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_page(tmp_path_factory.mktemp("report"), PEOPLE).as_uri()


@pytest.fixture
def page(browser: Page, address: str) -> Page:
    """The report, opened anew at the size of a desk."""
    browser.start_anew()
    browser.open("about:blank")
    browser.open(address)
    return browser


def read_cards(page: Page) -> list[str]:
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#cards > article')].map(card => card.textContent)"
    )
    return found


def choose_tab(page: Page, name: str) -> None:
    page.evaluate(f"document.getElementById('tab-{name}').click()")


def search(page: Page, words: str) -> float:
    """Type words into the search box; return what the page took to answer, in milliseconds."""
    took: float = page.evaluate(
        f"""(() => {{
            const box = document.getElementById("words");
            box.value = {json.dumps(words)};
            const began = performance.now();
            box.dispatchEvent(new Event("input"));
            return performance.now() - began;
        }})()"""
    )
    return took


def select(page: Page, name: str, value: str) -> None:
    page.evaluate(
        f"""(() => {{
            const box = document.querySelector('#filters select[name="{name}"]');
            box.value = {json.dumps(value)};
            box.dispatchEvent(new Event("change"));
        }})()"""
    )


def click_link(page: Page, text: str) -> None:
    """Click the first link of the cards that says so."""
    page.evaluate(
        f"""(async () => {{
            const links = [...document.querySelectorAll("#cards a")];
            const moved = new Promise(done => addEventListener("hashchange", done, {{once: true}}));
            links.find(link => link.textContent.includes({json.dumps(text)})).click();
            await moved;
        }})()"""
    )


def found(page: Page) -> str:
    told: str = page.evaluate("document.getElementById('found').textContent")
    return told


def test_it_opens_at_once_and_holds_few_cards(page: Page, address: str) -> None:
    began = time.monotonic()
    page.open("about:blank")
    page.open(address)
    took = time.monotonic() - began
    ready = page.evaluate("performance.getEntriesByName('rows-ready')[0].duration")
    size = Path(address.removeprefix("file://")).stat().st_size / 2**20
    print(f"{size:.1f} MiB opened in {took:.2f} s, rows ready in {ready:.0f} ms")
    assert took < 15
    assert 0 < len(read_cards(page)) <= 50
    assert page.evaluate("document.querySelectorAll('*').length") < 6_000
    assert found(page) == (
        "4,000 of 4,000 questions match; 8,000 of the run's 8,000 answers are in this page."
    )


def test_search_is_quick_and_right(page: Page) -> None:
    times = {}
    for name, noun in (("characters", "characters"), ("dialogues", "dialogues"), ("answers", "")):
        choose_tab(page, name)
        for words in ("goats winter", "kyoto poet", "zebra", "3 months of nothing", "a"):
            times[f"{name}: {words}"] = search(page, words)
        if noun:
            search(page, "zebra")
            assert found(page).startswith(f"0 of {'8,000' if noun == 'dialogues' else '4,000'}")
    print({name: f"{took:.0f} ms" for name, took in times.items()})
    assert max(times.values()) < 300
    choose_tab(page, "characters")
    search(page, "KYOTO  boastful")
    cards = read_cards(page)
    assert cards and all("Kyoto" in card and "boastful" in card.lower() for card in cards)
    assert page.evaluate("performance.getEntriesByName('rows-search').length") >= len(times)


def test_filters_keep_what_fits(page: Page) -> None:
    choose_tab(page, "dialogues")
    select(page, "strategy", "rewrite")
    assert found(page).startswith("4,000 of 8,000 dialogues")
    select(page, "corpus", "alpaca")
    assert all("rewrite" in card and "alpaca" in card for card in read_cards(page))
    choose_tab(page, "answers")
    select(page, "task", "Linguistic habits")
    assert found(page).startswith("800 of 4,000 questions")
    select(page, "score", "missing")
    cards = read_cards(page)
    assert cards and all("no verdict" in card and "Linguistic habits" in card for card in cards)
    select(page, "model", "base")
    select(page, "score", "high")
    assert found(page).startswith("0 of 4,000")  # the base never gets there in this world


def test_pages_turn(page: Page) -> None:
    choose_tab(page, "characters")
    first = read_cards(page)
    page.evaluate("document.getElementById('later').click()")
    second = read_cards(page)
    assert len(first) == len(second) and not set(first) & set(second)
    assert page.evaluate("document.getElementById('place').textContent") == "26 to 50 of 4,000"
    page.evaluate("document.getElementById('earlier').click()")
    assert read_cards(page) == first
    assert page.evaluate("document.getElementById('earlier').disabled") is True


def test_every_answer_leads_to_its_dialogues_character_and_persona_and_back(page: Page) -> None:
    choose_tab(page, "answers")
    search(page, "f" + "0" * 28 + "123")  # the key of question 123
    (question,) = read_cards(page)
    assert "base" in question and "tuned" in question
    click_link(page, "Elsa Ruiz 123")
    (character,) = read_cards(page)
    assert make_persona_text(123) in question and make_persona_text(123) in character
    click_link(page, "2 dialogues")
    dialogues = read_cards(page)
    assert len(dialogues) == 2 and all("Elsa Ruiz 123" in card for card in dialogues)
    click_link(page, "1 question asked")
    assert read_cards(page) == [question]
    click_link(page, "the dialogue it is from")
    (dialogue,) = read_cards(page)
    assert dialogue in dialogues
    page.evaluate("new Promise(done => { addEventListener('hashchange', done); history.back(); })")
    assert read_cards(page) == [question]
    page.evaluate("document.getElementById('unfocus').click()")
    assert found(page).startswith("4,000 of 4,000")


def test_a_row_can_be_linked_to_from_outside(page: Page, address: str) -> None:
    key = "c" + "0" * 29 + "77"
    page.open("about:blank")
    page.open(f"{address}#browse/characters/id/{key}")
    (card,) = read_cards(page)
    assert key in card
    page.open("about:blank")
    page.open(f"{address}#browse/constructor/id/%E0%A4%A")
    assert len(read_cards(page)) > 1


def test_a_figure_leads_to_the_rows_it_came_from(page: Page) -> None:
    broken: list[str] = page.evaluate(
        """[...document.querySelectorAll('a[href^="#"]')].map(link => link.getAttribute("href"))
            .filter(href => !href.startsWith("#browse/") &&
                !document.getElementById(decodeURIComponent(href.slice(1))))"""
    )
    assert broken == []
    page.evaluate(
        """(async () => {
            const links = [...document.querySelectorAll("#results td a")];
            const moved = new Promise(done => addEventListener("hashchange", done, {once: true}));
            const wanted = link => /Linguistic.*base/.test(link.hash);
            links.find(wanted).click();
            await moved;
        })()"""
    )
    check_filtered(page)
    search(page, "zebra")
    select(page, "model", "tuned")
    for _ in range(2):
        page.evaluate(
            """(async () => {
                const links = [...document.querySelectorAll("#results td a")];
                links.find(link => /Linguistic.*base/.test(link.hash)).click();
                await new Promise(done => setTimeout(done, 50));
            })()"""
        )
        check_filtered(page)


def check_filtered(page: Page) -> None:
    chosen = page.evaluate(
        "[...document.querySelectorAll('#filters select')].map(select => select.value)"
    )
    assert chosen[:2] == ["Linguistic habits", "base"]
    assert found(page).startswith("800 of 4,000 questions")
    assert all("Linguistic habits" in card for card in read_cards(page))


def test_a_persona_is_text_whatever_it_holds(page: Page) -> None:
    for name in ("characters", "dialogues", "answers"):
        choose_tab(page, name)
        search(page, "onerror=alert(2)")
        cards = read_cards(page)
        assert cards and all(HOSTILE in card for card in cards), name
    assert page.evaluate("document.scripts.length") == 2
    assert (
        page.evaluate("document.querySelectorAll('#cards script, #cards img, #cards svg').length")
        == 0
    )
    assert page.problems == []


def test_nothing_is_asked_for_and_nothing_complains(page: Page, address: str) -> None:
    for name in ("characters", "dialogues", "answers"):
        choose_tab(page, name)
    page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
    assert [asked for asked in page.requests if asked not in ("about:blank", address)] == []
    assert page.problems == []


def test_on_a_phone_nothing_hangs_over(page: Page) -> None:
    page.resize(390, 844, phone=True)
    for name in ("characters", "dialogues", "answers"):
        choose_tab(page, name)
        page.evaluate("document.querySelectorAll('details').forEach(item => { item.open = true; })")
        assert page.evaluate("document.scrollingElement.scrollWidth") <= 390, name
    over: list[Any] = page.evaluate(
        """[...document.querySelectorAll("main *")].filter(item =>
            !item.closest(".scroll, svg, .tabs") && item.getBoundingClientRect().right > 391
        ).map(item => item.outerHTML.slice(0, 120))"""
    )
    assert over == []


def test_pictures_of_it_are_light_dark_and_narrow(page: Page, tmp_path: Path) -> None:
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        page.resize(1280, 900)
        desk = page.photograph(tmp_path / f"desk-{scheme}.png", whole=True)
        page.resize(390, 844, phone=True)
        phone = page.photograph(tmp_path / f"phone-{scheme}.png", whole=True)
        with Image.open(desk) as picture, Image.open(phone) as narrow:
            assert 1200 < picture.width <= 1280 and picture.height > 3_000
            assert 700 < narrow.width <= 780 and narrow.height > picture.height
            corner = picture.convert("L").tobytes()[0]
        assert corner > 200 if scheme == "light" else corner < 60
