"""Takes stage directions out of speech: ``*smiles warmly*``, ``(leans in)``, ``[pauses]``.

Emphasis looks alike. It is a direction only where a sentence may begin, and what begins the next
sentence follows; inside stand a verb of acting, or small letters, which no emphasised sentence
begins with. What is unsure is left where it is.
"""

from __future__ import annotations

import re

from infra.text.prose import drop_code

_ACT = (
    r"(?:adjust|answer|arch|ask|beam|begin|bend|bite|blink|blush|bow|breath|breathe|brighten|bring"
    r"|brush|burst|catch|chew|chuckl|clap|clasp|clear|clench|click|climb|clos|consider|continu"
    r"|cough"
    r"|crack|cross|crouch|cry|curl|curtsy|curtsie|danc|dip|doff|drink|drop|drum|dust|exhal|extend"
    r"|fan|fidget|fix|flash|flick|flip|fold|fold|freez|frown|furrow|gaz|gasp|gather|gestur|giggl"
    r"|giv|glanc|glar|glow|grab|greet|grimac|grin|groan|growl|grunt|hand|hesitat|hiss|hold|hug|hum"
    r"|inhal|interrupt|jump|kneel|knock|laugh|lean|leap|lick|lift|light|listen|look|lower|motion"
    r"|mov|mumbl|murmur|mutter|narrow|nod|offer|open|pac|pat|paus|peer|pick|plac|pluck|point|ponder"
    r"|pour|press|puff|pull|purr|purs|push|put|rais|reach|recit|reclin|reflect|relax|remov|repl"
    r"|respond|rest|ris|roll|rub|rummag|salut|scoff|scowl|scratch|scribbl|set|settl|shak|shift"
    r"|shiver|shout|show|shrug|sigh|sing|sip|sit|slam|slid|slouch|slump|smack|smil|smirk|snap"
    r"|sniff|snort|sob|soften|speak|spin|squeez|squint|stammer|stand|star|start|step|stir|stop"
    r"|straighten|strok|stroll|strum|stretch|stutter|swallow|sway|swirl|tak|tap|think|thump|throw"
    r"|tilt|tip|toss|touch|trac|trembl|tuck|tug|turn|twinkl|twirl|twist|wag|walk|wait|wav|weep"
    r"|whisper|whistl|widen|winc|wink|wip|wring|yawn)"
)
_VERB = rf"(?:{_ACT}(?:e?s|ing|ed|ies|ping|ging|ning|ting|bing|ming|ding)?)"
_WHO = (
    r"(?:(?:he|she|they|i|it|her|his|their|my|the|an?|with|in|while|still|then|and|both|"
    r"[A-Z][\w'\u2019-]+)\s+){0,3}"
)
_MANNER = (
    r"(?:(?!(?:real|exact|absolute|total|definite|certain|on|final|actual|especial|probab|sure|true"
    r"|honest|literal|complete|tru|fami|ita|ear|dai|week|month|year|like)(?:ly|y)\b)\w+ly"
    r"|(?:with|in) an? [\w' -]+)"
)
_DIRECTION = re.compile(
    rf"\s*{_WHO}(?:\w+ly,?\s+(?:and\s+)?)?{_VERB}\b|\s*{_MANNER}[.,\u2026]*\s*$"
    rf"|\s*(?:long |brief |short |heavy |deep )?(?:pause|silence|sigh|smile|laughter|beat)\W*$",
    re.IGNORECASE,
)
_FOREIGN_ACT = re.compile(
    r"\s*(?:lächel|lach|seufz|nick|zwinker|räusper|sourit|rit\b|soupire|hoche|sonr|ríe|suspira"
    r"|asiente|sorri|ri\b|"
    r"sorrid|ride\b|sospira|annuisce|улыб|сме|вздых|кив)",
    re.IGNORECASE,
)
_PART = (
    r"(?:eyes?|gaze|voice|tone|hands?|fingers?|lips|mouth|brows?|eyebrows?|face|expression|head"
    r"|shoulders|smile|cheeks|jaw|breath|arms?|accent|whisper|sigh|grin|nod|laugh|chuckle|shrug)"
)
_OF_BODY = re.compile(
    rf"\s*(?:(?:my|his|her|their|its) (?:[\w-]+ ){{0,2}}{_PART}\b"
    rf"|(?:in|with) an? (?:[\w,-]+ ){{0,4}}{_PART}\W*$"
    r"|an? (?:long |brief |short |heavy |deep )?(?:pause|silence|sigh|beat)\W*$"
    r"|(?:ahem|cough|cough,? cough|clears? throat|sniff)\W*$)",
    re.IGNORECASE,
)
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CJK_ACT = re.compile(
    r"[笑叹点點嘴眼头頭手声聲着著地息眉沉微]"
    r"|미소|웃|한숨|うなず|ため息"
)

