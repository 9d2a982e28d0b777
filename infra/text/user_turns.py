"""Finds where an answer goes on for the other side: "User: …", "### Instruction", "Human: …".

Scripts and forms have such labels rightly: a script is announced, or asked for; the label of a
form stands among others of its kind.
"""

from __future__ import annotations

import re

from infra.text.chat_marks import is_whole
from infra.text.prose import blank_code
from infra.text.wording import shorten

_USER = (
    r"(?:User|USER|Human|HUMAN|Utilisateur|Benutzer(?:in)?|Nutzer(?:in)?|Usuario|Usuaria|Utente"
    r"|Usuário|Użytkownik|Gebruiker|Kullan\u0131c\u0131|Пользователь|Человек|用户|用戶|人类|人類|ユーザー?"
    r"|사용자|المستخدم|उपय\u094bगकर\u094dत\u093e|\{\{user\}\}|<user>|<USER>)"
)
_MACHINE = (
    r"(?:Assistant|ASSISTANT|AI|Bot|BOT|Chatbot|ChatGPT|GPT|AI Assistant|Model|Asistente|Assistente"
    r"|Assistent|Ассистент|助手|アシスタント|어시스턴트)"
)
_NUMBERED = (
    r"(?:['\u2019]s)?(?: ?(?:\d{1,2}|input|query|message|question|prompt|turn|says"
    r"|\([^()\n]{1,40}\)))?"
)
_LABELLED = re.compile(
    rf"^[ \t>]*(?:#{{1,6}}[ \t]*)?[*_\[(]{{0,3}}(?:(?:The )?{_USER}|The user|{_MACHINE})"
    rf"{_NUMBERED}[*_\])]{{0,3}}"
    rf"(?:[ \t]*[:\uff1a]| [-\u2013\u2014](?= [A-Z]))[*_]{{0,3}}",
    re.MULTILINE,
)
_HEADED = re.compile(
    r"^[ \t]*#{2,4}[ \t]*(?:(?:Human|Assistant|User|System|Instruction)(?:[ \t]*:.*|[ \t]*)"
    r"|(?:Response|Prompt|Query|New Instruction|Next Instruction)[ \t]*:.*)$",
    re.MULTILINE,
)
_BARE = re.compile(
    r"(?P<said>[.!?\"')*])(?:\s*(?P<role>user|human|assistant)|\s*\n[\[*#]{0,3}(?:User|Human"
    r"|USER|HUMAN)[\]*]{0,3})[ \t]*\n"
)
_PLAIN_LABEL = re.compile(r"(?:\n[ \t]*\n)[ \t]*(?:user|human):[ \t]+\S")
_AS_DATA = re.compile(r"\{\s*[\"']?role[\"']?\s*:\s*[\"']user[\"']|^role:[ \t]*user\b", re.I | re.M)
_TAGGED = re.compile(r"<(user|human)>[^<>]*</\1>|<(?:user|human)>\s*\S", re.IGNORECASE)
_INLINE = re.compile(
    r"[.!?\u3002\uff01\uff1f][\"')*]*[ \t]+(?:###? ?)?(?:User|USER|Human|HUMAN"
    r"|### Instruction) ?: ?\S"
)
_QUESTIONED = re.compile(
    r"^[*_]{0,2}(?:Q|Question|Input|Query|Speaker|Person)(?: ?[\dA]*)?[*_]{0,2} ?:[*_]{0,2} ?\S",
    re.MULTILINE,
)
_ANSWERED = re.compile(
    r"^[*_]{0,2}(?:A|Answer|Output|Response|Speaker|Person)(?: ?[\dB]*)?[*_]{0,2} ?:[*_]{0,2} ?\S",
    re.MULTILINE,
)
_OTHER = re.compile(
    r"^[*_\[]{0,3}(?P<who>[A-Z][\w'\u2019.-]*(?: [\w'\u2019.-]+){0,3})[*_\]]{0,3} ?[:\uff1a]"
    r"[*_]{0,3}[ \t]*\S",
    re.MULTILINE,
)
_QUIZ = re.compile(
    r"\b(?:questions?|quiz|flash ?cards?|faqs?|q ?& ?a|interview|riddles?|examples?|trivia|test"
    r"|exam"
    r"|exercise|practice)\b",
    re.IGNORECASE,
)
_FIELD = re.compile(r"\s*[-*]?\s*[\w .()/-]{1,30}[:=]\s*[^\n]{0,79}[^\s.!?]")
_SCRIPT = re.compile(
    r"\b(?:dialog(?:ue)?s?|scripts?|interviews?|transcripts?|chatbots?|q ?& ?a|faqs?|screenplay"
    r"|skit"
    r"|(?:write|create|generate|compose|draft|continue|complete|show|give|simulate|imagine|make)\b"
    r"[^.?!\n]{0,60}\b(?:conversations?|chats?|exchange|scene|play|prompts?|messages?|config\w*))\b",
    re.IGNORECASE,
)

