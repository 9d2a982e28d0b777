"""Learns from an endpoint's refusal how it wants to be asked.

Servers say the same in many ways: a ``param`` beside the message, a list of ``loc`` and ``type``
as pydantic writes it, an enumeration of what would have been known, or a sentence. A message
about a *value's range* is no dialect: another field would not help there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from infra.engines.endpoint.dialect import Dialect, DialectConfig, SystemRole, TokenLimit

_MOST_DEPTH = 8
_MOST_CHARS = 4000
_NOT_TAKEN = (
    r"(?:not|n't|n\u2019t|no longer|never)\s+(?:\w+\s+){0,2}?(?:support|permit|allow|accept|valid|"
    r"recogni[sz]ed|enabled|available|implemented|known|compatible|a valid|found|use)|"
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|extraneous|unavailable|deprecated|forbidden|"
    r"extra inputs|extra fields|additional propert|cannot find field|cannot be (?:used|set|"
    r"specified)|only the default|only (?:\w+\s*[=:]?\s*)?1(?:\.0)? is"
)
_INVALID = r"invalid (?:request )?(?:parameter|field|argument|key|name|option|property)s?"
_RANGE = re.compile(
    r"too (?:low|high|large|small|big)|less than|greater than|between|at (?:most|least)|"
    r"[<>]=?|out of range|exceed|maximum|minimum|non-?negative|must be (?:in|a |an |positive)",
    re.IGNORECASE,
)
_EXCEPT_RANGE = re.compile(r"unsupported (?:parameter|value)|only the default", re.IGNORECASE)
_ENUMERATION = re.compile(
    r"(?:expected|must be|should be|supported|allowed|valid|known|accepted)"
    r"(?: (?:one|any) of| (?:parameters|fields|values|arguments|keys|properties)?"
    r" ?(?:are|is|include)?)? ?[:=`'\"\[(]",
    re.IGNORECASE,
)
_PAIR = re.compile(r"\bboth\b|only one|one of|together|mutually|at the same time", re.IGNORECASE)
_ALTERNATE = re.compile(
    r"roles? must alternate|only user and assistant|only.{0,20}user.{0,20}assistant.{0,20}roles?",
    re.IGNORECASE,
)
_OPTIONAL_SYSTEM = re.compile(r"optional system", re.IGNORECASE)
_ROLE_PLACE = re.compile(r"messages\W{0,3}\d+\W{0,3}role")


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a server said against a request: its words, and the fields that it points at."""

    text: str
    fields: frozenset[str]


@dataclass(frozen=True, slots=True)
class Switch:
    """A change of dialect; ``name`` is what is tried once, ``says`` what people read."""

    name: str
    dialect: Dialect
    says: str


def read_complaint(body: object, text: str) -> Complaint:
    """Gather what a server said from its JSON, or from its text where it sent none."""
    words: list[str] = []
    fields: set[str] = set()
    for key, value in _walk(body, 0):
        if key in ("message", "msg", "error", "detail", "details", "type", "code", "title"):
            words.append(value)
        elif key in ("param", "parameter", "loc", "field"):
            fields.add(value.strip("'\"` ").removeprefix("body."))
    said = " | ".join(words) or text
    return Complaint(said[:_MOST_CHARS], frozenset(fields))


def learn(
    config: DialectConfig, dialect: Dialect, complaint: Complaint, payload: Mapping[str, Any]
) -> Switch | None:
    """Return the next dialect to try after a refusal, or nothing if it is no matter of dialect.

    ``payload`` is what was refused: only what was sent can have been refused. What a person set
    is left as it is.
    """
    if config.token_limit == "auto" and (found := _learn_limit(dialect, complaint, payload)):
        return found
    sampling = [name for name in ("temperature", "top_p") if name in payload]
    said = _cut_enumeration(complaint.text)
    if (
        config.top_p is None
        and len(sampling) == 2
        and _PAIR.search(said)
        and all(_mentions(said, name) for name in sampling)
    ):
        return _omit(dialect, "top_p")
    for name, chosen in (
        ("seed", config.seed),
        ("temperature", config.temperature),
        ("top_p", config.top_p),
        ("stream", None),
    ):
        if chosen is None and name in payload and blames(complaint, name):
            return _omit(dialect, name)
    if config.system_role == "auto":
        return _learn_role(dialect, complaint, payload)
    return None


