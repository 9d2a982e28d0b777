"""Reads a judge's verdict: a score from 1 to 5, out of JSON or out of free text.

A text tells its score in one of these ways, the first that occurs decides:

1. a JSON object with a score;
2. an explicit verdict: "the final score is 4", or a label, "Score: 4/5". Of several the last
   counts, for judges correct themselves, and it counts even if it cannot be used;
3. a line of its own with nothing but the number, the last of the text or the first;
4. talk that names a score, "I would give it a 4", "4 out of 5" – if all such talk agrees.

Any other digit (a year, an age, an item of a list) is no verdict. Halves stay halves; the words
"one" to "five" count as numbers where a verdict is looked for. A score outside 1 to 5, on another
scale ("8/10") or of two values ("3 or 4", "4,5") is no verdict either: a missing one is asked for
again and counted, a wrong one would hide in the mean.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from infra.errors import Reject
from infra.text.json_answers import find_values
from infra.thoughts.parting import part_thought

LOWEST, HIGHEST = 1, 5

_READ_CHARS = 20_000
"""A verdict stands at the end; a longer text is a model that ran on."""

_WORDS = {"one": 1.0, "two": 2.0, "three": 3.0, "four": 4.0, "five": 5.0}
_NUMBER = r"(?<![\w.,/%-])(?P<number>\d{1,4}(?:\.\d{1,6})?|one|two|three|four|five)(?!\w)"
_SCORE = r"(?:score|rating|grade|mark)"
_DOUBT = (
    r"(?:not|cannot|never|nor|neither|if|unless|whether|could|might|between|than"
    r"|instead|short|below|under|above|beyond|nearly|almost|closer?|requires?|reach|examples?"
    r"|anchors?|previous|max(?:imum)?|min(?:imum)?|possible|highest|lowest|reference|rubric)"
)
_SURENESS = r"(?:confidence|certainty|confident|certain)"
"""How sure a judge is: a number of its own, and no score."""
_HEDGES = (
    r"(?:[ :=(]|\b(?:a|an|the|only|just|exactly|still|thus|therefore|hence|then|now|at|of|solid"
    r"|strong|clear|firm|low|high|weak|perfect|full|score|rating|n)\b){0,12}"
)
_LINK = r"(?:\b(?:is|be|as|of|to|at)\b|[:=|]|->|\u2192| [-\u2013\u2014] )"
_FINAL = re.compile(
    r"\b(?:final|overall|total)(?: [a-z]+){0,2}? "
    rf"(?:{_SCORE}\b(?:(?!\b{_DOUBT}\b)[^\d\n.;:=|!?]){{0,80}}?{_LINK}"
    r"|(?:verdict|evaluation|assessment|judge?ment)(?: is\b| ?[:=]| [-\u2013\u2014] ))"
    rf"{_HEDGES}\n?{_HEDGES}{_NUMBER}"
)
_LABEL = re.compile(
    rf"(?:(?:^|\n)[ \-\u2022>|]*(?:(?!{_DOUBT}\b|{_SURENESS}\b)[a-z]+ ){{0,4}}"
    r"|[.,;(|] ?(?:(?:my|the|your) )?)"
    rf"(?:{_SCORE}|verdict) ?(?:\((?P<scale>[^()\n]{{0,40}})\))? ?"
    rf"(?:\bis\b|[:=|]|->|\u2192|[-\u2013\u2014] ){_HEDGES}\n?{_HEDGES}{_NUMBER}"
)
_HEADING = re.compile(
    rf"(?:^|\n) ?(?:[a-z]+ ){{0,2}}{_SCORE} ?\n ?{_NUMBER}(?=[^\n]{{0,12}}(?:\n|$))"
)
_OVERALL_ROW = re.compile(
    rf"(?:^|\n)[ |\u2022-]*(?:overall|final|total)(?: {_SCORE})? ?[:=|] ?{_NUMBER}"
)
_UNLINKED = re.compile(
    rf"(?:^|\n)[ \u2022>-]*(?:(?:the|my|final|overall) )*{_SCORE} {_NUMBER}"
    r"(?= ?(?:[-\u2013\u2014] |[.,;(/\n]|$|out of|because|since|for\b))"
)
_FOREIGN_LABEL = re.compile(
    r"(?:note|bewertung|punktzahl|punkte|gesamtnote|puntuaci[oó]n|calificaci[oó]n|puntaje|nota"
    r"|pontua[cç][aã]o|punteggio|voto|valutazione|cijfer|ocena|wynik|betyg|puan|skor|nilai"
    r"|итоговая оценка|оценка|балл"
    r"|评分|評分|得分|分数|分數|评级|スコア|評価|評点|点数"
    r"|점수|평점|الدرجة|التقييم|النتيجة|स\u094dक\u094bर|अ\u0902क|điểm)"
    r"(?: (?:finale?|globale?|totale?|complessivo|النهائية))?"
    r" ?(?:[:=|]|\b(?:est|ist|es|è|é|is|lautet)\b|是|为|為|は|는|은|-) ?(?:de )?"
    r"(?P<number>\d{1,4}(?:\.\d{1,6})?|[一二三四五]|eins|zwei|drei|vier|fünf|une?|deux|trois"
    r"|quatre"
    r"|cinq|uno|dos|tres|cuatro|cinco|due|tre|quattro|cinque|um|dois|três|quatro)"
    r"(?= ?(?:/ ?5\b|(?:sur|von|de|su|из|sobre|em|van|av) (?:5|cinq|fünf|cinco|cinque)\b"
    r"|[分点점](?!\d)|[.!)\u3002|]? ?(?:\n|$)))"
)
_FOREIGN_WORDS = {
    **dict.fromkeys(("一", "eins", "un", "une", "uno", "um"), 1.0),
    **dict.fromkeys(("二", "zwei", "deux", "dos", "due", "dois"), 2.0),
    **dict.fromkeys(("三", "drei", "trois", "tres", "tre", "três"), 3.0),
    **dict.fromkeys(("四", "vier", "quatre", "cuatro", "quattro", "quatro"), 4.0),
    **dict.fromkeys(("五", "fünf", "cinq", "cinco", "cinque"), 5.0),
}
_STARS = re.compile(
    "[\u2605\u2b50\U0001f31f]\ufe0f?(?:[ \ufe0f]*[\u2605\u2b50\U0001f31f]\ufe0f?)*(?: ?\u2606)*"
)
_TALK = (
    re.compile(rf"\b{_SCORE}(?: of| is| at| as| would be| should be) (?:a |an )?{_NUMBER}"),
    re.compile(
        r"\bi(?:'[a-z]+)?(?: [a-z']+){0,2} (?:give|rate|score|assign|award|grade)d?\b"
        rf"[^\d\n.;!?]{{0,60}}?\b(?:a|an|as|at|it|of|this|that|response|answer|reply) {_NUMBER}"
    ),
    re.compile(rf"\b(?:deserve|earn|merit|warrant)s?(?: (?:a|an|only|solid|full))* {_NUMBER}"),
    re.compile(rf"{_NUMBER}(?= ?(?:/|out of) ?(?:5|five)\b)"),
    re.compile(
        r"\bi(?:'[a-z]+)?(?: would)? (?:say|go with|settle (?:on|for)|choose|pick) (?:an? )?"
        rf"{_NUMBER}"
    ),
    re.compile(
        r"\bscale (?:of|from) (?:1|one) (?:to|-) (?:5|five)\b[^\d\n.;!?]{0,40}?"
        rf"\b(?:is|say|give|gets?|earns?|an?) {_NUMBER}"
    ),
)
_DOUBTED = re.compile(rf"\b{_DOUBT}\b|n't\b|\b{_SURENESS}(?: level| score)? ?[:=]")
_LONE = re.compile(
    rf"[ :=>|(]*{_NUMBER} ?\(?(?:(?:/|out of) ?(?:5(?:\.0)?|five))?(?: ?(?:stars?|points?)\b)?"
    r"[ )|]*(?P<dot>\.?)[ |]*"
)
_SUMMED = re.compile(
    r"(?:so|thus|hence|therefore|(?:the |my )?(?:final )?(?:answer|result|conclusion|evaluation"
    rf"|assessment|verdict)) ?[:=,]? ?(?:an? )?{_NUMBER}(?: ?(?:/|out of) ?5)? ?\.?"
)
"""A last line that only sums up."""
_LED = re.compile(
    rf"{_NUMBER}(?: ?(?:/|out of) ?5\b)?(?: ?[\u2013\u2014]| -| ?\((?!or\b)) ?(?=[a-z])[^\n]*"
)
"""A single line that begins with its score and goes on with the reason."""

_OTHER_SCALE = re.compile(
    r" ?\(?(?:/|out of|of|on a scale (?:of|from) (?:0|1|one|zero) (?:to|-)"
    r"|on an?(?= [\d.]+[ -](?:point|star)))(?: a| the)?(?: possible| maximum)? ?"
    r"(?P<most>\d+(?:\.\d+)?|ten)(?P<date>/?)"
)
_SCALE_END = re.compile(r"(?:-|\u2013|to|of|/|max\w*\.?:?) ?(?P<most>\d+(?:\.\d+)?)(?!.*\d)")
_SECOND_VALUE = re.compile(
    r" ?\(?(?:[-\u2013\u2014,&~\u301c\u2192]|->|to|or|and|minus|plus) ?"
    r"(?:maybe |perhaps |possibly |even )?(?:an? )?(?:\d|(?:one|two|three|four|five)\b)"
    r"| for [a-z]{2,20}(?: [a-z]{2,20})?(?:,| and|;|,? but) (?:an? )?"
    r"(?:\d|(?:one|two|three|four|five)\b)"
    r"| ?\?| ?\d|[%+]|-(?=\n|$)|\.\d|:\d|\u2044| and a half"
    r"| points? (?:above|below|high|low|less|more|off|short)"
)
_CLAUSE_ENDS = re.compile(
    r" ?(?:\(?(?:/|out of) ?(?:5(?:\.0)?|five)\b\)?)?(?: ?(?:stars?|points?)\b)?"
    r" ?(?:[.,;:!?)(\n\u2013\u2014]|- |$"
    r"|(?:because|since|for|as|on|in|overall|here|given|due|to (?:this|the|it))\b)"
)
_HYPOTHETICAL = re.compile(r"[^.\n]{0,30}\b(?:would|requires?|needs?|could|might|if)\b")
_ANCHOR = re.compile(r" ?: ?[^\s\d]")

_SCORE_TAG = re.compile(r"<(?:final[ _]?)?(score|rating|verdict)>")
_TAG = re.compile(r"</?[a-z][a-z0-9_ ]{0,20}>")
_LATEX = re.compile(r"\\(?:boxed|text|textbf|mathbf|mathrm|bf)\b")
_QUOTE = re.compile(r"(?<![a-z])'|'(?![a-z])")
_DECORATION = re.compile(r"[*_`\"\u201c\u201d\u201e\u2018\u00ab\u00bb$~\\{}\[\]#\t\r\f\v ]+")
_BLANK_LINES = re.compile(r"\s*\n\s*")
_HALF = re.compile(r"(?<=\d) ?\u00bd")
_DIGIT = re.compile(r"[^\D0-9]")
_KEY = re.compile(r"[^a-z]+")
_SCORE_KEYS = {
    "overall", "total",
    "score", "finalscore", "overallscore", "totalscore", "rating", "finalrating", "overallrating",
    "grade", "finalgrade", "verdict", "finalverdict",
}  # fmt: skip
_SCALE_KEYS = {"maxscore", "maximum", "max", "outof", "scale", "maxrating", "maximumscore"}
_OVERALL = re.compile(r"(?:overall|final|total|result)(?:[ _](?:score|rating|verdict|result))?")
_REASON_KEYS = ("justification", "reasoning", "reason", "explanation", "rationale")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Score from 1 to 5 with the words that justify it."""

    score: float
    justification: str