SIGNS = (
    rf"`|##|(?m:^)[ >]*(?:#{{1,6}} *)?[*_\[(]{{0,3}}(?:(?:The )?{_USER}|The user|{_MACHINE})"
    r"|(?:user|human|assistant) *\n|\n[\[*#]{0,3}(?:User|Human|USER|HUMAN)"
    r"|(?:User|USER|Human|HUMAN|Instruction|user|human) ?:|(?i:role[\"']?\s*:|<(?:user|human)>)"
    r"|\n[*_\[]{0,3}[A-Z][\w'\u2019.-]*(?: [\w'\u2019.-]+){0,3}[*_\]]{0,3} ?:"
)
"""One of these is in every plain text in which :func:`find_user_turn` finds anything."""


def find_user_turn(text: str, *, speaker: str = "", question: str = "") -> str | None:
    """Return the line in which an answer begins to play the user, or ``None``."""
    visible = blank_code(text)
    if _SCRIPT.search(question):
        return None
    for found in _HEADED.finditer(visible):
        if _goes_on(visible, found.start()):
            return _line(text, found)
    for found in _LABELLED.finditer(visible):
        if not found.start() and not re.match(rf"\W*{_USER}", found[0]):
            continue  # the speaker's own role, which trimming takes away
        if _is_field(visible, found.start()):
            continue
        if visible[: found.start()].strip() and not _goes_on(visible, found.start()):
            break  # a script that was announced
        return _line(text, found)
    found_bare = _BARE.search(visible)
    if found_bare is not None and is_whole(visible[: found_bare.end("said")]):
        return _line(text, found_bare)
    if found_inline := _INLINE.search(visible):
        return _line(text, found_inline)
    as_data = (_AS_DATA,) if "role" in visible.lower() else ()
    for pattern in (_PLAIN_LABEL, *as_data, _TAGGED):
        found_other = pattern.search(visible)
        if found_other is not None and is_whole(visible[: found_other.start()]):
            return _line(text, found_other)
    return _find_stand_in(visible, text, speaker)


def _find_stand_in(visible: str, text: str, speaker: str) -> str | None:
    """Find another's turn before the speaker's next, and questions that it answers itself."""
    first = re.escape(speaker.split()[0]) if speaker else r"(?!)"
    own = re.compile(rf"^[*_\[]{{0,3}}{first}\b[^:\n]{{0,40}}[:\uff1a]", re.MULTILINE)
    for found in _OTHER.finditer(visible):
        if found["who"].split()[0].lower() in speaker.lower().split() or not found.start():
            continue
        labelled = own.search(visible, 0 if found["who"] == "You" else found.end())
        if labelled is not None and _goes_on(visible, found.start()):
            return _line(text, found)
    for found in _QUESTIONED.finditer(visible):
        before = visible[: found.start()]
        answered = _ANSWERED.search(visible, found.end())
        if before.strip() and answered and _goes_on(visible, found.start()):
            return None if _QUIZ.search(before) else _line(text, found)
    return None


def _goes_on(text: str, at: int) -> bool:
    """Tell whether a turn begins after speech that has ended, not after its announcement."""
    before = text[:at].rstrip().rstrip("*_-")
    return bool(before) and before.rstrip()[-1:] not in (":", "\uff1a", ",")


def _is_field(text: str, at: int) -> bool:
    """Tell whether the line before, without a blank line between, is a field of a form."""
    before = text[:at]
    if not before.endswith("\n") or before.endswith("\n\n"):
        return False
    last = before.rstrip("\n").rpartition("\n")[2]
    return _FIELD.fullmatch(last) is not None


def _line(text: str, found: re.Match[str]) -> str:
    end = text.find("\n", found.end())
    return shorten(text[found.start() : end if end >= 0 else len(text)].strip(), 80)
