"""Knows the marks between which public reasoning models write down what they think.

A *family* is a way of marking: ``<think>`` tags under all their names, ``[THINK]``, named tokens
(``<|START_THINKING|>``), channels. Marks of one family may be nested; those of two never belong
together. Sources: the models' own cards and chat templates, and what vLLM's reasoning parsers
look for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Kind = Literal["open", "close", "empty", "wrapper", "channel", "special"]

HARMONY = "harmony"
"""The channels of GPT-OSS: ``<|channel|>analysis<|message|>…<|end|>`` and ``final`` for speech."""

LONGEST_MARK = 300
"""No mark is longer, in characters; attributes included."""

_NAMES = (
    r"(?:ant)?think(?:ing)?(?:_fast(?:er)?)?|thoughts?|reason(?:ing)?|reflection|analysis"
    r"|(?:thought|thinking|reasoning)[_-](?:process|content|steps?)|deliberation"
    r"|scratch_?pad|(?:inner|internal)[_-](?:monologue|thoughts?|reasoning|thinking|voice)"
    r"|chain[_-]of[_-]thoughts?|cot"
    r"|思考(?:过程|過程)?|思维链?|思維鏈?|推理(?:过程|過程)?|생각|размышлени[ея]|réflexion|raisonnement"
)
_EDGES = r"(?:begin|start|end|stop|no)[_\u2581]"
_BAR = r"[|\uff5c]?"
# seed:think, mm:think, ifm|think_fast, longcat_think; and think:opensource
_TAG = rf"(?!{_EDGES})(?:[a-z0-9]{{1,20}}[:_|])?(?:{_NAMES})(?::[^\s<>|/]{{1,40}})?"
_VALUES = r"(?:[ \t]{1,3}[\w:-]{1,30}[ \t]{0,3}=[^<>\n]{0,160})?"
_SPACE = r"[ \t]{0,3}"
_OF = r"[_\u2581](?:of[_\u2581])?"


def _name_token(first: str, last: str) -> str:
    """Return the pattern of ``<|begin_of_thought|>`` or ``<think_start>``, or of their ends."""
    before = rf"(?:[a-z]{{1,20}}:)?(?:{first}){_OF}(?:{_NAMES})(?::[a-z]{{1,20}})?"
    return rf"(?i:<{_BAR}(?:{before}|(?:{_NAMES})[_\u2581](?:{last})){_BAR}>)"


_PATTERNS: dict[str, tuple[str, str]] = {
    "tag": (
        rf"(?i:<{_SPACE}{_BAR}{_SPACE}{_TAG}{_VALUES}{_SPACE}{_BAR}{_SPACE}>)",
        rf"(?i:<{_SPACE}{_BAR}{_SPACE}\\?/{_SPACE}{_BAR}{_TAG}{_SPACE}{_BAR}{_SPACE}>)",
    ),
    "bracket": (
        r"\[(?:THINK(?:ING)?|THOUGHTS?|REASONING)\]",
        r"\[/(?:THINK(?:ING)?|THOUGHTS?|REASONING)\]",
    ),
    "named": (
        _name_token("begin|start", "begin|start"),
        _name_token("end|stop", "end|stop"),
    ),
    "details": (r"<details[ \t]type=\"reasoning\"[^<>\n]{0,160}>", r"</details>"),
}
LITERALS: dict[str, tuple[str, str]] = {
    "kimi": ("◁think▷", "◁/think▷"),
    "gemma": ("<|channel>", "<channel|>"),
    "medgemma": ("<unused94>", "<unused95>"),
    "apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "inkling": ("<|content_thinking|>", "<|end_message|>"),
    "xtml": ("<|open|>think<|sep|>", "<|close|>think<|sep|>"),
    "recipient": ("to=self<|message|>", "<|eom|>"),
}
_EMPTY = rf"(?i:<{_SPACE}{_TAG}{_SPACE}/{_SPACE}>)"

_FENCED = ("thinking", "think", "thought", "thoughts", "reasoning")
_LABELS = (
    *("Thinking", "Thought", "Thoughts", "Thought process", "Thought Process", "My thoughts"),
    *("Internal monologue", "Internal thoughts", "Inner monologue", "Inner thoughts"),
)

SPOKEN = {
    "granite": (
        ("Here is my thought process:", "Here's my thought process:"),
        r"Here(?: is|'s) my response:",
    ),
    "ollama": (("Thinking...\n",), r"\.\.\.done thinking\.\n?"),
    "stripped": (("analysis",), r"assistant(?:commentary)?final"),
    "fence": (tuple(f"```{name}\n" for name in _FENCED), r"\n```[ \t]*(?:\n|\Z)"),
    "label": (
        tuple(
            f"{before}{name}{after}"
            for name in _LABELS
            for before, after in (("", ":"), ("**", ":**"), ("**", "**:"), ("*", ":*"))
        ),
        r"\n[ \t]*[*_]{0,2}(?:[Ff]inal |[Mm]y )?(?:[Aa]nswer|[Rr]esponse|[Rr]eply|[Ss]peech)"
        r"(?::[*_]{0,2}|[*_]{1,2}:)\s*",
    ),
    "soft": (
        tuple(f"[{name}]" for name in ("Thinking", "thinking", "Thought", "thought", "Reasoning",
                                      "reasoning", "think", "思考")),
        r"\[/(?:[Tt]hink(?:ing)?|[Tt]hought|[Rr]easoning|思考)\]",
    ),
}  # fmt: skip
"""Marks in plain words, only ever at the beginning; a special case is harmony without its tokens,
as servers write it that drop special tokens: ``analysisThe user…assistantfinalHello``."""
DOUBTFUL = frozenset({"fence", "label", "soft"})
"""Of these an opening without its end is speech: a stage direction, a code block, a word."""
_SPOKEN_OPEN = {
    "granite": r"Here(?: is|'s) my thought process:",
    "ollama": r"Thinking\.\.\.\n",
    "stripped": r"analysis(?=[A-Z0-9\"'(])",
    "fence": rf"```(?:{'|'.join(_FENCED)})\n",
    "label": rf"(?P<bold>[*_]{{0,2}})(?:{'|'.join(_LABELS)})(?::(?P=bold)|(?P=bold):)(?=\s)",
    "soft": r"\[(?:[Tt]hink(?:ing)?|[Tt]hought|[Rr]easoning|思考)\]",
}

_SPOKEN_STARTS = ("here", "thinking", "analysis", "assistan", "model", "thought", "my thoug",
                  "internal", "inner ", "**", "*t", "*i", "__", "```think", "```thoug",
                  "```reaso")  # fmt: skip

_CHANNEL_OPEN = r"<\|channel\|>|<\|start\|>(?=assistant)"
_CHANNEL_END = r"<\|(?:end|return|call|start|channel)\|>"
CHANNEL_BODY = "<|message|>"
CHANNEL_NAME = re.compile(r"<\|channel\|>\s*([a-z]+)", re.IGNORECASE)

_WRAPPERS = (
    "answer|output|response|final|final_answer|solution|conclusion|reply",
    "solution|answer|response|output",
)
WRAPPER_OPEN = re.compile(
    rf"(?i:<(?:{_WRAPPERS[0]})>|<\|?(?:begin|start)_(?:of_)?(?:{_WRAPPERS[1]})\|?>)"
    r"|<\|open\|>response<\|sep\|>|(?:<\|start\|>assistant\s*)?to=user<\|message\|>"
    r"|<\|message_model\|>|<\|content_text\|>"
)
_WRAPPER_CLOSE = (
    rf"(?i:</(?:{_WRAPPERS[0]})>|<\|?end_(?:of_)?(?:{_WRAPPERS[1]})\|?>)"
    r"|<\|close\|>(?:response|message)<\|sep\|>|<\|eot\|>"
)
"""What some models write around the answer that follows a thought; dropped only there."""

_WHOLE_LITERALS = tuple(
    text
    for text in (
        *(mark for pair in LITERALS.values() for mark in pair),
        "<|open|>response<|sep|>",
        "<|close|>response<|sep|>",
        "<|close|>message<|sep|>",
        "to=user<|message|>",
    )
)
_BEGINNINGS = (
    *_WHOLE_LITERALS,
    *(opening for openings, _ in SPOKEN.values() for opening in openings),
    "<|start|>assistant",
    "<|start|>assistantto=user<|message|>",
    "assistant\n",
    "model\n",
    "<|message_model|>",
)
_OPEN_ENDED = re.compile(r"(?:<[^<>\n]{0,300}|\[/?[A-Z]{0,12})\Z")
_OPEN_HEADER = re.compile(
    r"(?:<\|(?:im_start|start_header_id)\|>[a-z]{0,9}(?:<[^<>\n]{0,20}>?)?|assistant|model)\s*\Z"
)


@dataclass(frozen=True, slots=True)
class ThinkingFacts:
    """Knowledge of how one model writes down its thoughts, from its tokenizer and template.

    Attributes:
        opened: The opening mark that its prompts end with; empty where the model writes it.
        families: The families whose marks it has for certain.
        pairs: Marks of its own that belong to no known family.
        special: Its special tokens that are no marks, where some marks are special tokens: those
            must be kept when token ids become text, and then these are taken out of the speech.
    """

    opened: str = ""
    families: frozenset[str] = frozenset()
    pairs: tuple[tuple[str, str], ...] = ()
    special: tuple[str, ...] = ()
    keep_special: bool = False


NOTHING_KNOWN = ThinkingFacts()

_ENDS_MORE = frozenset({"inkling", "recipient", "details"})
"""Families whose closing mark ends other things too, so that alone it tells of no thought."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark found in a text."""

    start: int
    end: int
    family: str
    kind: Kind