def verdict_schema(max_justification_chars: int) -> dict[str, Any]:
    """Return the JSON schema of a structured verdict: first the justification, then the score.

    The order matters, for a model that writes the score first justifies whatever it wrote. The
    justification is bounded, for a weak model would fill it until it runs out of tokens.
    """
    return {
        "type": "object",
        "properties": {
            "justification": {
                "type": "string",
                "minLength": 1,
                "maxLength": max_justification_chars,
            },
            "score": {"type": "integer", "enum": list(range(LOWEST, HIGHEST + 1))},
        },
        "required": ["justification", "score"],
        "additionalProperties": False,
    }


def read_verdict(text: str) -> Verdict | None:
    """Read a verdict from what a judge wrote, structured or free; ``None`` if there is none.

    Whether the text was cut off by the token limit is for the caller to look at.
    """
    speech = part_thought(text)
    if not speech.closed:
        return None
    text = speech.text[-_READ_CHARS:].strip()
    found, whole = _find_entries(text)
    if found:
        read = [_read_object(entry) for entry in found]
        score = _agree({score for score, _ in read}) if whole else None
        return None if score is None else Verdict(score, read[-1][1] or text)
    if not whole:
        return None
    score = _read_prose(text)
    return None if score is None else Verdict(score, text)


def read_score(text: str) -> float | None:
    """Read only the score of a verdict."""
    verdict = read_verdict(text)
    return None if verdict is None else verdict.score


