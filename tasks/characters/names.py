"""Tells names of people from the persona's own words and from sentences in a name's place."""

from __future__ import annotations

import re

from infra.errors import Reject
from infra.text.wording import split_words

_MOST_WORDS = 7
_INTRODUCED = re.compile(
    r"^(?:(?:my|his|her|their|the character's|the) (?:full )?name is|(?:i am|i'm) called"
    r"|(?:he|she|it) is called|name ?[:=])\s+(?P<name>\S.*?)[.!]*$",
    re.IGNORECASE,
)
_PREDICATE = re.compile(
    r"(?<=\s)(?:is|was|are|were|has|had|have|who|whose|which|that|lives|works|loves|likes"
    r"|can|will|would|should|i|my|her|his|their|our|your|you|est|ist|es|qui|que|som|è)(?=\s)"
    r"|^(?:[Ss]he|[Hh]e|[Tt]hey|[Ii]t|[Tt]here|[Tt]his|I|[Mm]y|[Ww]e|[Yy]ou)"
    r" (?:is|was|are|am|has)\b"
    r"|^(?:I'm|I am|He's|She's)\b"
)
_ARTICLE = re.compile(
    r"^(?:an?|the|une?|der|die|das|eine?|el|la|los|las|un|il|lo|uma?)\s+\w", re.IGNORECASE
)
_PARTICLES = frozenset(
    (
        "de", "del", "della", "da", "di", "do", "dos", "das", "du", "la", "le", "las", "los",
        "van",
        "von", "der", "den", "zu", "bin", "bint", "ibn", "al", "el", "ul", "abd", "ben", "of",
        "the", "y", "e", "and",
        "san", "ter", "ten", "af", "av", "ap", "mc", "o", "jr", "sr", "dit", "ka",
    )
)  # fmt: skip
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_DESCRIBES = re.compile(r"[\u7684]|\u4e00[\u4f4d\u540d\u4e2a\u500b]|[\u3002\uff0c\u3001]")
_MOST_IDEOGRAPHS = 8


def strip_introduction(name: str) -> str:
    """Return the name out of "My name is Ada Vance.", and any other text as it is."""
    found = _INTRODUCED.match(name)
    return found["name"] if found else name


def check_name(name: str, persona: str) -> Reject | None:
    """Say why a text is no name; the reasons: name_is_persona, name_is_sentence."""
    if _is_of_persona(name, persona):
        return Reject("name_is_persona", name[:80])
    if _is_sentence(name):
        return Reject("name_is_sentence", name[:80])
    return None


def _is_of_persona(name: str, persona: str) -> bool:
    words, of_persona = split_words(name), split_words(persona)
    if not words or not of_persona:
        return False
    if _IDEOGRAPHS.search(name):
        return len(words) >= 6 and "".join(words) in "".join(of_persona) and "\u00b7" not in name
    if len(words) < 2 or _is_titled(name):
        # A capitalised name may stand in the persona: "Ada Vance, a baker from Cork".
        bare = words[1:] if words[0] in ("a", "an", "the") else words
        telling = len(bare) >= 2 or name[0].islower()
        return telling and _is_lower_in(bare, persona)
    shared = len(set(words) & set(of_persona))
    return shared >= 0.75 * len(set(words)) and (len(words) >= 4 or _is_lower_in(words, persona))


def _is_lower_in(words: list[str], persona: str) -> bool:
    """Tell whether all words stand in the persona in small letters, one after the other."""
    phrase = r"\W+".join(map(re.escape, words))
    found = re.search(rf"(?<!\w){phrase}(?!\w)", persona)
    return found is not None and found.start() > 0


def _is_titled(name: str) -> bool:
    """Tell whether all words but particles begin with capitals, and are not too many."""
    words = re.findall(r"[^\W\d_][\w'\u2019.-]*", name)
    telling = [word for word in words if word.lower() not in _PARTICLES]
    cased = [word for word in telling if word[0].upper() != word[0].lower()]
    return len(words) <= _MOST_WORDS and all(word[0].isupper() for word in cased)


def _is_sentence(name: str) -> bool:
    words = name.split()
    if _IDEOGRAPHS.search(name):
        letters = len(_IDEOGRAPHS.findall(name))
        return letters > _MOST_IDEOGRAPHS and _DESCRIBES.search(name) is not None
    if len(words) >= 3 and _PREDICATE.search(name):
        return True
    if len(words) >= 4 and name.rstrip("\"'").endswith(("!", "?", ".")) and not _is_titled(name):
        return True
    if _ARTICLE.match(name) and len(words) >= 2 and not _is_titled(name[1:].lstrip() or name):
        return name[0].islower() or words[1][0].islower()
    return len(words) > _MOST_WORDS and not _is_long_name(words)


def _is_long_name(words: list[str]) -> bool:
    """Tell the many given names of one person, which all are capitalised."""
    telling = [word for word in words if word.lower() not in _PARTICLES]
    return all(word[0].isupper() or not word[0].isalpha() for word in telling) and len(words) <= 14
