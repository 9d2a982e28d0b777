"""Checks what becomes of an SVG that enters the page."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tasks.reporting.pictures import embed_svg

SVG = """<?xml version="1.0"?>
<!DOCTYPE svg>
<svg width="374pt" height="200pt" viewBox="0 0 374 200" version="1.1">
 <metadata><rdf>made by</rdf></metadata>
 <defs><style type="text/css">*{stroke: red}</style><path id="m1" d="M0 0"/></defs>
 <g id="axes_1" clip-path="url(#p1)"><use xlink:href="#m1" style="fill: #010101"/></g>
</svg>"""


def test_it_is_a_whole_element_of_no_fixed_size() -> None:
    picture = embed_svg(SVG, "scores", "a < b")
    root = ET.fromstring(picture)
    assert root.get("viewBox") == "0 0 374 200"
    assert root.get("width") is None
    assert (root.get("role"), root.get("aria-label")) == ("img", "a < b")


def test_its_ids_are_its_own_and_its_styles_hold_nowhere_else() -> None:
    picture = embed_svg(SVG, "scores", "x")
    assert 'id="scores-m1"' in picture and 'href="#scores-m1"' in picture
    assert "url(#scores-p1)" in picture and 'id="scores-axes_1"' in picture
    assert "<style" not in picture and "metadata" not in picture


def test_its_colours_become_the_pages() -> None:
    picture = embed_svg(SVG, "scores", "x", {"#010101": "var(--ink)"})
    assert "fill: var(--ink)" in picture and "#010101" not in picture
