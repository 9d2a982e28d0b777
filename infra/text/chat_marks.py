"""Knows the marks by which chat templates part turns, in the spelling of every family.

They are special tokens to the model that they belong to and text to all others. A teacher that
spells one out has ended its turn there, or has lost the thread.
"""

from __future__ import annotations

import re

from infra.text.prose import blank_code, drop_code

_ROLE = r"(?:assistant|model|bot|ai|chatbot|gpt|ASSISTANT)"
_END = (
    r"<\|(?:im_end|eot_id|eom_id|eot|eom|end_of_text|endoftext|end|return|end_of_turn|eos|eod"
    r"|END_OF_TURN_TOKEN|end_of_role|END_RESPONSE|endofprompt|endofturn|stop|im_sep|separator"
    r"|end_of_sentence|endoftask|EOS_TOKEN|EOT)\|>"
    r"|<\uff5c(?:end\u2581of\u2581sentence|end of sentence|EOT)\uff5c>"
    r"|<[ \t]?[/\\][ \t]?[sS][ \t]?>|<end_of_(?:turn|utterance)>|<turn\|>|<eo[ads]>|<EO[DST]>"
    r"|<eot>|<endoftext>|<end>|\[EOS\]|\[/?END\]|\[\|endofturn\|\]|<\|(?:role|turn|slot)_end\|>"
    r"|<\|?END\|?>|</?(?:end_of_text|eot_id)>|<reserved_\d+>|\[e~\[|</assistant>"
    # What a limit or a stop string left of such a mark, where the text ends.
    r"|(?:<\|(?:[A-Za-z_]{0,20}\|?)?|</s?|(?:im_end|eot_id|endoftext|end_of_text)\|>)\Z"
    r"|\|(?:im_end|eot_id|endoftext|end_of_text)\|?>?\Z"
)
_START = (
    r"<\|(?:im_start|start_header_id|header_start|user|system|assistant|human|start_of_role|start"
    r"|START_OF_TURN_TOKEN|USER_TOKEN|prompter|observation|begin_of_text|startoftext)\|>"
    r"|<start_of_turn>|<\|turn>|<bos>|<s>|\[/?INST\]|<</?SYS>>|\[/?SYSTEM_PROMPT\]|\]~b\]"
    r"|<\uff5c(?:User|Assistant|begin\u2581of\u2581sentence)\uff5c>|\[gMASK\]|<sop>|<eoh>"
    r"|\[\|(?:user|assistant|system)\|\]|<role>(?:HUMAN|USER|ASSISTANT|SYSTEM)</role>"
    r"|<extra_id_\d+>(?=User|System|Assistant)"
)
_OTHER = (
    r"<\|[A-Za-z][\w\u2581 .-]{0,40}\|>|<\uff5c[^\uff5c<>\n]{1,40}\uff5c>|<\|[a-z_]{3,20}>"
    r"|<[a-z_]{3,20}\|>|<(?:pad|unk|mask|sep|extra_id_\d+|unused_?\d+|TOKENS_UNUSED_\d+)>"
    r"|<(?:PAD|UNK|MASK|SEP|BOS)>|\[\|[a-z_]{2,20}\|\]"
    r"|\[(?:PAD|UNK|CLS|SEP|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]"
    r"|</?(?:tool_call|tool_response|user|human|assistant)>"
)
_MARK = re.compile(f"{_END}|{_START}|{_OTHER}")
_TURN_END = re.compile(rf"\s*(?:{_END})")
_NEXT_TURN = re.compile(rf"\s*(?:{_START})")
_LEAD = re.compile(
    r"(?:\s*(?:<\|(?:im_start|start|start_of_role)\|>\s*" + _ROLE + r"(?:<\|end_of_role\|>)?"
    r"(?:<\|channel\|>final)?(?:<\|message\|>|<\|im_sep\|>)?"
    r"|<\|(?:start_header_id|header_start)\|>\s*" + _ROLE + r"\s*<\|(?:end_header_id|header_end)\|>"
    r"|<start_of_turn>\s*" + _ROLE + r"\b|<\|turn>\s*" + _ROLE + r"\b"
    r"|<\|(?:assistant|ASSISTANT_TOKEN|CHATBOT_TOKEN|begin_of_text|startoftext|im_sep"
    r"|START_OF_TURN_TOKEN|START_RESPONSE|message)\|>"
    r"|<\|channel\|>final<\|message\|>|<\uff5cAssistant\uff5c>"
    r"|<\uff5cbegin\u2581of\u2581sentence\uff5c>"
    r"|<bos>|<s>(?!.*</s>.*\w)|\[/INST\]|<assistant>|\[\|assistant\|\]|<role>ASSISTANT</role>"
    r"|assistant\s*<\|end_header_id\|>|<extra_id_\d+>Assistant\n))+\s*"
)
# A header whose marks were skipped in decoding leaves its word behind.
_BARE_ROLE = re.compile(
    r"\s*(?:(?:assistant|model)[ \t]*:?[ \t]*\n"
    r"|(?:ai|bot|chatbot|system|gpt|character|Assistant|ASSISTANT|AI|Model|Bot)[ \t]*:?[ \t]*\n"
    r"[ \t]*\n|ASSISTANT[ \t]*\n"
    r"|(?:\[|#{1,4}[ \t]*|\*\*)(?:[Aa]ssistant|ASSISTANT|AI|[Mm]odel|[Rr]esponse|[Aa]nswer"
    r"|[Rr]eply)(?:\]|\*\*)?:?(?:\*\*)?[ \t]*\n)\s*"
)
_AROUND = re.compile(
    r"\s*<(?P<tag>answer|response|output|reply|final|final_answer|speech|dialogue|assistant|message"
    r"|profile|character(?:_profile)?|result)>(?P<inside>.*)</(?P=tag)>\s*",
    re.DOTALL | re.IGNORECASE,
)
_TERMINAL = re.compile(
    r"[.!?\u2026\u3002\uff01\uff1f\u061f\u0964~][\"'\u201d\u2019\u00bb\u300d\u300f)\]*_`]*$"
)
_OPEN_END = re.compile(
    r"(?:[,;:(\[{/\u2013\u2014-]|\b(?:a|an|the|and|or|but|of|in|to|with|for|from|at|by|is|was|are"
    r"|as|that|which|who|my|your|his|their|its))$"
)