class MarkGrammar:
    """Finder of marks: of all known families, and of a model's own."""

    def __init__(self, pairs: tuple[tuple[str, str], ...], special: tuple[str, ...]) -> None:
        self._own = tuple(mark for pair in pairs for mark in pair)
        self._whole = (*_WHOLE_LITERALS, *self._own, *special)
        literal = {**{f"own{place}": pair for place, pair in enumerate(pairs)}, **LITERALS}
        table = {name: (re.escape(a), re.escape(b)) for name, (a, b) in literal.items()}
        table |= _PATTERNS  # after the literals, which some tags would match as well
        marks = [("empty", _EMPTY)]
        for name, (opening, closing) in table.items():
            marks += [(f"open_{name}", opening), (f"close_{name}", closing)]
        self.families = (*table, HARMONY, *SPOKEN)
        later = [("wrapper", _WRAPPER_CLOSE), ("channel", _CHANNEL_END)]
        if special:
            later.append(("special", "|".join(map(re.escape, special))))
        self._any = _join([*marks, *later])
        spoken = [(f"open_{name}", pattern) for name, pattern in _SPOKEN_OPEN.items()]
        first = [("channel", _CHANNEL_OPEN), *spoken, *marks]
        self._first = _join(first if not special else [*first, later[-1]])
        self._inside = {
            name: _join([(f"open_{name}", opening), (f"close_{name}", closing)])
            for name, (opening, closing) in table.items()
        }
        self._inside |= {name: _join([(f"close_{name}", end)]) for name, (_, end) in SPOKEN.items()}
        self._inside[HARMONY] = _join([("channel", _CHANNEL_END)])
        first_chars = {mark[0] for mark in self._whole} | set("<[")
        self._trigger = re.compile(f"[{re.escape(''.join(sorted(first_chars - {'t'})))}]|to=")

    def find(self, text: str) -> Mark | None:
        """Return the first mark of any kind in a text."""
        return _read(self._search(self._any, text, 0))

    def may_hold(self, text: str) -> bool:
        """Tell quickly whether a text may hold a mark at all; of most it is not so."""
        return self._trigger.search(text) is not None or text.lstrip()[:8].lower().startswith(
            _SPOKEN_STARTS
        )

    def _search(self, pattern: re.Pattern[str], text: str, start: int) -> re.Match[str] | None:
        """Search where a mark may begin: trying all patterns everywhere takes 50 times as long."""
        while hint := self._trigger.search(text, start):
            if found := pattern.match(text, hint.start()):
                return found
            start = hint.start() + 1
        return None

    def read_first(self, text: str, start: int) -> Mark | None:
        """Return the mark that stands at a place where a thought may begin."""
        return _read(self._first.match(text, start))

    def ends_a_thought(self, family: str) -> bool:
        """Tell whether a closing mark without an opening one tells of a thought before it."""
        return family not in _ENDS_MORE

    def find_inside(self, family: str, text: str, start: int) -> Mark | None:
        """Return the next mark of one family."""
        pattern = self._inside[family]
        if family in SPOKEN:
            return _read(pattern.search(text, start))
        return _read(self._search(pattern, text, start))

    def name_families(self, text: str) -> frozenset[str]:
        """Return the families that have an opening or closing mark in a text."""
        found = set[str]()
        place = 0
        while match := self._search(self._any, text, place):
            mark = _read(match)
            assert mark is not None
            if mark.kind in ("open", "close"):
                found.add(mark.family)
            place = match.end()
        return frozenset(found)

    def count_held(self, text: str) -> int:
        """Return how many characters at the end may yet become a mark."""
        tail = text[-LONGEST_MARK:]
        found = _OPEN_ENDED.search(tail)
        held = len(found.group()) if found else 0
        for mark in self._whole:
            for length in range(min(len(mark) - 1, len(tail)), held, -1):
                if tail.endswith(mark[:length]):
                    held = length
                    break
        return held

    def may_begin(self, text: str) -> bool:
        """Tell whether more text could make this the beginning of a thought."""
        if len(text) > LONGEST_MARK:
            return False
        if _OPEN_ENDED.match(text) or _OPEN_HEADER.match(text):
            return True
        return any(mark.startswith(text) for mark in (*_BEGINNINGS, *self._whole))


@lru_cache(maxsize=16)
def load_grammar(
    pairs: tuple[tuple[str, str], ...] = (), special: tuple[str, ...] = ()
) -> MarkGrammar:
    """Return the grammar of a model's marks, made once."""
    return MarkGrammar(pairs, special)


def _join(patterns: list[tuple[str, str]]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in patterns))


def _read(match: re.Match[str] | None) -> Mark | None:
    if match is None:
        return None
    kind, _, family = str(match.lastgroup).partition("_")
    if kind == "channel":
        family = HARMONY
    if kind == "empty":
        family = "tag"
    return Mark(match.start(), match.end(), family, kind)  # type: ignore[arg-type]
