"""Renders chat templates as transformers does, without importing it, and never without end.

A template is a program that came with a model. It runs in Jinja's sandbox, with the functions that
transformers gives it, and within bounds: so many steps of all its loops, so much text, so many
seconds. What it raises is told in one kind of error, whatever went wrong inside.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
    Sized,
)
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from jinja2 import Template, TemplateError, nodes, pass_eval_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from infra.errors import TemplateRefused
from infra.protocol import Message

_OPEN, _CLOSE = "\ufdd1", "\ufdd2"
"""Noncharacters around what a template encloses in ``{% generation %}`` marks."""

_MOST_STEPS = 1_000_000
_MOST_CHARS = 20_000_000
_MOST_SECONDS = 10.0
_GENERATION = re.compile(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}")

Spans = tuple[tuple[int, int], ...]


class ChatTemplate:
    """A compiled chat template with the special tokens that it may name."""

    def __init__(self, source: str, tokens: Mapping[str, str] | None = None) -> None:
        """Compile ``source``; ``tokens`` holds ``bos_token`` and its like.

        Raises :class:`TemplateRefused` where it is no template.
        """
        self.source = source
        self.tokens = dict(tokens or {})
        self._template = _compile(source)

    @property
    def marks_answers(self) -> bool:
        """Tell whether the template has ``{% generation %}`` marks."""
        return bool(_GENERATION.search(self.source))

    def render(
        self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **values: Any
    ) -> str:
        """Return the conversation as the template writes it; ``values`` are further variables.

        Raises :class:`TemplateRefused`.
        """
        text = self._render(messages, add_generation_prompt, values)
        return text.replace(_OPEN, "").replace(_CLOSE, "") if self.marks_answers else text

    def render_marked(self, messages: Sequence[Message], **values: Any) -> tuple[str, Spans]:
        """Return a whole conversation, and the character spans that stand in generation marks."""
        clean = [Message(item.role, _drop_marks(item.content)) for item in messages]
        parts: list[str] = []
        spans: list[tuple[int, int]] = []
        place = start = 0
        for part in re.split(f"([{_OPEN}{_CLOSE}])", self._render(clean, False, values)):
            if part == _OPEN:
                start = place
            elif part == _CLOSE:
                spans.append((start, place))
            else:
                parts.append(part)
                place += len(part)
        return "".join(parts), tuple(spans)

    def _render(
        self, messages: Sequence[Message], add_generation_prompt: bool, values: Mapping[str, Any]
    ) -> str:
        BUDGET.begin()
        variables = {**self.tokens, **values}
        parts: list[str] = []
        try:
            for part in self._template.generate(
                messages=[{"role": item.role, "content": item.content} for item in messages],
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **variables,
            ):
                BUDGET.write(len(part))
                parts.append(part)
        except TemplateError as error:
            raise TemplateRefused(error.message or type(error).__name__) from error
        except Exception as error:  # a template is a stranger's program: it may raise anything
            raise TemplateRefused(f"{type(error).__name__}: {error}") from error
        return "".join(parts)


def derive_spans(
    template: ChatTemplate, messages: Sequence[Message], stop: str, **values: Any
) -> tuple[str, Spans]:
    """Return a whole conversation, and what a model would write of it, without marks.

    An answer begins where the prompt that asks for it ends, and ends with the token ``stop``.
    Raises :class:`TemplateRefused` where the template writes a turn otherwise than its prompt.
    """
    text = template.render(messages, add_generation_prompt=False, **values)
    spans = []
    for place, item in enumerate(messages):
        if item.role != "assistant":
            continue
        prompt = template.render(messages[:place], **values)
        said = text.find(item.content.strip(), len(prompt))
        end = text.find(stop, said + len(item.content.strip()))
        if not text.startswith(prompt) or said < 0 or end < 0:
            raise TemplateRefused("it writes a past answer otherwise than one that is asked for")
        around = text[len(prompt) : said] + text[said + len(item.content.strip()) : end]
        if around.strip():
            raise TemplateRefused(f"it writes {around.strip()[:40]!r} around an answer")
        spans.append((len(prompt), end + len(stop)))
    return text, tuple(spans)


def strip_generation_marks(source: str) -> str:
    """Return a template that writes the same text and has no ``{% generation %}`` marks.

    A condition that always holds takes their place, as their dashes strip white space around.
    """
    return _GENERATION.sub(
        lambda found: f"{{%{found[1]} {'endif' if found[2] else 'if true'} {found[3]}%}}",
        source,
    )


def find_template(folder: Path) -> str | None:
    """Return the text of a model folder's own chat template, as transformers would choose it."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    found = _read_json(folder / "tokenizer_config.json").get("chat_template")
    if isinstance(found, list):  # several, by name
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None


