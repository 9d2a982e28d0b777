"""Checks that charts show the numbers they are given, in the page's colours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from markupsafe import Markup

from tasks.reporting.charts import FunnelBar, draw_attribution, draw_funnel, draw_scores

from .worlds import make_measure, make_measures


def read_texts(picture: Markup | None) -> list[str]:
    assert picture is not None
    root = ET.fromstring(picture)
    return ["".join(item.itertext()).strip() for item in root.iter() if item.tag.endswith("text")]


def test_scores_name_every_task_and_model() -> None:
    picture = draw_scores(make_measures(), "judge")
    texts = read_texts(picture)
    for wanted in ("PersonaScore", "Linguistic habits", "base", "tuned", "1", "5"):
        assert wanted in texts
    assert picture is not None
    assert picture.count("var(--series-0)") > 6 and picture.count("var(--series-1)") > 6


def test_attribution_marks_chance() -> None:
    texts = read_texts(draw_attribution(make_measures()))
    assert {"random candidates", "alike candidates", "chance", "base", "tuned"} <= set(texts)


def test_the_funnel_writes_counts() -> None:
    bars = [FunnelBar("personas", 1200, 30), FunnelBar("dialogues", 24_000, 0)]
    texts = read_texts(draw_funnel(bars))
    assert {"personas", "1,200", "24,000", "accepted", "rejected"} <= set(texts)
    assert draw_funnel([FunnelBar("personas", 0, 0)]) is not None


def test_colours_are_the_pages_and_nothing_is_painted_behind() -> None:
    pictures = [
        draw_scores(make_measures(), "judge"),
        draw_attribution(make_measures()),
        draw_funnel([FunnelBar("personas", 5, 2)]),
    ]
    for picture in pictures:
        assert picture is not None
        assert re.findall(r"#[0-9a-f]{6}\b", picture) == []
        assert "var(--ink)" in picture and "<image" not in picture


def test_the_same_numbers_give_the_same_picture() -> None:
    assert draw_scores(make_measures(), "judge") == draw_scores(make_measures(), "judge")


def test_there_is_no_chart_of_nothing() -> None:
    assert draw_scores([], "judge") is None
    assert draw_scores(make_measures(), "nobody") is None
    assert draw_attribution([make_measure("words", "base", 3.0)]) is None
    assert draw_funnel([]) is None


def test_unknown_means_and_names_with_dollars_are_drawn_as_they_are() -> None:
    measures = [
        make_measure("persona_score", "a$b$c", None, judge="j"),
        make_measure("persona_score", "a$b$c", 3.0, judge="j", task="x", low=None, high=None),
        make_measure("persona_score", "<b>", 9.0, judge="j", width=9.0),
    ]
    assert {"a$b$c", "<b>"} <= set(read_texts(draw_scores(measures, "j")))
