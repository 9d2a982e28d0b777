"""Finds blanks that a model left for somebody else to fill in: ``[Name]``, ``{{user}}``."""

from __future__ import annotations

import re

from infra.text.prose import drop_code

_THING = (
    r"(?:(?:first|last|full|user|character|person|company|city|town|place|street|country|child"
    r"|friend|team|school|restaurant|product|job|event|book|pet|recipient|sender|persona)"
    r"(?:['\u2019]s)? )?"
    r"(?:names?|user|birth ?place|place of birth|time of day|trade|recipient|sender|interest"
    r"|character|persona|city|town|place|country|location|hometown|company|date|age"
    r"|address|occupation|profession|job title|number|time|year|hobby|topic|title|phone number"
    r"|email(?: address)?|signature|relationship|reason|detail|item|product|event|brand|school)s?"
)
_FOREIGN = (
    r"(?:nom|prénom|votre nom|ville|ihr name|dein name|vorname|stadt|ort|nombre|su nombre|tu nombre"
    r"|ciudad|nome|il tuo nome|seu nome|città|cidade|имя|ваше имя|город|姓名|名字|您的姓名"
    r"|你的名字|城市|名前|お名前|あなたの名前|地名|이름|당신의 이름|도시)"
)
_BLANK = re.compile(
    rf"\[(?:insert|your|fill in|add|enter|specify|describe|mention)\b[^\]\n]{{0,80}}\](?![(\[:])"
    rf"|\[(?=(?-i:[A-Z])|[^\]\n]{{0,40}}name|\w+['\u2019]s )(?:the |an? |my |his |her )?{_THING}\]"
    rf"(?![(\[:])"
    rf"|\[(?:age|number|city|town|birth ?place|hometown|profession|occupation|time of day)\]"
    rf"(?![(\[:])"
    rf"|[\[\u3010]{_FOREIGN}[\]\u3011]"
    rf"|%(?-i:[A-Z]*NAME|USER|CITY)%|\$\{{?(?-i:[A-Z]*NAME|USER|CITY)\b\}}?"
    rf"|(?<=[\w,] )_{{3,}}(?=[ ,.!?])|(?-i:\bX{{2,3}}\b)(?= (?:years?|y/o|km|miles|days)\b)"
    rf"|<(?:insert|your|fill in)\b[^>\n]{{0,60}}>|<(?:your |full |user "
    rf"|character )?names?>(?![^\n]*</)"
    rf"|\((?:insert|fill in)\b[^)\n]{{0,60}}\)"
    rf"|\{{(?:insert|your|fill in)\b[^}}\n]{{0,60}}\}}"
    rf"|\{{\{{\s*(?:user|char|character|name|persona|bot|assistant|random"
    rf"|\w*_?name)\b[^}}\n]{{0,40}}\}}\}}"
    rf"|\{{(?:user|char|character|persona|name|{_THING})\}}"
    r"|(?-i:<(?:USER|BOT|START|CHAR)>)|\blorem ipsum dolor\b|\bX{4,}\b(?![^\n]*\d)",
    re.IGNORECASE,
)
_SIGNS = ("[", "{", "<", "(", "\u3010", "%", "$", "___", "xx", "lorem ipsum dolor")
"""What every blank has somewhere, folded."""

SIGNS = r"[\[{<%$]|___|[xX]{2}|\((?i:insert|fill in)|(?i:lorem ipsum dolor)"
"""One of these is in every plain text in which :func:`find_placeholder` finds anything."""

_FORM = re.compile(
    r"\b(?:letters?|e-?mails?|templates?|forms?|cover|resumes?|résumé|cv|invitations?|contracts?"
    r"|memos?|scripts?|speech|press release|mad ?libs?|fill[- ]in|messages?|blanks?|placeholders?"
    r"|notes?|posts?|reviews?|ads?|advert\w*|announcements?|flyers?|cards?|bios?|introductions?"
    r"|proposals?|agreements?|applications?|reports?|code|function|html|regex|lorem)\b",
    re.IGNORECASE,
)


def find_placeholder(text: str, *, question: str = "") -> str | None:
    """Return a blank that was left in a text, outside of code, or ``None``.

    Letters and forms that the question asks for have blanks rightly.
    """
    folded = text.casefold()
    if not any(sign in folded for sign in _SIGNS):
        return None
    found = _BLANK.search(drop_code(text))
    if found is None or _FORM.search(question):
        return None
    return found[0]