_SPAN = (
    r"(?<![*\w\\])\*\*(?![\s*])(?P<bold>[^*\n]{2,240}?)(?<![\s*\\])\*\*(?![*\w])"
    r"|(?<!\w)\(\((?P<twice>[^()\n]{2,240})\)\)"
    r"|(?<![~\w])~(?![\s~])(?P<wave>[^~\n]{2,80}?)(?<![\s~])~(?![~\w])"
    r"|(?<![\w<])<(?P<angle>[a-z]{3,12}s(?: [\w' -]{2,60})?)>(?!.*</)"
    r"|(?<![\w{$])\{(?P<brace>[a-z]{3,12}s(?: [\w' -]{2,60})?)\}(?!\})"
    r"|(?:(?<=\n)|\A)-(?P<dash>[a-z]{3,12}s(?: [\w' -]{2,60})?)-(?=\s)"
    r"|(?<![*\w\\])\*(?![\s*])(?P<star>[^*\n]{2,240}?)(?<![\s*\\])\*(?![*\w])"
    r"|(?<![_\w\\])_(?![\s_])(?P<line>[^_\n]{2,240}?)(?<![\s_])_(?![_\w])"
    r"|(?<!\w)\((?P<round>[^()\n]{2,240})\)(?!\()"
    r"|(?<![\w\]!])\[(?P<square>[^\[\]\n]{2,240})\](?![(\[:])"
    r"|\uff08(?P<wide>[^\uff08\uff09\n]{1,60})\uff09"
)
_MARKED = re.compile(_SPAN)
_BEGINS = re.compile(r"(?:^|[.!?\u2026\u3002\uff01\uff1f:\"\u201d\u300d)*~\u2014-]|\n)\s*$")
_NEXT = re.compile(r"\s*(?:$|\n|[^\W\d_a-z]|[\"'\u201c\u2018\u300c\u00ab\u2026*(\[]|\d|\.\.\.)")
_CHAT = re.compile(r"[A-Za-zÀ-ɏЀ-ӿ]")

SIGNS = r"^\s*(?:$|[*_(\[~<{-])"
"""This is in every plain text that is nothing but stage directions."""


def drop_stage_directions(text: str) -> str:
    """Return the speech of a text without its stage directions; it may be empty."""
    if not any(mark in text for mark in "*_([\uff08~<{") and not text.startswith("-"):
        return text
    if drop_code(text) != text:
        return text  # code and formulas are full of stars and brackets
    pieces: list[str] = []
    at = 0
    for found in _MARKED.finditer(text):
        before = "".join(pieces) + text[at : found.start()]
        if _is_direction(found, before, text):
            pieces = [before]
            at = found.end()
    if not at:
        return text
    return _tidy("".join(pieces) + text[at:])


def _is_direction(found: re.Match[str], before: str, text: str) -> bool:
    kind = found.lastgroup or ""
    inside = found[kind].strip()
    last_line = before[-80:].split("\n")[-1] if before else ""
    if before.strip() and last_line.strip() and not _BEGINS.search(before[-80:]):
        return False
    if re.fullmatch(r"\s*(?:[-+\u2022]|\d+[.)])\s*", last_line):
        return False  # the first words of a list's item
    after = text[found.end() :]
    if _CJK.search(inside):
        short = len(inside) <= 30 and not re.search(r"\d", inside)
        return short and (kind == "wide" or kind == "star") and bool(_CJK_ACT.search(inside))
    opens = not before.strip() and re.match(rf"{_ACT}(?:e?s|ies)\s+\w", inside) is not None
    if not (_NEXT.match(after) or opens) or not _CHAT.search(inside):
        return False
    if _OF_BODY.match(inside):
        # "(My hands still smell of it.)" is an aside; a direction in the first person has stars.
        return kind in ("star", "bold", "line", "wave") or not inside.lower().startswith("my ")
    if _DIRECTION.match(inside) or _FOREIGN_ACT.match(inside):
        # "(Think of it as …)" and "*Think!*" are speech: acting is told in the third person.
        return inside[0].islower() or _is_told(inside)
    return (
        kind == "star" and inside[0].islower() and " " in inside and _stands_alone(last_line, after)
    )


def _is_told(inside: str) -> bool:
    first = re.match(r"\w+", inside)
    word = first[0].lower() if first else ""
    if word in ("he", "she", "they", "i", "his", "her", "the", "with", "in", "a"):
        return re.search(rf"\b{_ACT}\w*", inside, re.IGNORECASE) is not None and word != "in"
    return (
        word.endswith(("s", "ing", "ly", "ed"))
        or re.match(rf"[A-Z][\w'\u2019-]+\s+(?:\w+ly\s+)?{_ACT}(?:e?s|ies)\b", inside) is not None
    )


def _stands_alone(line: str, after: str) -> bool:
    """Tell whether a span has its line for itself, or opens the text before a new sentence."""
    return not line.strip() or not after.strip() or after.startswith("\n")


def _tidy(text: str) -> str:
    text = re.sub(r"[ \t]{2,}", " ", text)
    text = re.sub(r"[ \t]+\n|\n[ \t]+(?=\S)", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
