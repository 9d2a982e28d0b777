"""Says in a plan what becomes of the thoughts of each model, and what to set where they cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from flows.recipe.settings import Settings
from infra.context import read_chat_template
from infra.engines.config import ModelConfig
from infra.engines.model_facts import find_model_folder
from infra.errors import ConfigError
from infra.thoughts.marks import load_grammar
from infra.thoughts.thinking import SWITCHES, list_switches


def describe_thinking(settings: Settings) -> Iterator[str]:
    """Yield a line for every model whose thoughts need one; reads templates, loads nothing."""
    for role, model in settings.models.items():
        if model.engine != "scripted":
            yield from _describe(f"models.{role}", model)


def read_model_template(model: ModelConfig) -> str | None:
    """Return the text of the chat template a model is asked with, where it can be seen here."""
    own = read_chat_template(model)
    folder = find_model_folder(model)
    if own is not None or folder is None:
        return own
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    return _read_setting(folder / "tokenizer_config.json")


def _describe(where: str, model: ModelConfig) -> Iterator[str]:
    if model.engine == "endpoint":
        if model.thinking == "off":
            yield (
                f"{where}: thinking is off is asked of the endpoint in chat_template_kwargs; where"
                " it thinks all the same its thoughts are parted (reasoning_effort is another way)"
            )
        return
    try:
        template = read_model_template(model)
    except ConfigError:
        return  # told by the checks
    if template is None:
        return
    thinks = bool(load_grammar().name_families(template))
    switches = list_switches(template)
    if model.thinking == "off":
        yield (
            f"{where}: thinking is off by {_show(switches)}"
            if switches
            else f"{where}: thinking is off, but its chat template knows no switch for it (none of"
            f" {', '.join(SWITCHES)}); thoughts are parted from its answers all the same"
        )
    elif model.thinking == "keep" and thinks:
        yield f"{where}: thoughts are kept in its texts, and so in rows and training data"
    elif thinks and not model.max_thought_tokens:
        off = " or thinking: off" if switches else ""
        yield (
            f"{where}: its chat template knows thoughts, and they share max_new_tokens with the"
            f" answers; set max_thought_tokens{off} if answers are cut"
        )


def _show(switches: dict[str, bool | int | str]) -> str:
    return ", ".join(f"{name}: {json.dumps(value)}" for name, value in switches.items())


def _read_setting(path: Path) -> str | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return None
    if isinstance(found, list):  # several, by name
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else None