def _find_entries(text: str) -> tuple[list[dict[str, Any]], bool]:
    """Return the last value that has a score, as its entries with one, and whether all is whole."""
    found: list[dict[str, Any]] = []
    for value in find_values(text):
        if isinstance(value, Reject):
            return found, False
        found = _list_entries(value, "") or found
    return found, True


def _list_entries(value: object, name: str) -> list[dict[str, Any]]:
    """Return the objects with a score, down two levels; one that is called overall comes alone."""
    if isinstance(value, dict) and _has_score(value):
        return [value]
    inner = value.items() if isinstance(value, dict) else enumerate(_as_list(value))
    entries: list[dict[str, Any]] = []
    for key, item in inner:
        if isinstance(item, dict) and _has_score(item):
            named = [str(key), *(text for text in item.values() if isinstance(text, str))]
            if any(_OVERALL.fullmatch(text.strip().lower()) for text in named):
                return [item]
            entries.append(item)
        elif isinstance(item, dict) and not name:
            entries += _list_entries(item, str(key))
    return entries


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _has_score(entry: dict[str, Any]) -> bool:
    return bool(_list_scores(entry))


def _list_scores(entry: dict[str, Any]) -> list[object]:
    """Return what is called a score, or is the value of an object that is called so."""
    named = [value for key, value in entry.items() if _is_score(key)]
    return [
        value["value"] if isinstance(value, dict) else value
        for value in named
        if not isinstance(value, dict) or "value" in value
    ]


