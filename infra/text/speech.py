"""Reads what a character says out of a model's answer, or tells why nobody could say that.

What surrounds the speech is trimmed where nothing is lost: template marks at its ends, an
announcement ("Sure! Here is the response in character:"), the speaker's own name, quotation marks
around all of it, an offer to revise it, stage directions. What cannot be trimmed is a
:class:`~infra.errors.Reject`: empty, or one of :data:`SPEECH_FAULTS`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal, get_args

from infra.errors import Reject
from infra.text.broken_text import find_broken_text
from infra.text.chat_marks import find_mark, strip_frame, strip_marks
from infra.text.loops import find_loop
from infra.text.placeholders import find_placeholder
from infra.text.stage_directions import drop_stage_directions
from infra.text.text_cleaning import clean_answer, fix_surrogates, strip_quotes
from infra.text.user_turns import find_user_turn
from infra.text.wording import shorten

StageDirections = Literal["trim", "keep"]
SpeechFault = Literal[
    "control_tokens", "plays_user", "stage_direction", "placeholder", "broken_text", "repetition"
]
SPEECH_FAULTS: tuple[SpeechFault, ...] = get_args(SpeechFault)

_ANNOUNCED = re.compile(
    r"\A[\s*_#>(\[\"]*(?P<lead>[^\n]{2,240}?)(?:[:\uff1a][*_)\]\"]*[ \t]*(?:\n\s*"
    r"|(?=[\"\u201c\u300c\u00ab*]))"
    r"|(?<=[)\]*])[ \t]*\n\s*)"
)
_OPENER = re.compile(
    r"\W*(?:sure|certainly|of course|absolutely|okay|ok|alright|all right|got it|understood|great"
    r"|no problem|here(?:['\u2019]s| is| are| you go| it is)|below is|this is|the following is"
    r"|i(?:['\u2019]ll| will| would|['\u2019]d)\b|as\b|in\b|my (?:response|reply)|speaking as"
    r"|playing"
    r"|voici|bien sûr|d['\u2019]accord|hier ist|gerne|natürlich|aquí (?:tienes|está)|claro"
    r"|por supuesto"
    r"|ecco|certo|aqui está|好的|当然|以下是|这是|はい|以下|こちら|네|다음은|конечно|вот)",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"\bin[- ]character\b|\bas (?:the|this|your) character\b|\b(?:the |this "
    r"|your )?character(?:['\u2019]s)? "
    r"(?:response|reply|answer|voice|words|would)\b|\bin the (?:voice|style|tone|words|persona"
    r"|role)"
    r" of\b|\bin (?:his|her|their|my|this) (?:own )?(?:voice|style|tone|words|persona)\b"
    r"|\bfrom (?:the perspective|the point of view|\w+ \w+['\u2019]s perspective)\b|\brole-?play\b"
    r"|\b(?:here['\u2019]s|here is|this is|below is) (?:a|an|my|the|your) (?:\w+ ){0,2}"
    r"(?:response|reply|rewrite|rewritten \w+)(?: (?:to|for|as|from|based|that|in|tailored)\b.*)?$"
    r"|\b(?:rewritten|rephrased) (?:response|reply|answer|version|dialog(?:ue)?|turn)\b"
    r"|\bhow (?:\w+ ){1,4}(?:would|might) (?:respond|answer|reply|say|put)\b"
    r"|\b(?:i|he|she|they|\w+) would (?:respond|answer|reply|say)(?: .*)?$"
    r"|réponse|antwort(?: von| als| in|$)|respuesta|risposta|resposta"
    r"|回答|回复|回覆|答复|返答|返事|答え|답변|대답|ответ",
    re.IGNORECASE,
)
_SAMPLE = re.compile(
    r"\b(?:sample|example|possible|template|draft|responses|replies|customer|client|email|e-mail)\b",
    re.IGNORECASE,
)
_BARE_LABEL = re.compile(
    r"\A[\s*_#\[(]*(?:(?:in[- ]character |character(?:['\u2019]s)? |my )?(?:response|reply)"
    r"|in[- ]character|assistant|ai|bot|chatbot|character|speaker|answer in character"
    r"|(?:final )?answer|output|speech|助手|アシスタント|어시스턴트|ассистент|asistente|assistente)"
    r"[*_\])]*(?:[ \t]*\([^()\n]{1,40}\))?\s*[:\uff1a][*_]*\s*",
    re.IGNORECASE,
)
_SCRIPT_LINE = re.compile(r"^[*_\[]*[A-Z][\w .'\u2019-]{0,30}[*_\]]*:[*_]*\s+\S", re.MULTILINE)
_OFFER = re.compile(
    r"\W*(?:please |do )?(?:let me know|i hope (?:this|that)|feel free|note\b|this (?:response"
    r"|reply"
    r"|answer)|would you like me|if you(?:['\u2019]d| would) like|is there anything|\[?\(?end of"
    r"|i(?:['\u2019]ve| have) (?:kept|tried|written|made)|in this (?:response|reply))",
    re.IGNORECASE,
)
_OF_OFFER = re.compile(
    r"\b(?:in character|the character|(?:the|his|her|their) persona|this (?:response|reply|answer)"
    r"|the (?:response|reply|tone|rewrite|rewritten)|another version|(?:adjust|revis|rewrit"
    r"|tweak)\w*"
    r"|end of (?:the )?(?:response|reply|answer|role-?play|turn|dialog(?:ue)?))\b",
    re.IGNORECASE,
)
_CODE_FENCE = "```"


def read_speech(
    text: str,
    *,
    speaker: str = "",
    question: str = "",
    stage_directions: StageDirections = "trim",
    checked: bool = True,
) -> str | Reject:
    """Return the speech of an answer, trimmed, or the reason why it cannot be used.

    ``speaker`` is the character's name, whose label is trimmed. ``question`` is what was asked:
    a letter asked for may have blanks to fill in, a script may have users. What is not ``checked``
    is only cleaned, and not empty.
    """
    broken = find_broken_text(strip_marks(fix_surrogates(text)))
    said = clean_answer(text)
    if not said:
        return Reject("empty")
    if not checked:
        return said
    said = trim_speech(said, speaker=speaker, question=question)
    if stage_directions == "trim":
        said = drop_stage_directions(said)
    if not any(char.isalnum() for char in said):
        return Reject(
            "stage_direction" if clean_answer(text)[:1] in "*([_\uff08" else "empty", text[:80]
        )
    if broken is not None:
        return Reject("broken_text", broken)
    return find_speech_fault(said, speaker=speaker, question=question) or said


def trim_speech(said: str, *, speaker: str = "", question: str = "") -> str:
    """Return an answer without what surrounds the speech, stage directions kept."""
    said = strip_marks(strip_frame(said))
    for _ in range(3):
        before = said
        said = _drop_offer(_drop_announcement(said, speaker))
        said = _drop_label(said, speaker)
        if not said.startswith("`"):
            said = strip_quotes(said)
        if said == before or not said:
            break
    return said.strip()


def find_speech_fault(
    said: str,
    *,
    speaker: str = "",
    question: str = "",
    faults: Collection[SpeechFault] = SPEECH_FAULTS,
) -> Reject | None:
    """Say why a trimmed answer cannot be used as it is, or ``None``; only ``faults`` count."""
    for fault in SPEECH_FAULTS:
        if fault in faults:
            detail = _find_fault(fault, said, speaker, question)
            if detail is not None:
                return Reject(fault, detail)
    return None


def _find_fault(fault: SpeechFault, said: str, speaker: str, question: str) -> str | None:
    match fault:
        case "control_tokens":
            return find_mark(said)
        case "plays_user":
            return find_user_turn(said, speaker=speaker, question=question)
        case "stage_direction":
            return None if drop_stage_directions(said) else shorten(said, 80)
        case "placeholder":
            return find_placeholder(said, question=question)
        case "broken_text":
            return find_broken_text(said)
        case "repetition":
            return None if asks_to_repeat(question) else find_loop(said)


_REPEAT = re.compile(
    r"\b(?:repeat|\d+ times|(?:three|four|five|ten|twenty|hundred|many) times|over and over"
    r"|again and again|chant|mantra)\b",
    re.IGNORECASE,
)


def asks_to_repeat(question: str) -> bool:
    """Tell whether a question asks for something to be said many times."""
    return _REPEAT.search(question) is not None


def _drop_announcement(said: str, speaker: str) -> str:
    found = _ANNOUNCED.match(said)
    if found is None:
        return said
    lead, rest = found["lead"], said[found.end() :].strip()
    named = bool(speaker) and re.search(
        rf"\b(?:as|from|by|of) {re.escape(speaker.split()[0])}\b", lead, re.IGNORECASE
    )
    about = _ABOUT.search(lead) or named
    if not rest or not about or not _OPENER.match(lead) or _SAMPLE.search(lead):
        return said
    return rest


def _drop_label(said: str, speaker: str) -> str:
    """Drop the speaker's name or role before the speech, unless a whole script follows."""
    if len(_SCRIPT_LINE.findall(said)) > 1:
        return said
    found = _BARE_LABEL.match(said)
    if found is None and speaker:
        words = [word for word in speaker.split() if len(word) > 1]
        names = "|".join(re.escape(name) for name in dict.fromkeys([speaker, *words]))
        label = (
            rf"\A[\s*_\[(]*(?:{names})(?: (?:{names}))*(?:['\u2019]s (?:response|reply|answer))?"
            rf"(?: (?:says|said|replies|responds|answers|speaks))?[*_\])]*"
            rf"(?:[ \t]*[(\[][^()\[\]\n]{{1,60}}[)\]])?[*_]*\s*[:\uff1a][*_]*\s*"
        )
        found = re.match(label, said, re.IGNORECASE)
    return said[found.end() :] if found else said


def _drop_offer(said: str) -> str:
    """Drop a last paragraph that speaks about the answer, not in it."""
    before, gap, last = said.rpartition("\n\n")
    if not gap or not before.strip() or len(last) > 400 or _CODE_FENCE in last:
        return said
    if _OFFER.match(last) and _OF_OFFER.search(last):
        return re.sub(r"\n\s*(?:-{3,}|\*{3,})\s*\Z", "", before.rstrip()).rstrip()
    return said
