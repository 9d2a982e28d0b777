"""Loads prompt templates and renders them so that data can never become syntax.

A prompt file is a Jinja2 template cut into messages by lines that hold nothing but
``[system]``, ``[user]``, ``[assistant]`` or ``[history]``. The cut happens in the template's
source, before any value is filled in, and values are never parsed: a persona that holds
``{{``, ``{% %}`` or a line ``[user]`` is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import cast, get_args

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta, nodes

from infra.errors import ConfigError, Problem, TemplateRefused
from infra.protocol import Message, Role
from infra.rendering.chat_template import BUDGET, BoundedSandbox

_MARKER = re.compile(r"^\[(system|user|assistant|history)\][ \t]*$", re.MULTILINE)


class PromptTemplate:
    """One prompt file, cut into messages; picklable, compiled on first use."""

    def __init__(self, source: str, name: str) -> None:
        self.source = source
        self.name = name
        pieces = _MARKER.split(source)
        if pieces[0].strip() or len(pieces) < 3:
            raise ConfigError(
                Problem(name, "text before the first message marker", "begin with [system]")
            )
        self._blocks = [
            (role, body.strip()) for role, body in zip(pieces[1::2], pieces[2::2], strict=True)
        ]

    @classmethod
    def load(cls, path: Path) -> PromptTemplate:
        """Read a template file; a syntax error names the file and the line."""
        try:
            template = cls(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "is no text in UTF-8"
            problem = Problem(str(path), f"cannot be read: {why}", "give a template file")
            raise ConfigError(problem) from error
        environment = _environment()
        for _, body in template._blocks:
            try:
                environment.parse(body)
            except RecursionError as error:
                problem = Problem(str(path), "is nested too deep", "fix it")
                raise ConfigError(problem) from error
            except TemplateSyntaxError as error:
                before = template.source[: template.source.index(body)]
                where = f"{path}:{before.count(chr(10)) + error.lineno}"
                problem = Problem(where, f"template syntax: {error.message}", "fix it")
                raise ConfigError(problem) from error
        return template

    def shows(self, *names: str) -> bool:
        """Tell whether the rendered prompt holds any of these values; a condition is not enough.

        Raises :class:`TemplateRefused` where the template cannot be rendered at all.
        """
        marks = {name: f"\ufdd3{name}\ufdd3" for name in self.variables()}
        text = "".join(message.content for message in self.render(marks))
        return any(marks[name] in text for name in names if name in marks)

    def variables(self) -> set[str]:
        """Return the names of the values the template needs."""
        environment = _environment()
        names: set[str] = set()
        for _, body in self._blocks:
            names |= meta.find_undeclared_variables(environment.parse(body))
        return names

    def render(
        self, values: Mapping[str, object], history: Sequence[Message] = ()
    ) -> tuple[Message, ...]:
        """Fill the template; ``[history]`` stands for the given earlier turns."""
        messages: list[Message] = []
        BUDGET.begin()
        for role, template in self._compiled:
            if template is None:
                messages.extend(history)
            elif isinstance(template, Message):
                messages.append(template)
            else:
                messages.append(Message(cast(Role, role), self._fill(template, values)))
        return tuple(messages)

    def _fill(self, template: Template, values: Mapping[str, object]) -> str:
        parts: list[str] = []
        try:
            for part in template.generate(**values):
                BUDGET.write(len(part))
                parts.append(part)
        except TemplateError as error:
            raise TemplateRefused(f"{self.name}: {error.message}") from error
        except Exception as error:  # a template is a program: it may raise anything
            raise TemplateRefused(f"{self.name}: {type(error).__name__}: {error}") from error
        return "".join(parts).strip()

    @cached_property
    def _compiled(self) -> list[tuple[str, Template | Message | None]]:
        """Return every block as a template, or as the message that it always gives."""
        environment = _environment()
        compiled: list[tuple[str, Template | Message | None]] = []
        for role, body in self._blocks:
            if role not in get_args(Role):
                compiled.append((role, None))
                continue
            template, spoken = environment.from_string(body), cast(Role, role)
            fixed = _is_plain(environment.parse(body))
            compiled.append(
                (role, Message(spoken, self._fill(template, {})) if fixed else template)
            )
        return compiled

    def __getstate__(self) -> dict[str, object]:
        return {"source": self.source, "name": self.name, "_blocks": self._blocks}


def _is_plain(parsed: nodes.Template) -> bool:
    """Tell whether a template is nothing but text."""
    return all(
        isinstance(part, nodes.Output)
        and all(isinstance(piece, nodes.TemplateData) for piece in part.nodes)
        for part in parsed.body
    )


def _environment() -> BoundedSandbox:
    return BoundedSandbox(undefined=StrictUndefined, autoescape=False)