def _is_score(key: str) -> bool:
    return _KEY.sub("", key.lower()) in _SCORE_KEYS


def _read_object(entry: dict[str, Any]) -> tuple[float | None, str]:
    value = _list_scores(entry)[0]
    reasons = (entry[key] for key in _REASON_KEYS if isinstance(entry.get(key), str))
    reason = next(reasons, "").strip()
    scales = (item for key, item in entry.items() if _KEY.sub("", key.lower()) in _SCALE_KEYS)
    if any(isinstance(item, int | float) and item != HIGHEST for item in scales):
        return None, reason
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None, reason
    return (_read_prose(value) if isinstance(value, str) else _check(value)), reason


def _read_prose(text: str) -> float | None:
    flat = _flatten(text)
    if not flat:
        return None
    stated = [match for match in _FINAL.finditer(flat)]
    stated += [match for match in _LABEL.finditer(flat) if not _ANCHOR.match(flat, match.end())]
    stated += [*_HEADING.finditer(flat), *_OVERALL_ROW.finditer(flat)]
    stated += _FOREIGN_LABEL.finditer(flat)
    if stated:
        last = max(stated, key=lambda match: match.start("number"))
        return _value(flat, last)
    lines = flat.split("\n")
    summed = _SUMMED.fullmatch(lines[-1]) or (_LED.fullmatch(flat) if len(lines) == 1 else None)
    lone = [match for line in (lines[0], lines[-1]) if (match := _LONE.fullmatch(line))]
    # A lone "3." under other lines is the next item of a list that was cut off.
    lone = [match for match in lone if len(lines) == 1 or not match["dot"]]
    if lone:
        return _agree({_value(match.string, match) for match in lone})
    if summed is not None:
        return _value(summed.string, summed)
    values = {_value(flat, match) for match in (*_find_talk(flat), *_UNLINKED.finditer(flat))}
    return _agree(values or set(_read_table(lines)))