SIGNS = r"[<\[]"
"""This is in every text in which :func:`find_mark` finds anything."""


def strip_marks(text: str) -> str:
    """Return a turn without the header before it and without what follows its own end.

    A text that is not whole where a mark ends it stays as it is, for :func:`find_mark` to name.
    """
    if any(mark in text for mark in "<[]|"):
        text = _cut_lead(text)
        visible = blank_code(text)
        found = _TURN_END.search(visible)
        if found is not None and not _opens_html(visible, found):
            before = text[: found.start()].rstrip()
            if not before or not ends_openly(before):
                text = before
        visible = blank_code(text)
        found = _NEXT_TURN.search(visible)
        if found is not None and is_whole(text[: found.start()]):
            text = text[: found.start()].rstrip()
    return _BARE_ROLE.sub("", text, count=1) if _BARE_ROLE.match(text) else text


def strip_frame(text: str) -> str:
    """Return the text without a pair of tags around all of it: ``<answer>…</answer>``."""
    found = _AROUND.fullmatch(text) if text.lstrip().startswith("<") else None
    if found is None or re.search(rf"</?{found['tag']}>", found["inside"], re.IGNORECASE):
        return text
    return found["inside"].strip()


def find_mark(text: str) -> str | None:
    """Return the first template mark of a text outside of code, or ``None``."""
    if "<" not in text and "[" not in text:
        return None
    visible = drop_code(text)
    for found in _MARK.finditer(visible):
        if not _opens_html(visible, found) and not _is_html(visible, found):
            return found[0].strip()
    return None


def is_whole(text: str) -> bool:
    """Tell whether a text ends as a finished one does."""
    text = text.rstrip()
    return bool(text) and (_TERMINAL.search(text) is not None or text[-1] > "\u2600")


def ends_openly(text: str) -> bool:
    """Tell whether a text surely goes on: after a comma, an article, a preposition."""
    return _OPEN_END.search(text.rstrip()) is not None


def _cut_lead(text: str) -> str:
    lead = _LEAD.match(text)
    return text[lead.end() :] if lead else text


def _opens_html(text: str, found: re.Match[str]) -> bool:
    """Tell the strike-through of HTML, ``<s>…</s>``, from the marks of a sequence."""
    mark = found[0].strip()
    if mark == "</s>":
        return text.rfind("<s>", 0, found.start()) >= 0
    if mark == "</assistant>":
        return text.rfind("<assistant>", 0, found.start()) >= 0
    return mark == "<s>" and text.find("</s>", found.end()) > found.end()


def _is_html(text: str, found: re.Match[str]) -> bool:
    mark = found[0]
    return mark in ("<user>", "<human>", "<mask>") and f"</{mark[1:]}" in text
