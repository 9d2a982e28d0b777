"""Finds out which conversations a chat template takes, and gives it those that it does.

Some templates refuse a system turn or drop it in silence (Gemma, older Mistral), some demand that
user and assistant alternate. What such a template gets is the same conversation in turns that it
writes: a system turn opens the next user turn, neighbours of one role become one, a blank line
between. Which it is follows from the template alone, so plan and run agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infra.errors import TemplateRefused
from infra.protocol import Message
from infra.rendering.chat_template import ChatTemplate

SystemTurns = Literal["anywhere", "first", "nowhere"]

_JOINT = "\n\n"
_RULE, _ASKED, _SAID, _MORE = "Qzrule.", "Qzasked?", "Qzsaid.", "Qzmore."


@dataclass(frozen=True, slots=True)
class ChatRoles:
    """Which turns a chat template takes.

    Attributes:
        system: Where it takes system turns; elsewhere they open the next user turn.
        neighbours: Whether two turns of one role may follow each other.
    """

    system: SystemTurns = "anywhere"
    neighbours: bool = True

    def describe(self) -> str:
        """Return what is done to conversations, for people; empty where it is nothing."""
        told = []
        if self.system == "nowhere":
            told.append("the system prompt opens the first user turn")
        if not self.neighbours:
            told.append("consecutive turns of one role become one")
        return " and ".join(told)


FOLDED = ChatRoles("nowhere", neighbours=False)
"""What every chat template takes."""


def probe_roles(template: ChatTemplate, values: Mapping[str, Any] | None = None) -> ChatRoles:
    """Render small conversations to see what a template takes, 1 ms in all.

    ``values`` are further variables of the template. Raises :class:`TemplateRefused` where it
    takes no question at all.
    """

    def takes(*messages: Message) -> bool:
        return _renders_all(template, messages, values or {})

    asked, said = Message("user", _ASKED), Message("assistant", _SAID)
    rule, more = Message("system", _RULE), Message("user", _MORE)
    if _ASKED not in template.render([asked], **(values or {})):
        raise TemplateRefused("it leaves out what the user asks")
    system: SystemTurns = "nowhere"
    if takes(rule, asked):
        system = "anywhere" if takes(asked, said, rule, more) else "first"
    return ChatRoles(system, neighbours=takes(asked, more) and takes(asked, said, said, more))


def _renders_all(
    template: ChatTemplate, messages: Sequence[Message], values: Mapping[str, Any]
) -> bool:
    try:
        text = template.render(messages, **values)
    except TemplateRefused:
        return False
    return all(text.count(item.content) >= _count(messages, item) for item in messages)


def _count(messages: Sequence[Message], wanted: Message) -> int:
    return sum(item.content == wanted.content for item in messages)


def arrange(
    messages: Sequence[Message], roles: ChatRoles
) -> tuple[list[Message], tuple[int | None, ...]]:
    """Return the conversation in turns that a template takes, and where each turn went.

    The second part has one place an input turn: that of the turn which now holds it, or ``None``
    for a blank system turn that is left out.
    """
    if roles == ChatRoles():
        return list(messages), tuple(range(len(messages)))
    made: list[Message] = []
    places: list[int | None] = [None] * len(messages)
    held: list[int] = []

    def put(role: Literal["system", "user", "assistant"], sources: Sequence[int]) -> None:
        text = _join(messages[place].content for place in sources)
        if made and not roles.neighbours and made[-1].role == role:
            made[-1] = Message(role, _join([made[-1].content, text]))
        else:
            made.append(Message(role, text))
        for place in sources:
            places[place] = len(made) - 1

    for place, item in enumerate(messages):
        if item.role == "system" and not _keeps(roles, place):
            if item.content.strip():
                held.append(place)
        elif item.role == "user":
            put("user", [*held, place])
            held.clear()
        else:
            if held:
                put("user", held)
                held.clear()
            put(item.role, [place])
    if held:
        put("user", held)
    return made, tuple(places)


def _keeps(roles: ChatRoles, place: int) -> bool:
    if roles.system == "anywhere":
        return True
    return roles.system == "first" and place == 0


def _join(texts: Iterable[str]) -> str:
    """Put a blank line between texts, leaving out blank ones; a lone text stays as it is."""
    given = list(texts)
    if len(given) == 1:
        return given[0]
    return _JOINT.join(text for text in given if text.strip())
