"""Leaves out of a text what is not prose: code, formulas, tables, rules.

What is looked for in prose – loops, template marks, broken text – is everyday life in code: equal
lines, ``</s>``, ``{{ user }}``, rows of symbols.
"""

from __future__ import annotations

import re
from functools import lru_cache

_FENCED = re.compile(r"```.*?(?:```|\Z)|^~~~.*?(?:^~~~|\Z)", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_INLINE = re.compile(r"(`{1,2})(?!`)[^\n]*?[^`\n]\1(?!`)")
_FORMULA = re.compile(
    r"\$\$.{0,800}?\$\$|\\\[.{0,800}?\\\]|\\\(.{0,400}?\\\)"
    r"|\\begin\{(\w{1,20}\*?)\}.{0,4000}?\\end\{\1\}"
    r"|\$(?=\S)[^$\n]{0,200}[\\^_={}][^$\n]{0,200}(?<=\S)\$",
    re.DOTALL,
)
_ADDRESS = re.compile(r"\b(?:https?://|www\.)\S+")
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]{0,300}>|\]\([^()\n]{1,300}\)")
_RULE = re.compile(r"[\s|+:=_*~#.\-\u2013\u2014\u2500-\u257f]*")
_CODE_SIGN = re.compile(r"[{}()\[\]<>;:=*]")
"""What every line of code below has somewhere."""

_CODE_LINE = re.compile(
    r"[{};]\s*(?://.*|#.*)?$|^\s*(?:[})\]]+[;,]?|<[/!]?[a-z][^>\n]*>.*|[-+@$>]{1,3}\s*\w+\(.*)$"
    r"|^\s*(?:def|class|import|from|for|while|if|elif|else|return|print|try|except|func|fn|var|let"
    r"|const|public|private|static|void|int|#include|#!|SELECT|INSERT|UPDATE|FROM|WHERE|echo|sudo"
    r"|pip|npm|git)\b[^.!?]*(?:[:;(){}\[\]=<>]|::|\s\*\s)"
    r"|^\s*[\w.\[\]'\"]+\s*(?:[-+*/|&:]?=|=>|->|:=)\s*\S|\w\([^()\n]*\)\s*$|^\s{4,}\S.*[=(){}\[\]]"
)

SIGNS = (
    r"[`$\\\t]|~~~|://|www\.|</?[a-zA-Z]|\]\(|\|[^\n]*\|"
    r"|(?m:^)[ |+:=_*~#.\-\u2013\u2014]*[|+:=_*~#.\-\u2013\u2014][ |+:=_*~#.\-\u2013\u2014]*(?m:$)"
    r"|[{};] *(?:(?m:$)|//|#)|(?m:^) *(?:[})\]]+[;,]? *(?m:$)|</?!?[a-z]|[-+@$>]{1,3} *\w+\()"
    r"|(?m:^) *(?:def|class|import|from|for|while|if|elif|else|return|print|try|except|func|fn|var"
    r"|let|const|public|private|static|void|int|#include|#!|SELECT|INSERT|UPDATE|FROM|WHERE|echo"
    r"|sudo|pip|npm|git)[^.!?\n]*(?:[:;(){}\[\]=<>]| \* )"
    r"|(?m:^) *[\w.\[\]'\"]+ *(?:[-+*/|&:]?=|=>|->|:=)|\w\([^()\n]*\) *(?m:$)"
    r"|(?m:^) {4,}[^\n]*[=(){}\[\]]"
)
"""One of these is in every plain text that :func:`keep_prose` or :func:`drop_code` changes."""


def drop_code(text: str) -> str:
    """Return the text without fenced and inline code and without formulas, each a blank."""
    if "`" in text or "~~~" in text:
        text = _INLINE.sub(" ", _FENCED.sub("\n", text))
    if "$" in text or "\\" in text:
        text = _FORMULA.sub(" ", text)
    return text


def blank_code(text: str) -> str:
    """Return the text with blanks in place of code, every other character where it was."""
    if "`" not in text:
        return text
    return _CODE.sub(lambda found: " " * len(found[0]), text)


@lru_cache(maxsize=4)  # one text is looked at for one fault after another
def keep_prose(text: str) -> str:
    """Return the prose of a text: no code, fenced or bare, no tags, no table, no rule."""
    text = drop_code(text)
    if "://" in text or "www." in text:
        text = _ADDRESS.sub(" ", text)
    text = _TAG.sub(" ", text)
    return "\n".join(line for line in text.split("\n") if not _is_layout(line))


def _is_layout(line: str) -> bool:
    if "\t" in line.strip() or line.count("|") > 1 or _RULE.fullmatch(line):
        return bool(line.strip())
    if len(line) >= 400 or not _CODE_SIGN.search(line):
        return False
    return _CODE_LINE.search(line) is not None
