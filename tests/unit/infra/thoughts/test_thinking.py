"""Proves that a tokenizer and its template tell how a model thinks, and how to turn it off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.protocol import Message
from infra.rendering.encoder import EncoderSpec, PromptEncoder, open_encoder
from infra.thoughts.marks import HARMONY
from infra.thoughts.parting import part_thought
from infra.thoughts.thinking import find_facts, list_switches
from tests.unit.infra.tokenizers import build_tokenizer

HEAD = (
    "{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{% if m.reasoning_content is defined %}OPEN{{ m.reasoning_content }}CLOSE{% endif %}"
    "{{ m['content'] }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n"
)
QUIET = HEAD.replace("OPEN", "").replace("CLOSE", "") + "{% endif %}"
TAGS = HEAD.replace("OPEN", "<think>\n").replace("CLOSE", "\n</think>\n\n")
PROMPTED = TAGS + "<think>\n{% endif %}"
SWITCHED = (
    TAGS + "{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}{% endif %}"
)
OWN = HEAD.replace("OPEN", "<<musing>").replace("CLOSE", "<musing_done>\n") + "{% endif %}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tokenizer(tmp_path_factory.mktemp("thinking") / "tiny")


def load(folder: Path, template: str, *tokens: tuple[str, bool]) -> tuple[Any, str]:
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    for text, special in tokens:
        tokenizer.add_tokens([AddedToken(text, special=special)], special_tokens=special)
    return tokenizer, template


def test_a_model_without_thoughts_has_none(folder: Path) -> None:
    facts = find_facts(*load(folder, QUIET), {})
    assert (facts.opened, facts.families, facts.pairs) == ("", frozenset(), ())
    assert not facts.keep_special and not facts.special


def test_the_prompt_may_open_the_thought_and_a_value_may_close_it(folder: Path) -> None:
    assert find_facts(*load(folder, PROMPTED), {}).opened == "<think>"
    assert find_facts(*load(folder, SWITCHED), {}).opened == "<think>"
    assert find_facts(*load(folder, SWITCHED), {"enable_thinking": False}).opened == ""
    assert find_facts(*load(folder, TAGS + "{% endif %}"), {}).families == {"tag"}


def test_marks_that_are_special_tokens_are_kept_and_the_others_taken_out(folder: Path) -> None:
    plain = find_facts(*load(folder, QUIET, ("<think>", False), ("</think>", False)), {})
    assert plain.families == {"tag"} and not plain.keep_special
    facts = find_facts(*load(folder, QUIET, ("[THINK]", True), ("[/THINK]", True)), {})
    assert facts.families == {"bracket"} and facts.keep_special
    assert "<|eot_id|>" in facts.special and "[THINK]" not in facts.special
    assert part_thought("[THINK]a[/THINK]Six.<|eot_id|>", facts).text == "Six."


def test_channels_are_known_by_their_tokens(folder: Path) -> None:
    tokens = [(f"<|{name}|>", True) for name in ("channel", "message", "start", "end", "return")]
    facts = find_facts(*load(folder, QUIET, *tokens), {})
    assert HARMONY in facts.families and facts.keep_special
    assert not {"<|channel|>", "<|end|>"} & set(facts.special)


def test_marks_of_no_family_are_read_off_the_template(folder: Path) -> None:
    facts = find_facts(*load(folder, OWN), {})
    assert facts.pairs == (("<musing>", "<musing_done>"),)
    assert part_thought("<musing>boats<musing_done>\nSix.", facts).text == "Six."


@pytest.mark.parametrize(
    ("template", "switches"),
    [
        (QUIET, {}),
        (SWITCHED, {"enable_thinking": False}),
        ("{% if thinking %}<think>{% endif %}{{ messages }}", {"thinking": False}),
        ("{% if no_think %}{% endif %}{{ use_think }}", {"no_think": True, "use_think": False}),
        ("{% generation %}{{ reasoning_effort }}{% endgeneration %}", {"reasoning_effort": "none"}),
        ("{% set thinking = true %}{{ message.thinking }}{{ 'enable_thinking' }}", {}),
    ],
)
def test_only_switches_that_the_template_knows_are_set(
    template: str, switches: dict[str, object]
) -> None:
    assert list_switches(template) == switches


def test_values_reach_the_rendering(folder: Path) -> None:
    ask = [Message("user", "q")]
    model = str(folder)
    plain = PromptEncoder(model, None, SWITCHED)
    off = open_encoder(EncoderSpec(model, None, SWITCHED, thinking_off=True))
    given = open_encoder(EncoderSpec(model, None, SWITCHED, '{"enable_thinking": false}'))
    won = open_encoder(
        EncoderSpec(model, None, SWITCHED, '{"enable_thinking": true}', thinking_off=True)
    )
    assert off.encode(ask) == given.encode(ask) != plain.encode(ask)
    assert won.encode(ask) == plain.encode(ask)
    assert (plain.thinking.opened, off.thinking.opened) == ("<think>", "")
