"""Proves that templates render as under transformers, within bounds, and tell why they do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.errors import TemplateRefused
from infra.paths import packaged_configs
from infra.protocol import Message
from infra.rendering.chat_template import (
    ChatTemplate,
    find_template,
    read_special_tokens,
    strip_generation_marks,
)

TALK = (
    Message("system", "Be “brief” & <kind>."),
    Message("user", " Who are you?\n"),
    Message("assistant", "I am  Ada."),
    Message("user", "Go on."),
)
SOURCES = [
    "{{ bos_token }}{% for m in messages %}{{ m['role'] }}: {{ m['content'] | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}",
    "{%- set ns = namespace(text='') -%}\n{%- for m in messages if m.role != 'system' -%}\n"
    "  {%- set ns.text = ns.text ~ loop.index ~ '/' ~ loop.length ~ m.content -%}\n"
    "{%- else -%}nobody{%- endfor -%}{{ ns.text }}",
    "{{ messages | tojson }}{{ messages[0] | tojson(indent=1) }}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content }}"
    "{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}{{ tools is none }}",
    "{% macro say(m) %}<{{ m.role }}>{{ m.content }}{% endmacro %}"
    "{% for m in messages[::-1] | reverse %}{{ say(m) }}{% endfor %}{{ strftime_now('%Y') }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    "{% for name, value in {'a': 1}.items() %}{{ name * 2 + 'b' * value }}{% endfor %}",
    "{% for m in messages recursive %}{{ m.content }}{% endfor %}{{ 'a %s' % 'b' }}{{ 2 ** 5 }}",
]
ENDLESS = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(9999) %}{% for b in range(9999) | map('abs') %}{% endfor %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for a in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{{ 'a' * 999999999 }}",
    "{{ 7 ** (9 ** 9) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
]


@pytest.mark.parametrize("source", SOURCES)
def test_a_template_writes_what_it_writes_under_transformers(source: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    plain = [{"role": item.role, "content": item.content} for item in TALK]
    template = ChatTemplate(source, {"bos_token": "<s>"})
    for asks in (True, False):
        ((own,), _) = render_jinja_template(
            [plain], chat_template=source, add_generation_prompt=asks, bos_token="<s>"
        )
        assert template.render(TALK, add_generation_prompt=asks) == own


@pytest.mark.parametrize("family", ["llama3", "chatml"])
def test_generation_marks_lie_where_transformers_sees_them(family: str) -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    path = packaged_configs() / "templates" / "training" / f"{family}.training.jinja"
    source = path.read_text(encoding="utf-8")
    plain = [{"role": item.role, "content": item.content} for item in TALK]
    (texts, marks) = render_jinja_template(
        [plain], chat_template=source, return_assistant_tokens_mask=True
    )
    text, spans = ChatTemplate(source).render_marked(TALK)
    assert (text, list(spans)) == (texts[0], marks[0])
    assert text[slice(*spans[0])].startswith("I am  Ada.")


def test_marks_can_be_taken_out_without_a_change_of_the_text() -> None:
    for dashes in ("%", "%-"):
        source = (
            f"{{% for m in messages %}} [ {{{dashes} generation {dashes[::-1]}}}\n"
            f" {{{{ m.content }}}} {{{dashes} endgeneration {dashes[::-1]}}} ]\n{{% endfor %}}"
        )
        plain = strip_generation_marks(source)
        assert "generation" not in plain
        assert ChatTemplate(plain).render(TALK) == ChatTemplate(source).render(TALK)


@pytest.mark.parametrize("source", ENDLESS)
def test_what_does_not_end_is_ended(source: str) -> None:
    with pytest.raises(TemplateRefused):
        ChatTemplate(source).render(TALK)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{% if", "is no template"),
        ("{{ raise_exception('No system role, please') }}", "No system role, please"),
        ("{{ messages[9].content.text }}", "messages|no element"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
        ("{{ ''.__class__.__mro__ }}", "unsafe|undefined"),
        ("{{ messages.clear() }}", "unsafe|safe"),
    ],
)
def test_what_fails_is_told_in_the_templates_words(source: str, told: str) -> None:
    with pytest.raises(TemplateRefused, match=told):
        ChatTemplate(source).render(TALK)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"tokenizer_config.json": {"chat_template": "A"}}, "A"),
        ({"tokenizer_config.json": {"chat_template": None}}, None),
        ({"tokenizer_config.json": []}, None),
        (
            {
                "tokenizer_config.json": {
                    "chat_template": [
                        {"name": "tool_use", "template": "T"},
                        {"name": "default", "template": "D"},
                    ]
                }
            },
            "D",
        ),
        ({"tokenizer_config.json": {"chat_template": "A"}, "chat_template.jinja": "B"}, "B"),
    ],
)
def test_a_folders_template_is_found_as_transformers_finds_it(
    tmp_path: Path, files: dict[str, Any], expected: str | None
) -> None:
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
    assert find_template(tmp_path) == expected


def test_special_tokens_are_read_bare_or_in_objects(tmp_path: Path) -> None:
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": None, "x": "y"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"unk_token": "<unk>"}))
    assert read_special_tokens(tmp_path) == {
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
    }  # fmt: skip
