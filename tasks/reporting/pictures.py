"""Makes a vector picture part of the page: no ids that clash, no fixed size, the page's colours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup, escape

_BEFORE = re.compile(r"^.*?(?=<svg\b)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_GLOBAL_STYLE = re.compile(r"<style\b[^>]*>.*?</style>\s*", re.DOTALL)
_HEAD = re.compile(r"<svg\b[^>]*>")
_VIEW_BOX = re.compile(r'viewBox="[^"]*"')
_ID = re.compile(r'\bid="([^"]+)"')
_REFERENCE = re.compile(r'(href="#|url\(#)([^")]+)')


def embed_svg(svg: str, name: str, label: str, colours: Mapping[str, str] | None = None) -> Markup:
    """Return an SVG that we drew from numbers, fit to stand inside the page.

    A style sheet inside an SVG would hold for the whole page, so it goes; ids get the picture's
    ``name`` before them, as several pictures number theirs alike. ``colours`` says which colours
    of the drawing stand for which of the page's, for example ``#010101`` for ``var(--ink)``: so
    the picture follows the page into dark mode. ``label`` is what a screen reader says.
    """
    svg = _METADATA.sub("", _GLOBAL_STYLE.sub("", _BEFORE.sub("", svg)))
    svg = _REFERENCE.sub(rf"\g<1>{name}-\g<2>", _ID.sub(rf'id="{name}-\g<1>"', svg))
    for drawn, shown in (colours or {}).items():
        svg = svg.replace(drawn, shown)
    view = _VIEW_BOX.search(svg)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'class="{escape(name)}" role="img" aria-label="{escape(label)}" '
        f"{view.group() if view else ''}>"
    )
    return Markup(_HEAD.sub(lambda _: head, svg, count=1))
