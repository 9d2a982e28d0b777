"""Escapes text for Markdown, so that a persona can never become markup.

Characters with a meaning are written as character references: CommonMark (section 2.5) takes
those as text and never as structure, in tables, lists and headings alike.
"""

from __future__ import annotations

import re

_MEANINGFUL = re.compile(r"[&<>`*_\[\]|\\~$]")
_LINE_BREAK = re.compile(r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_UNSEEN = re.compile(r"[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u202a-\u202e\u2066-\u2069]")
_LEADING = re.compile(r"^(\s*)([-+=#]|\d+[.)])")


def escape_markdown(text: str) -> str:
    """Return a text as inline Markdown of the same meaning; line breaks become ``<br>``.

    Control characters and bidirectional overrides, which could reorder what follows, become the
    replacement character.
    """
    lines = _LINE_BREAK.split(_UNSEEN.sub("\ufffd", text.strip()))
    return "<br>".join(_escape_line(line) for line in lines)


def _escape_line(line: str) -> str:
    escaped = _MEANINGFUL.sub(lambda found: f"&#{ord(found.group())};", line)
    return _LEADING.sub(lambda found: found[1] + found[2][:-1] + f"&#{ord(found[2][-1])};", escaped)
