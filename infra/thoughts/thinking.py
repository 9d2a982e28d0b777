"""Finds out from a tokenizer and its chat template how a model thinks, and how to turn it off."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from infra.thoughts.marks import HARMONY, LITERALS, ThinkingFacts, load_grammar

SWITCHES: Mapping[str, bool | int | str] = {
    "enable_thinking": False,
    "enable_reasoning": False,
    "thinking": False,
    "think": False,
    "reasoning": False,
    "thinking_budget": 0,
    "reasoning_effort": "none",
    "enable_think": False,
    "use_think": False,
    "use_thinking": False,
    "use_reasoning": False,
    "detailed_thinking": False,
    "add_thinking_prompt": False,
    "thinking_mode": "off",
    "skip_think": True,
    "skip_thinking": True,
    "no_think": True,
    "no_thinking": True,
    "disable_thinking": True,
    "disable_reasoning": True,
}
"""What chat templates call the switch, and the value that turns thinking off."""

_CHANNEL_TOKENS = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>")
_FIELDS = ("reasoning_content", "reasoning", "thinking", "thought", "thoughts")
_THOUGHT, _ANSWER = "Thought7f3a", "Answer7f3a"
_LAST_MARK = re.compile(r"(<[^<>\s]+>|\[[^\[\]\s]+\]|◁[^▷\s]+▷)\s*\Z")
_FIRST_MARK = re.compile(r"\s*(<[^<>\s]+>|\[[^\[\]\s]+\]|◁[^▷\s]+▷)")
_TAIL_CHARS = 80
_GENERATION = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")


def find_facts(tokenizer: Any, template: str | None, values: Mapping[str, Any]) -> ThinkingFacts:
    """Return what a tokenizer and a chat template tell of a model's thoughts.

    ``template`` stands in for the tokenizer's own; ``values`` are what it is rendered with.
    """
    tokens = {str(token): bool(token.special) for token in tokenizer.added_tokens_decoder.values()}
    source = template or read_own_template(tokenizer)
    grammar = load_grammar()
    families = grammar.name_families(source) | grammar.name_families(" ".join(tokens))
    if all(token in tokens for token in _CHANNEL_TOKENS[:2]):
        families |= {HARMONY}
    prompt = _render(tokenizer, template, values, {"role": "user", "content": "q"})
    pairs = () if prompt is None else _find_pairs(tokenizer, template, values)
    special = tuple(token for token, is_special in tokens.items() if is_special)
    marks = _list_marks(families, special, pairs)
    keep = any(token in mark for mark in marks for token in special)
    others = (token for token in special if not any(token in mark for mark in marks))
    return ThinkingFacts(
        opened=_find_opening(prompt or "", pairs),
        families=families,
        pairs=pairs,
        special=tuple(others) if keep else (),
        keep_special=keep,
    )


def list_switches(template: str) -> dict[str, bool | int | str]:
    """Return the values that turn thinking off, of those that a chat template knows."""
    known = _list_variables(template)
    return {name: value for name, value in SWITCHES.items() if name in known}


def read_own_template(tokenizer: Any) -> str:
    """Return a tokenizer's chat template; the default one of several, nothing of none."""
    try:
        return str(tokenizer.get_chat_template())
    except (ValueError, AttributeError):
        return ""


def _list_variables(template: str) -> set[str]:
    from jinja2 import Environment, TemplateError, meta

    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        return meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", template)))
    except TemplateError:  # of what only transformers' own environment has
        return set(re.findall(r"[a-z_]+", template))


def _render(
    tokenizer: Any, template: str | None, values: Mapping[str, Any], *turns: Mapping[str, Any]
) -> str | None:
    try:
        return str(
            tokenizer.apply_chat_template(
                list(turns),
                chat_template=template,
                tokenize=False,
                add_generation_prompt=len(turns) == 1,
                **values,
            )
        )
    except Exception:  # whatever a template raises is told when a prompt is rendered
        return None


def _find_opening(prompt: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """Return the opening mark that a prompt ends with, if it ends inside a thought."""
    tail = prompt[-_TAIL_CHARS:]
    grammar = load_grammar(pairs)
    for start in range(len(tail)):
        mark = grammar.read_first(tail, start)
        # Gemma's mark is followed by the name of the channel.
        if mark is not None and mark.kind == "open":
            rest = tail[mark.end :].strip()
            if rest in ("", "thought"):
                return tail[start : mark.end]
    return ""


def _find_pairs(
    tokenizer: Any, template: str | None, values: Mapping[str, Any]
) -> tuple[tuple[str, str], ...]:
    """Return the marks that a template writes around a thought, where no family has them."""
    answer = {"role": "assistant", "content": _ANSWER, **dict.fromkeys(_FIELDS, _THOUGHT)}
    shown = _render(tokenizer, template, values, {"role": "user", "content": "q"}, answer)
    before, found, after = (shown or "").partition(_THOUGHT)
    opening, closing = _LAST_MARK.search(before), _FIRST_MARK.match(after)
    if not found or _ANSWER not in after or opening is None or closing is None:
        return ()
    pair = (opening[1], closing[1])
    known = load_grammar().read_first(pair[0], 0) or load_grammar().find(pair[1])
    return () if known is not None or pair[0] == pair[1] else (pair,)


def _list_marks(
    families: frozenset[str], special: tuple[str, ...], pairs: tuple[tuple[str, str], ...]
) -> set[str]:
    """Return the marks of a model that are, or contain, special tokens."""
    grammar = load_grammar()
    marks = {mark for pair in pairs for mark in pair}
    marks |= {mark for name in families if name in LITERALS for mark in LITERALS[name]}
    marks |= {token for token in special if grammar.name_families(token)}
    return marks | (set(_CHANNEL_TOKENS) if HARMONY in families else set())
