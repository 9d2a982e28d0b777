"""Loads the prompt files of configs/prompts, and makes small rewordings of them."""

from __future__ import annotations

import random
import re

from infra.paths import packaged_configs
from infra.rendering.prompts import PromptTemplate

_MARK = re.compile(r"^\[(system|user|history)\]$", re.MULTILINE)
_SYNTAX = re.compile(r"(\{\{.*?\}\}|\{%.*?%\}|\"[^\"\n]*\"|^#.*$)", re.DOTALL | re.MULTILINE)
_SYNONYMS = {
    "short": "brief", "Create": "Write", "consistent": "in line", "Imagine": "Think about",
    "address": "answer", "Return": "Give", "directly": "and nothing else", "Rewrite": "Rephrase",
    "fits": "matches", "unchanged": "as they are", "Answer": "Reply", "Guess": "Propose",
    "following": "given", "informative": "useful", "helpful": "careful", "accurate": "exact",
    "Justify": "Explain", "rates": "scores", "Description": "Text", "Specification": "Sheet",
    "Be": "Stay", "Keep": "Leave", "Stay": "Remain", "each": "every",
}  # fmt: skip


def load_prompt(name: str) -> PromptTemplate:
    """Load the prompt file of a task as it is."""
    return PromptTemplate(_read(name), name)


def load_rewordings(name: str, count: int, seed: int) -> list[PromptTemplate]:
    """Make slightly reworded versions of a prompt file: synonyms in, a word or two left out.

    A teacher that saw one wording only would break at the first edit of a prompt.
    """
    source = _read(name)
    rng = random.Random(f"{seed} {name}")
    return [PromptTemplate(_reword(source, rng), name) for _ in range(count)]


def _read(name: str) -> str:
    folder = packaged_configs() / "prompts"
    own = folder / "demo" / f"{name}.j2"
    return (own if own.is_file() else folder / f"{name}.j2").read_text(encoding="utf-8")


def _reword(source: str, rng: random.Random) -> str:
    pieces = _SYNTAX.split(source)
    drop = rng.choice((0.0, 0.04, 0.1))

    def edit(match: re.Match[str]) -> str:
        word = match.group()
        if word in _SYNONYMS and rng.random() < 0.5:
            return _SYNONYMS[word]
        return "" if word.islower() and len(word) > 1 and rng.random() < drop else word

    def edit_line(line: str) -> str:
        return line if _MARK.fullmatch(line) else re.sub(r"[A-Za-z]+", edit, line)

    edited = [
        piece if n % 2 else "\n".join(edit_line(line) for line in piece.split("\n"))
        for n, piece in enumerate(pieces)
    ]
    return re.sub(r"(?<=\S)  +", " ", "".join(edited))