def read_special_tokens(folder: Path) -> dict[str, str]:
    """Return what a model folder's tokenizer calls ``bos_token`` and its like."""
    told = {
        **_read_json(folder / "special_tokens_map.json"),
        **_read_json(folder / "tokenizer_config.json"),
    }
    spelled = {name: _spell(value) for name, value in told.items() if name.endswith("_token")}
    return {name: text for name, text in spelled.items() if text}


def _spell(token: object) -> str:
    """Return a special token's text, which files hold bare or in an object."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else ""


def _drop_marks(text: str) -> str:
    return text.replace(_OPEN, "").replace(_CLOSE, "")


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class _Budget(threading.local):
    """What the rendering under way may still do, a thread."""

    steps = chars = 0
    ends = 0.0

    def begin(self) -> None:
        self.steps, self.chars = _MOST_STEPS, _MOST_CHARS
        self.ends = time.monotonic() + _MOST_SECONDS

    def step(self, count: int) -> None:
        self.steps -= count
        if self.steps < 0 or time.monotonic() > self.ends:
            raise TemplateError("its loops do not come to an end")

    def write(self, chars: int) -> None:
        self.chars -= chars
        if self.chars < 0 or time.monotonic() > self.ends:
            raise TemplateError("its text does not come to an end")


BUDGET = _Budget()


def _count(items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        BUDGET.step(1)
        yield item


def _call(method: str, argument: nodes.Expr) -> nodes.Call:
    function = nodes.EnvironmentAttribute(method, lineno=argument.lineno)
    return nodes.Call(function, [argument], [], None, None, lineno=argument.lineno)


class _BoundedCode(CodeGenerator):
    """Code of templates whose loops and joined texts are counted."""

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        node.iter = _call("bound_loop", cast("nodes.Expr", node.iter))
        super().visit_For(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.visit(_call("join_texts", nodes.List(node.nodes, lineno=node.lineno)), frame)


class _GenerationMarks(Extension):
    """The ``{% generation %}`` block of transformers: noncharacters around what it holds."""

    tags = {"generation"}  # noqa: RUF012 - declared so by Jinja

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    @pass_eval_context
    def _mark(self, _context: nodes.EvalContext, caller: Callable[[], str]) -> str:
        return f"{_OPEN}{caller()}{_CLOSE}"


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """Jinja's sandbox with bounds, which `BUDGET.begin` sets for what the thread renders next."""

    code_generator_class = _BoundedCode
    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def make_globals(self, d: MutableMapping[str, Any] | None) -> MutableMapping[str, Any]:
        """Give a template one plain table of what it may call.

        Jinja's chain of two is walked whole at every rendering: 9 µs instead of 2.
        """
        return {**self.globals, **(d or {})}

    def bound_loop(self, items: Iterable[Any]) -> Iterable[Any]:
        """Give what a loop goes over, counted; what knows its length stays what it is."""
        if isinstance(items, Sized):
            BUDGET.step(len(items) + 1)
            return items
        return _count(items)

    def join_texts(self, parts: Sequence[Any]) -> str:
        """Join as ``~`` does."""
        made = "".join(map(str, parts))
        BUDGET.write(len(made))
        return made

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Estimate as Jinja does, where neither numbers nor texts grow without end."""
        if operator == "*":
            _refuse_long(left, right)
            _refuse_long(right, left)
        elif operator == "**" and isinstance(right, int) and abs(right) > _MOST_POWER:
            raise TemplateError("it calculates with numbers beyond all need")
        made = super().call_binop(context, operator, left, right)
        if isinstance(made, str):
            BUDGET.write(len(made))
        return made


_MOST_POWER = 1000


def _refuse_long(text: Any, times: Any) -> None:
    if isinstance(text, Sized) and isinstance(times, int):
        BUDGET.write(len(text) * max(times, 0))


def _write_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Write JSON as transformers' ``tojson`` does: Jinja's own would escape HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _write_now(form: str) -> str:
    return datetime.now().strftime(form)


@lru_cache(maxsize=32)
def _compile(source: str) -> Template:
    environment = BoundedSandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationMarks, "jinja2.ext.loopcontrols"],
    )
    environment.filters.update(tojson=_write_json)
    environment.globals.update(raise_exception=_raise_exception, strftime_now=_write_now)
    try:
        return environment.from_string(source)
    except (TemplateError, RecursionError) as error:
        raise TemplateRefused(f"is no template: {error}") from error
