"""Proves that a template gets the turns that it takes, and that nothing of them is lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import TemplateRefused
from infra.protocol import Message
from infra.rendering.chat_roles import FOLDED, ChatRoles, arrange, probe_roles
from infra.rendering.chat_template import ChatTemplate

_EACH = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}{% endfor %}"
_NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system here') }}{% endif %}"
)
_IN_TURN = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('in turn, please') }}{% endif %}{% endfor %}"
)
_DROPS = "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}"
_FIRST = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('first') }}{% endif %}{{ m.content }}{% endfor %}"
)
_LAST_OF_NEIGHBOURS = (
    "{% for m in messages %}{% if loop.last or loop.nextitem.role != m.role %}{{ m.content }}"
    "{% endif %}{% endfor %}"
)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (_EACH, ChatRoles()),
        (_NO_SYSTEM + _EACH, ChatRoles("nowhere")),
        (_NO_SYSTEM + _IN_TURN + _EACH, FOLDED),
        (_IN_TURN + _EACH, FOLDED),
        (_DROPS, ChatRoles("nowhere")),
        (_FIRST, ChatRoles("first")),
        (_LAST_OF_NEIGHBOURS, ChatRoles(neighbours=False)),
    ],
)
def test_what_a_template_takes_is_found_out(source: str, expected: ChatRoles) -> None:
    template = ChatTemplate(source)
    assert probe_roles(template) == expected
    talk = [
        Message("system", "Be Ada."), Message("user", "Hi"), Message("user", "there"),
        Message("assistant", "Yes?"), Message("assistant", "Well?"), Message("system", "Shout."),
        Message("user", "Go on."),
    ]  # fmt: skip
    arranged, _ = arrange(talk, expected)
    text = template.render(arranged)
    assert all(item.content in text for item in talk)


@pytest.mark.parametrize("source", ["[INST]", "{{ messages[0].content.parts }}", "{{ 1 / 0 }}"])
def test_a_template_that_takes_no_question_is_told(source: str) -> None:
    with pytest.raises(TemplateRefused):
        probe_roles(ChatTemplate(source))


def test_the_system_prompt_opens_the_first_user_turn() -> None:
    talk = [Message("system", "Be Ada."), Message("user", "Hi"), Message("assistant", "Yes?")]
    arranged, places = arrange(talk, FOLDED)
    assert arranged == [Message("user", "Be Ada.\n\nHi"), Message("assistant", "Yes?")]
    assert places == (0, 0, 1)


@pytest.mark.parametrize(
    ("talk", "arranged", "places"),
    [
        ([("system", "S")], [("user", "S")], (0,)),
        ([("system", " "), ("user", "U")], [("user", "U")], (None, 0)),
        ([("system", "S"), ("assistant", "A")], [("user", "S"), ("assistant", "A")], (0, 1)),
        ([("user", " U ")], [("user", " U ")], (0,)),
        ([("user", "U"), ("user", "")], [("user", "U")], (0, 0)),
        (
            [("user", "U"), ("assistant", "A"), ("assistant", "B"), ("system", "S")],
            [("user", "U"), ("assistant", "A\n\nB"), ("user", "S")],
            (0, 1, 1, 2),
        ),
    ],
)
def test_turns_are_joined_by_a_blank_line(
    talk: list[tuple[str, str]], arranged: list[tuple[str, str]], places: tuple[int | None, ...]
) -> None:
    found, where = arrange([Message(role, text) for role, text in talk], FOLDED)  # type: ignore[arg-type]
    assert [(item.role, item.content) for item in found] == arranged
    assert where == places


_TURNS = st.lists(
    st.builds(
        Message,
        st.sampled_from(["system", "user", "assistant"]),
        st.sampled_from(["one", "two", " three ", "", " "]),
    ),
    max_size=7,
)


@given(_TURNS, st.sampled_from(["anywhere", "first", "nowhere"]), st.booleans())
def test_no_word_is_lost_and_what_was_asked_for_holds(
    talk: list[Message], system: str, neighbours: bool
) -> None:
    arranged, places = arrange(talk, ChatRoles(system, neighbours))  # type: ignore[arg-type]
    for item, place in zip(talk, places, strict=True):
        if item.content.strip():
            assert place is not None
            assert item.content.strip() in arranged[place].content
    roles = [item.role for item in arranged]
    if system == "nowhere":
        assert "system" not in roles
    if not neighbours:
        assert all(one != other for one, other in pairwise(roles))


def test_what_is_done_is_said() -> None:
    assert ChatRoles().describe() == ""
    assert "opens the first user turn" in ChatRoles("nowhere").describe()
    assert FOLDED.describe().count(" and ") == 1