def blames(complaint: Complaint, field: str) -> bool:
    """Tell whether a server says that it does not take a field."""
    said = _cut_enumeration(complaint.text)
    if _RANGE.search(said) and not _EXCEPT_RANGE.search(said):
        return False
    if field in complaint.fields:
        return bool(re.search(f"{_NOT_TAKEN}|{_INVALID}|extra_forbidden", said, re.IGNORECASE))
    name = _name(field)
    # "field … is not supported" in one sentence, or "unknown field `field`".
    after = rf"{name}[^.;|]{{0,80}}?(?:{_NOT_TAKEN})"
    before = rf"(?:{_NOT_TAKEN}|{_INVALID})[^.;|]{{0,80}}?{name}"
    return bool(re.search(f"{after}|{before}", said, re.IGNORECASE))


def _learn_limit(
    dialect: Dialect, complaint: Complaint, payload: Mapping[str, Any]
) -> Switch | None:
    now = dialect.token_limit
    other: TokenLimit = "max_tokens" if now != "max_tokens" else "max_completion_tokens"
    instead = re.search(rf"(?:use|instead)\b.{{0,60}}{_name(other)}", complaint.text, re.IGNORECASE)
    if now not in payload or not (instead or blames(complaint, now)):
        return None
    return Switch(
        f"token_limit={other}",
        replace(dialect, token_limit=other),
        f"it takes {other} in place of {now} (dialect.token_limit: {other})",
    )


def _omit(dialect: Dialect, name: str) -> Switch:
    knob = "" if name == "stream" else f" (dialect.{name}: false)"
    return Switch(
        f"without {name}",
        replace(dialect, omitted=dialect.omitted | {name}),
        f"it takes no {name}; requests go on without{knob}",
    )


def _learn_role(
    dialect: Dialect, complaint: Complaint, payload: Mapping[str, Any]
) -> Switch | None:
    now = dialect.system_role
    roles = {message["role"] for message in payload["messages"]}
    if now == "user" or now not in roles or not _blames_role(complaint, now):
        return None
    wants_developer = now == "system" and re.search(
        r"\b(?:use|try|instead)\b.{0,40}developer|developer.{0,40}\binstead", complaint.text, re.I
    )
    role: SystemRole = "developer" if wants_developer else "user"
    where = "as developer" if role == "developer" else "in the first user turn"
    return Switch(
        f"system_role={role}",
        replace(dialect, system_role=role),
        f"it takes no {now} role; the system prompt goes {where} (dialect.system_role: {role})",
    )


def _blames_role(complaint: Complaint, role: str) -> bool:
    said = _cut_enumeration(complaint.text)
    if _ALTERNATE.search(complaint.text):
        return not _OPTIONAL_SYSTEM.search(complaint.text)
    named = rf"(?:\b{role}\W{{1,3}}(?:role|message|prompt|instruction)|role\W{{1,12}}{role}\b"
    named += rf"|['\"`]{role}['\"`])"
    after = rf"{named}[^.;|]{{0,80}}?(?:{_NOT_TAKEN})"
    before = rf"(?:{_NOT_TAKEN}|{_INVALID})[^.;|]{{0,80}}?{named}"
    if re.search(f"{after}|{before}", said, re.IGNORECASE):
        return True
    if re.search(r"(?:developer|system) instructions? (?:is|are) not", said, re.IGNORECASE):
        return True
    places = " ".join(complaint.fields)
    pointed = bool(_ROLE_PLACE.search(said) or _ROLE_PLACE.search(places))
    return pointed and bool(re.search(rf"\b{role}\b", complaint.text))


def _cut_enumeration(text: str) -> str:
    """Leave out what a server says it would have taken, which names innocent fields."""
    kept = []
    for sentence in text.split(" | "):
        found = _ENUMERATION.search(sentence)
        listed = found is not None and sentence.count(",", found.start()) >= 1
        kept.append(sentence[: found.start()] if found is not None and listed else sentence)
    return " | ".join(kept)


def _mentions(text: str, field: str) -> bool:
    return bool(re.search(_name(field), text, re.IGNORECASE))


def _name(field: str) -> str:
    """Return a pattern of a field as servers spell it: ``top_p``, ``topP``, ``'top_p'``."""
    return rf"(?<![A-Za-z0-9_]){field.replace('_', '_?')}(?![A-Za-z0-9_])"


def _walk(node: object, depth: int, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text of a reply's JSON with the name it stands under."""
    if depth > _MOST_DEPTH:
        return
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _walk(value, depth + 1, str(name))
    elif isinstance(node, list):
        if key == "loc":
            yield key, ".".join(str(part) for part in node)
            return
        for value in node:
            yield from _walk(value, depth + 1, key)
    elif isinstance(node, str):
        yield key, node
