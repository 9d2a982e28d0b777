"""Recognises answers that refuse to help, or that speak as a language model.

Both are judged on English phrases only, and both err towards keeping: a character who "cannot
wait", who "can't help but smile" or who is an AI researcher is in character.
"""

from __future__ import annotations

import re

HEAD_CHARS = 320
"""A refusal opens the answer; later in the text such phrases are mostly part of a story."""

_CANNOT = (
    r"(?:can(?:no|')t|can not|could not|couldn't|won't|will not|am unable to|'m unable to"
    r"|am not able to|'m not able to|am not comfortable|'m not comfortable"
    r"|(?:do not|don't) feel comfortable)"
)
_SERVE = (
    r"(?:assist(?:ing)?\b|comply\b|fulfil+ (?:this|that|your|the|such)\b"
    r"|help(?:ing)?(?: you)?(?: out)? with (?:that|this|your|any|such)\b"
    r"|(?:provid(?:e|ing)|giv(?:e|ing)|offer(?:ing)?|shar(?:e|ing)) (?:[\w'-]+ ){0,4}"
    r"(?:advice|assistance|guidance|information|instructions?|details|content|recommendations)\b"
    r"|(?:generat(?:e|ing)|creat(?:e|ing)|writ(?:e|ing)|produc(?:e|ing)) "
    r"(?:that|this|such|explicit|harmful|any) (?:kind of |type of )?"
    r"(?:content|text|material|request)\b"
    r"|(?:engag(?:e|ing)|participat(?:e|ing)) in (?:this|that|such|any)\b)"
)
_SERVE_WHEN_SORRY = (
    r"(?:help\b(?!\s+(?:but|it|myself|\w+ing)\b)"
    r"|(?:answer|discuss|continue|do (?:that|this|it)|support|respond|offer|provide|give|share"
    r"|create|write|generate|produce|recommend|advise|complete|perform|translate|tell you)"
    r"\b(?!\s+(?:\w+ ){0,2}enough\b))"
)
_SORRY = (
    r"(?:(?:i'm|i am) (?:so |very |really |truly |terribly |deeply )?(?:sorry|afraid)"
    r"|(?:my (?:sincere |deepest )?)?apologies|i apologi[sz]e|sorry|unfortunately|regrettably"
    r"|i regret)"
)
_BREAK = r"[\s,.;:!\u2014\u2013-]*(?:(?:but|however|that)\b[\s,]*)?(?:\w+,\s*)?"
_START = r"(?:^|[.!?…*_\n])[\s\"'*_(\u2014\u2013-]*"
_REFUSAL = re.compile(
    rf"{_START}(?:as an? [^,.!?\n]{{1,60}}, )?(?P<phrase>"
    rf"{_SORRY}{_BREAK}i(?: |(?=')){_CANNOT} (?:{_SERVE}|{_SERVE_WHEN_SORRY})"
    rf"|(?:however, |but )?i(?: |(?=')){_CANNOT} {_SERVE}"
    r"|i (?:must|have to|need to|will have to)(?: respectfully| politely)? "
    r"(?:decline|refuse)(?: to (?:answer|help|assist|provide|engage|participate|respond)"
    r"| (?:this|that|your) (?:request|question))\b"
    r"|it (?:(?:is|would be) (?:not |in)|(?:would not|wouldn't) be )appropriate for me to "
    r"(?:provide|assist|help|answer|give|discuss|engage)\b"
    r")",
)
_POLICY = re.compile(
    r"(?:against|violates?|violation of) (?:(?:my|openai's) (?:programming|(?:ethical )?guidelines)"
    r"|(?:my|our|the|openai's) (?:content|usage) polic(?:y|ies))\b"
)

_MACHINE = (
    r"(?:ai|a\.i\.|artificial intelligence|(?:large |ai )?language model|chat ?bot"
    r"|virtual assistant|ai (?:model|assistant|system|program|chat ?bot|language model))"
)
_NOT_A_TRADE = (
    r"(?=\s*(?:[.,;:!?)\"'*\u2014\u2013]|$)|\s+-|\s+(?:i|my|and|but|so|who|that|which|with|here|trained"
    r"|created|developed|designed|made|without)\b)"
)
_ADMISSION = re.compile(
    rf"\b(?:as an? {_MACHINE}{_NOT_A_TRADE}"
    rf"|(?:i'm|i am) (?:just |only |merely |actually |simply |really )?an? {_MACHINE}{_NOT_A_TRADE}"
    r"|(?:i was|i'm|i am) (?:trained|created|developed|built|made) by "
    r"(?:openai|meta ai|meta|anthropic|google|mistral|alibaba)\b"
    r"|my knowledge cut-?off\b"
    r"|(?:my programming|i am programmed|i'm programmed|i was programmed) (?:to|does|prevents|is)\b"
    r"|(?:the|this|given) (?:persona description|character specification)\b)"
)
_IS_MACHINE = re.compile(
    r"\b(?:an? |the )(?:[\w-]+ ){0,3}?(?:ai|artificial intelligence|robot|android|cyborg|chatbot"
    r"|language model|virtual assistant)(?: (?:assistant|system|model|entity|being|companion))?"
    r"(?=\s*(?:[.,;:!?]|$)|\s+(?:who|that|which|with|in|on|from|of|designed|created|built|living"
    r"|aboard|named|called|trying|learning)\b)"
)
_ADMISSION_HINTS = (
    " ai", "a.i.", "artificial", "language model", "chatbot", "chat bot", "virtual assistant",
    " by openai", " by meta", " by anthropic", " by google", " by mistral", " by alibaba",
    "my knowledge", "my programming", "programmed", "persona description", "specification",
)  # fmt: skip

REFUSAL_SIGNS = (
    "cannot", "can't", "can\u2019t", "can not", "could not", "couldn't", "couldn\u2019t", "won't",
    "won\u2019t", "will not", "unable to", "not able to", "comfortable", "decline", "refuse",
    "appropriate", "programming", "guidelines", "polic",
)  # fmt: skip
"""One of these is, in small or capital letters, in the head of every plain text that refuses."""

ADMISSION_SIGNS = _ADMISSION_HINTS
"""One of these is in every folded text with an admission, or in a blank and such a text."""


def fold_quotes(text: str) -> str:
    """Fold case and typographic quotes; the length stays as good as the same."""
    return text.lower().replace("\u2019", "'").replace("\u201c", '"').replace("\u201d", '"')


def find_refusal(folded: str) -> str | None:
    """Return the phrase by which an answer refuses, or ``None``; takes folded text."""
    head = folded[:HEAD_CHARS]
    found = _REFUSAL.search(head)
    if found:
        return found["phrase"].strip()
    policy = _POLICY.search(head)
    return policy[0] if policy else None


def find_ai_admission(folded: str, persona: str) -> str | None:
    """Return the phrase by which an answer admits to be a model, or ``None``.

    A persona that is itself an AI or a robot may say so.
    """
    padded = f" {folded}"
    if not any(hint in padded for hint in _ADMISSION_HINTS):
        return None
    found = _ADMISSION.search(folded)
    if found is None or _IS_MACHINE.search(fold_quotes(persona)):
        return None
    return found[0]
