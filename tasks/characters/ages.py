"""Holds a profile's age against what the persona says: a number, a decade, an age of life.

Only what the persona says of itself counts, and only where it opens with it: "A retired judge",
"A 45-year-old nurse", not "A nurse of retired judges", not "the mother of a 5-year-old".
"""

from __future__ import annotations

import re

from infra.errors import Reject

_NUMBER = re.compile(r"(?<!\d)\d{1,3}(?!\d)")
_DECADE = re.compile(r"(?<!\d)(\d)0['\u2019]?s\b|(?<!\d)(\d)0\u4ee3")
_TOLERANCE = 2

_LINKS = (
    r"of|to|for|with|whose|by|from|who|and|or|has|had|have|having|raising|teaching|in|at|on|about"
    r"|over|under|than|that|like|treating|parenting|caring|working|helping"
)
_OPENING = (
    r"^\W*(?:(?:i am|i'm|he is|she is|this is|meet|as)\s+)?(?:an?|the|my|your|our|one)?\s*"
    rf"(?:(?!(?:{_LINKS})\b)[\w'\u2019-]+,?\s+){{0,3}}?"
)
_STATED = re.compile(
    _OPENING + r"(?P<age>\d{1,3})[- \u2010\u2011]?(?:years?|yrs?|y)"
    r"[- \u2010\u2011]?(?:olds?\b|o\b|\bof age\b)"
    r"|^[^,.;]{0,40}?\b(?:aged|age)\s+(?P<aged>\d{1,3})\b(?!\s*(?:-|to|and|\u2013)\s*\d)"
    r"|^[\w\u00c0-\u024f]+,?\s+(?P<comma>\d{1,3}),\s"
    r"|^\W*(?:[\w\u00c0-\u024f]+\s+){0,3}(?P<other>\d{1,3})"
    r"(?:-?j\u00e4hrig|-?\u043b\u0435\u0442\u043d|\u5c81|\u6b72|\u6b73|\uc0b4|\uc138(?=[\uc758 ]))"
    r"|^\W*(?:\w+\s+){1,4}"
    r"(?:\u00e2g\u00e9e? de (?P<french>\d{1,3}) ans|de (?P<spanish>\d{1,3}) a\u00f1os de edad)",
    re.IGNORECASE,
)
_IN_DECADE = re.compile(
    r"^[^.;]{0,60}?\bin (?:his|her|their|my) (?:early[- ]|mid[- ]?|late[- ]|mid to late )?"
    r"(?P<decade>[1-9])0['\u2019]?s\b",
    re.IGNORECASE,
)
_ENDS = (
    r"(?!['\u2019])(?=\s*(?:[,.;:!]|$)|\s+(?:who|whose|that|which|with|from|in|at|on|of|and|living"
    r"|trying|looking|named|called|\w+ing|\w+ed|is|has|was)\b)"
)
_FORMER = r"(?:former|ex|once|retired|grown|formerly|future|aspiring|would-be|self-proclaimed)"
_ATTRIBUTE = r"^\W*(?:(?:i am|i'm|he is|she is|as)\s+)?(?:an?|the|my|your|our)?\s*"

_LIFE: tuple[tuple[re.Pattern[str], int, int], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), least, most)
    for pattern, least, most in (
        # What a persona is called, and the ages between which that may be said with any right.
        (
            rf"{_ATTRIBUTE}(?:[\w-]+\s+)?(?:elderly|aging|ageing|octogenarian|septuagenarian)\b",
            40,
            120,
        ),
        (rf"{_ATTRIBUTE}(?:nonagenarian|centenarian)\b", 80, 120),
        (rf"{_ATTRIBUTE}old (?:wo)?m[ae]n\b", 40, 120),
        (rf"{_ATTRIBUTE}(?:[\w-]+\s+)?(?:retired|retiree|pensioner)\b", 20, 120),
        (rf"{_ATTRIBUTE}middle-aged\b", 30, 70),
        (rf"{_ATTRIBUTE}(?:[\w-]+\s+)?senior citizen\b", 50, 120),
        (rf"{_OPENING}(?:grand(?:mother|father|parent|ma|pa)){_ENDS}", 30, 120),
        (rf"{_OPENING}(?:toddler){_ENDS}", 0, 6),
        (rf"{_OPENING}(?:kindergart(?:n?er|ener)|preschooler|first[- ]grader){_ENDS}", 2, 9),
        (
            rf"{_OPENING}(?:(?:elementary|primary)[- ]school(?:er| (?:student|pupil|kid|child))"
            rf"|[3-6](?:rd|th)[- ]grader|(?:young|little|small) (?:child|boy|girl|kid)){_ENDS}",
            3,
            16,
        ),
        (rf"{_ATTRIBUTE}(?:child|kid){_ENDS}", 0, 17),
        (
            rf"{_OPENING}(?:teen(?:ager)?|adolescent|teen(?:age)? (?:girl|boy|student|fan)"
            rf"|(?:middle|high)[- ]school(?:er| student)|high school (?:freshman|sophomore|junior"
            rf"|senior)){_ENDS}",
            9,
            22,
        ),
        (
            rf"{_ATTRIBUTE}(?:[\w-]+\s+)?(?:priest|physician|surgeon|judge|lawyer|attorney|professor"
            rf"|nurse|engineer|accountant|ceo|psychologist|therapist|pharmacist|dentist|pilot"
            rf"|firefighter|detective|architect|principal|veteran|widow(?:er)?){_ENDS}",
            15,
            120,
        ),
    )
)
_NOT_NOW = re.compile(rf"^\W*(?:an?|the)?\s*(?:[\w-]+\s+)?{_FORMER}\b", re.IGNORECASE)


def check_age_of_persona(age: str, persona: str) -> Reject | None:
    """Say how an age contradicts the persona, if it surely does: age_contradicts_persona."""
    span = _read_age(age)
    if span is None:
        return None
    low, high = span
    stated = _read_stated(persona)
    if stated is not None:
        if stated[0] - _TOLERANCE <= high and low <= stated[1] + _TOLERANCE:
            return None
        return Reject("age_contradicts_persona", f"{age[:40]}: {persona[:80]}")
    for pattern, least, most in _LIFE:
        if high >= least and low <= most:
            continue
        if pattern.search(persona) and (most == 120 or not _NOT_NOW.match(persona)):
            return Reject("age_contradicts_persona", f"{age[:40]}: {persona[:80]}")
    return None


def _read_age(age: str) -> tuple[int, int] | None:
    """Return the least and the greatest age that a profile's age may mean."""
    decade = _DECADE.search(age)
    if decade is not None:
        low = 10 * int(decade[1] or decade[2])
        return low, low + 9
    numbers = [int(found) for found in _NUMBER.findall(age)]
    plain = re.search(r"month|week|day|century|centuries|thousand|looks|appears", age, re.I) is None
    if not numbers or not plain:
        return None
    return min(numbers[:2]), max(numbers[:2])


def _read_stated(persona: str) -> tuple[int, int] | None:
    decade = _IN_DECADE.search(persona)
    found = _STATED.search(persona)
    if found is not None:
        number = int(next(value for value in found.groups() if value))
        return (number, number) if number <= 120 else None
    if decade is not None:
        low = 10 * int(decade["decade"])
        return low, low + 9
    return None
