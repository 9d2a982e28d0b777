"""Checks that the page says what the facts say, and that data is never markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from infra.paths import packaged_configs
from tasks.records import Turn
from tasks.reporting.page import (
    RejectGroup,
    ReportFacts,
    ShownDialogue,
    StageLine,
    render_report,
    spread,
)

NASTY = "<script>alert(1)</script> {{ 7 * 7 }} \"'&"


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


def read(facts: ReportFacts) -> Reader:
    template = (packaged_configs() / "templates" / "report.html.j2").read_text()
    reader = Reader()
    reader.feed(render_report(facts, template))
    return reader


def make_facts(text: str) -> ReportFacts:
    line = StageLine("characters", 1200, 1100, 100, 1300, 5000, 1000, 900, 2.0)
    shown = ShownDialogue(
        "k" * 32, "generate", text, text, text, text, (Turn("user", text), Turn("assistant", text))
    )
    return ReportFacts(
        title=text,
        fingerprint="f" * 32,
        demo_teacher=True,
        models=(text,),
        versions=(("ray", "1"),),
        stages=(line,),
        rejects=(RejectGroup("characters", "not_json", 100, (text,)),),
        dialogues=(shown,),
    )


def test_text_is_text_wherever_it_stands() -> None:
    plain, nasty = read(make_facts("calm")), read(make_facts(NASTY))
    assert nasty.tags == plain.tags
    assert "".join(nasty.text).count(NASTY) == "".join(plain.text).count("calm") >= 8


def test_the_page_needs_nothing_from_outside() -> None:
    assert read(make_facts("calm")).addresses == []


def test_it_shows_counts_yield_and_what_made_it() -> None:
    text = " ".join("".join(read(make_facts("calm")).text).split())
    for wanted in ("1,200", "1,100", "91.7%", "20%", "450", "three million parameters", "ray 1"):
        assert wanted in text


@pytest.mark.parametrize(("count", "wanted"), [(0, []), (2, [0, 5]), (3, [0, 3, 6]), (99, None)])
def test_spread_takes_evenly(count: int, wanted: list[int] | None) -> None:
    assert spread(list(range(10)), count) == (list(range(10)) if wanted is None else wanted)
