"""Checks that the page says what the facts say, and that data is never markup."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markupsafe import Markup

from infra.errors import ConfigError
from infra.paths import packaged_configs
from tasks.reporting.page import ReportFacts, render_report
from tasks.reporting.sections.overview import RunFacts
from tasks.reporting.tables import Cell, Row, Table, name_columns
from tasks.reporting.templates import read_templates

from .worlds import NASTY

FOLDER = "templates/report"


class Reader(HTMLParser):
    """Collects the text, and the tags with their addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


def make_facts(text: str, rows: Markup | None = None) -> ReportFacts:
    table = Table(
        name_columns("node", "keys"),
        (Row(text, (Cell(text, note=text, hover=text, kind="key"),), note=text),),
        caption=text,
    )
    run = RunFacts("f" * 32, True, (), (("ray", "1"),), config_text=text)
    return ReportFacts(text, run, table, table, ((text, text),), rows=rows)


def render(facts: ReportFacts) -> str:
    return render_report(facts, read_templates(FOLDER))


def test_text_is_text_wherever_it_stands() -> None:
    plain, nasty = read(render(make_facts("calm"))), read(render(make_facts(NASTY)))
    assert nasty.tags == plain.tags
    assert "".join(nasty.text).count(NASTY) == "".join(plain.text).count("calm") >= 10


def test_the_page_needs_nothing_from_outside() -> None:
    page = render(make_facts("calm", Markup("{}")))
    assert all(address.startswith("#") for address in read(page).addresses)
    assert "default-src 'none'" in page


def test_the_page_allows_its_own_script_and_no_other() -> None:
    page = render(make_facts("calm", Markup("{}")))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert page.count("<script") == 2


def test_a_page_without_rows_has_no_script() -> None:
    page = render(make_facts("calm"))
    assert "<script" not in page and "three million parameters" in page


def test_a_page_of_nothing_has_no_sections_of_scores_or_training() -> None:
    page = render(make_facts("calm"))
    for section in ("results", "judges", "training", "cost", "browser"):
        assert f'id="{section}"' not in page
        assert f'href="#{section}"' not in page


def test_rows_stand_in_the_page_as_data() -> None:
    page = render(make_facts("calm", Markup(json.dumps({"a": 1}))))
    (found,) = re.findall(r'<script type="application/json" id="row-data">(.*?)</script>', page)
    assert json.loads(found) == {"a": 1}


@pytest.mark.parametrize("name", ["browser.js", "side_by_side.js"])
def test_no_script_writes_markup(name: str) -> None:
    script = (packaged_configs() / FOLDER / name).read_text(encoding="utf-8")
    code = "\n".join(line for line in script.split("\n") if not line.strip().startswith("//"))
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in code


def test_a_folder_that_is_no_template_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"report\.template: .*no page\.html\.j2, style\.css"):
        read_templates(str(tmp_path))
    (tmp_path / "page.html.j2").write_text("")
    with pytest.raises(ConfigError, match=r"has no style\.css, browser\.js"):
        read_templates(str(tmp_path))


def test_a_template_that_asks_for_what_is_not_there_is_a_config_error() -> None:
    templates = {**read_templates(FOLDER), "page.html.j2": "{{ facts.nothing }}"}
    with pytest.raises(ConfigError, match="does not render"):
        render_report(make_facts("calm"), templates)