def _read_table(lines: Sequence[str]) -> Iterator[float | None]:
    """Yield the scores of a table that has a column of scores."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines if "|" in line]
    heads = [cell for cell in rows[0] if re.search(rf"\b{_SCORE}\b", cell)] if rows else []
    if len(heads) != 1:
        return
    column = rows[0].index(heads[0])
    for row in rows[1:]:
        cell = row[column] if len(row) > column else ""
        if match := _LONE.fullmatch(cell):
            yield _value(cell, match)


def _find_talk(flat: str) -> Iterator[re.Match[str]]:
    for pattern in _TALK:
        for match in pattern.finditer(flat):
            begins = max(flat.rfind(mark, 0, match.start()) for mark in ".!?;\n") + 1
            if (
                _CLAUSE_ENDS.match(flat, match.end("number"))
                and not _HYPOTHETICAL.match(flat, match.end("number"))
                and not _DOUBTED.search(flat, max(begins, match.start() - 80), match.end())
            ):
                yield match


def _agree(values: set[float | None]) -> float | None:
    return values.pop() if len(values) == 1 else None


def _value(flat: str, match: re.Match[str]) -> float | None:
    """Return the score a match names, or ``None`` when what follows makes it something else."""
    end = match.end("number")
    told = _SCALE_END.search(match.groupdict().get("scale") or "")
    if told is not None and told["most"].removesuffix(".0") != str(HIGHEST):
        return None
    scale = _OTHER_SCALE.match(flat, end)
    if scale is not None and (scale["date"] or scale["most"].removesuffix(".0") != str(HIGHEST)):
        return None
    if scale is None and _SECOND_VALUE.match(flat, end):
        return None
    word = match["number"]
    if word in _FOREIGN_WORDS:
        return _FOREIGN_WORDS[word]
    if word not in _WORDS:
        return _check(float(word))
    return _WORDS[word] if _CLAUSE_ENDS.match(flat, end) else None


def _check(score: float) -> float | None:
    return float(score) if LOWEST <= score <= HIGHEST else None


def _count_stars(found: re.Match[str]) -> str:
    """Write stars as a number where there are five, full and empty ones together, or no more."""
    empty = found[0].count("\u2606")
    full = sum(char in "\u2605\u2b50\U0001f31f" for char in found[0])
    whole = full + empty == HIGHEST or (full <= HIGHEST and not empty)
    return f" {full}/5 " if whole else " "


def _flatten(text: str) -> str:
    """Fold case and width and take out markup, so that what is left is words and numbers."""
    flat = unicodedata.normalize("NFKC", _STARS.sub(_count_stars, _HALF.sub(".5", text)))
    flat = _DIGIT.sub(lambda found: str(unicodedata.digit(found[0])), flat)
    flat = flat.lower().replace("\u2019", "'")
    flat = _LATEX.sub(" ", _TAG.sub(" ", _SCORE_TAG.sub(r"\n\1: ", flat)))
    flat = _DECORATION.sub(" ", _QUOTE.sub(" ", flat))
    return _BLANK_LINES.sub("\n", flat).strip()
