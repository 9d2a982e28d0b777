"""Prepares whom a chat speaks with: the persona, a profile read or written, the system prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.recipe.settings import Settings
from flows.talk.conversation import Encode
from infra.engines.config import ModelConfig
from infra.engines.streaming import StreamingThread
from infra.errors import ConfigError, Problem, Reject, TemplateRefused
from infra.generation.asking import RowSession
from infra.nodes.row_stages import choose_options, name_encoder
from infra.paths import require_path
from infra.protocol import Message
from infra.rendering.encoder import PromptEncoder, open_encoder
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import content_key
from infra.thoughts.marks import NOTHING_KNOWN, ThinkingFacts
from tasks.characters.profile import parse_profile
from tasks.characters.writing import CharacterInput, CharacterWriter
from tasks.records import PROFILE_FIELDS


def render_system_prompt(settings: Settings, persona: str, profile: str) -> str:
    """Return the system prompt of the paper (section 3.3), as curation writes it into SFT rows."""
    template = PromptTemplate.load(require_path(settings.curation.prompt, "curation.prompt"))
    messages = template.render({"persona": persona, "profile": profile})
    if [message.role for message in messages] != ["system"]:
        raise ConfigError(
            Problem(template.name, "is not one [system] message", "remove the other messages")
        )
    return messages[0].content


def read_profile(path: Path) -> str:
    """Read a profile of eight fields, one ``Field: value`` a line, or a JSON object of them."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            Problem(f"--profile {path}", f"cannot be read: {error}", "give a text file, or make")
        ) from error
    found = parse_profile(text)
    if isinstance(found, Reject):
        labels = ", ".join(label for label, _ in PROFILE_FIELDS)
        raise ConfigError(
            Problem(
                f"--profile {path}",
                f"{found.reason.replace('_', ' ')}: {found.detail}".removesuffix(": "),
                f"write one `Field: value` a line, for {labels}",
            )
        )
    return _write_lines(found)


def make_profile(
    settings: Settings, persona: str, model: ModelConfig, thread: StreamingThread
) -> str:
    """Have a model write the persona's profile, as the characters stage would.

    Raises :class:`ConfigError` when no attempt gave a usable one.
    """
    config = settings.characters
    prompt = PromptTemplate.load(require_path(config.prompt, "characters.prompt"))
    writer = CharacterWriter(
        prompt,
        config.structured,
        config.language,
        config.check_quality,
        config.max_field_chars,
    )
    key = content_key("chat", persona)
    session = RowSession(
        key=key,
        engine=thread.engine,
        encoder=_load(model) if model.engine == "vllm" else None,
        options=choose_options(model, config),
    )
    made = thread.run(writer.make(key, CharacterInput(key, key, persona), session))
    if isinstance(made, Reject):
        raise ConfigError(
            Problem(
                "--profile make",
                f"no usable profile in {config.max_attempts} attempts ({made.reason}: "
                f"{made.detail[:200]})",
                "say more in the persona, raise characters.max_attempts, or write the profile",
            )
        )
    return made.profile


def _load(model: ModelConfig) -> PromptEncoder:
    return open_encoder(name_encoder(model))


def find_thinking(model: ModelConfig) -> ThinkingFacts:
    """Return what is known of a model's thoughts: of endpoints nothing is."""
    return _load(model).thinking if model.engine == "vllm" else NOTHING_KNOWN


def make_encoder(model: ModelConfig) -> Encode | None:
    """Return what turns messages into the token ids a vLLM engine takes; ``None`` for others."""
    if model.engine != "vllm":
        return None
    encoder = _load(model)
    try:
        encoder.encode((Message("system", "You are Ann."), Message("user", "Hello.")))
    except TemplateRefused as error:
        raise ConfigError(
            Problem(
                model.model,
                f"its chat template takes no system prompt and question ({error})",
                "chat with the tuned model, or with one that was trained to chat",
            )
        ) from error
    return encoder.encode


def _write_lines(values: Mapping[str, str]) -> str:
    return "\n".join(f"{label}: {values[name]}" for label, name in PROFILE_FIELDS)
