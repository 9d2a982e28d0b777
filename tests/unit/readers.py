"""Names every reader of foreign text: what each may raise, and what must hold of its outcome."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from contextlib import suppress

import yaml
from jinja2 import TemplateError

from infra.engines.border import clean_completion
from infra.engines.endpoint.replies import parse_json, read_completion, read_error
from infra.errors import ConfigError, Reject, TemplateRefused
from infra.input.card_files import read_card_file
from infra.input.csv_rows import BadHeader, read_csv
from infra.input.json_rows import NotJson, read_json, read_json_lines
from infra.protocol import Completion, Message
from infra.rendering.chat_template import ChatTemplate
from infra.rendering.prompts import PromptTemplate
from infra.text.json_answers import find_values
from infra.thoughts.parting import part_thought
from infra.yaml_reading import DoubledKey, read_yaml
from tasks.character_cards import read_card
from tasks.characters.brought import read_profile
from tasks.characters.profile import parse_profile
from tasks.dialogues.players.generation import read_answer
from tasks.dialogues.players.rewriting import read_rewriting
from tasks.evaluation.judging.verdicts import read_verdict
from tasks.records import Turn

_SOURCE = (Turn("user", "Why is bread brown?"), Turn("assistant", "Because of the heat."))
_ASKED = (Message("system", "You are Ann."), Message("user", "Why?"))


def _decode(data: bytes) -> str:
    """Return text as it may come: half surrogates and NULs too."""
    return data.decode("utf-8", "surrogateescape")


def _complete(data: bytes) -> Completion:
    """Return a completion as readers get it, from the engine's border."""
    cleaned = clean_completion(Completion(_decode(data), "stop", 1, 1))
    cleaned.text.encode()
    return cleaned


def _check(found: object) -> None:
    """A reject has a reason; what is no reject can be kept."""
    if isinstance(found, Reject):
        assert found.reason
    else:
        str(found).encode()


def read_profiles(data: bytes) -> None:
    text = _complete(data).text
    _check(parse_profile(text))
    _check(read_profile({"character": text}))


def read_answers(data: bytes) -> None:
    _check(read_answer(_complete(data), speaker="Ann Lee", question="Why is bread brown?"))


def read_rewritings(data: bytes) -> None:
    _check(read_rewriting(_complete(data), source=_SOURCE, context_turns=0))


def read_verdicts(data: bytes) -> None:
    found = read_verdict(_complete(data).text)
    assert found is None or found.score is None or 1 <= found.score <= 5


def read_thoughts(data: bytes) -> None:
    text = _complete(data).text
    once = part_thought(text)
    if once.closed:
        assert part_thought(once.text).text == once.text


def read_values(data: bytes) -> None:
    for value in find_values(_complete(data).text):
        _check(value)


def read_cards(data: bytes) -> None:
    for name in ("card.png", "card.charx"):
        found = read_card_file(io.BytesIO(data), name)
        _check(found if isinstance(found, Reject) else read_card(found))
    body = parse_json(data)
    if isinstance(body, dict):
        _check(read_card(body))


def read_replies(data: bytes) -> None:
    body = parse_json(data)
    read_error(body)
    found = read_completion(body)
    if isinstance(found, Completion):
        clean_completion(found).text.encode()


def read_tables(data: bytes) -> None:
    for row in read_json_lines(io.BytesIO(data), "utf-8-sig"):
        row[2].encode()
    with suppress(NotJson):
        for row in read_json(io.BytesIO(data), "utf-8-sig"):
            row[2].encode()
    with suppress(BadHeader):
        for record in read_csv(_decode(data).splitlines(keepends=True), ","):
            assert (record.values is None) == bool(record.detail)


def read_settings(data: bytes) -> None:
    with suppress(yaml.YAMLError, DoubledKey):
        read_yaml(_decode(data))


def read_prompts(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with suppress(ConfigError, TemplateRefused, TemplateError):
        prompt = PromptTemplate(text, "fuzzed")
        prompt.render({"persona": "A {{ baker }}", "profile": "{% x %}", "query": "[user]"})
    with suppress(TemplateRefused):
        ChatTemplate(text).render(_ASKED)


READERS: Mapping[str, Callable[[bytes], None]] = {
    "answers": read_answers,
    "cards": read_cards,
    "profiles": read_profiles,
    "prompts": read_prompts,
    "replies": read_replies,
    "rewritings": read_rewritings,
    "settings": read_settings,
    "tables": read_tables,
    "thoughts": read_thoughts,
    "values": read_values,
    "verdicts": read_verdicts,
}
