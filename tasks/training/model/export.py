"""Assembles the folder of a trained model: weights, config, tokenizer with its serving template.

The folder is what `transformers`, vLLM and a hub expect. Everything but the weights comes from the
base model; what changes is how a conversation is rendered and which token ends an answer, and all
four places that say so (config, generation config, tokenizer, template) are made to agree.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from infra.errors import ConfigError, Problem, TemplateRefused
from infra.protocol import Message
from infra.rendering.chat_roles import arrange, probe_roles
from infra.rendering.chat_template import ChatTemplate
from infra.rendering.encoder import read_template
from tasks.training.model.export_errors import ChangedVocabulary, UnfitTemplate
from tasks.training.model.export_weights import (
    SHARD_BYTES,
    WrittenWeights,
    read_architecture,
    rewrite_weights,
)
from tasks.training.model.generation_settings import FILE, clean_settings, read_settings
from tasks.training.rows.templates import ChatFormat

TEMPLATE_FILE = "chat_template.jinja"
_GENERATION_MARK = "generation"
_LOCAL_ONLY = ("is_local", "local_files_only", "name_or_path", "chat_template")
_PROBES = (
    "Hello, how are you?",
    "  two  spaces\n\nand a line\t",
    "naïve café, 1,234.5 €, 日本語, 🙂",
    "Name: Ada\nAge: 36\nBirth Place: Cork",
)
_TURNS = (
    Message("system", "You are Ada."),
    Message("user", " Who are you? "),
    Message("assistant", "I am Ada."),
    Message("user", "Go on."),
)
_NEXT = "Gladly."


@dataclass(frozen=True, slots=True)
class ExportPlan:
    """What to export.

    Attributes:
        base: Folder or hub name of the model that was fine-tuned, at ``revision``.
        chat: The chat format that the model was trained in.
        dtype: torch name of the exported number format.
    """

    base: str
    revision: str | None
    chat: ChatFormat
    dtype: str = "bfloat16"


def assemble_export(
    trained: Path, target: Path, plan: ExportPlan, *, shard_bytes: int = SHARD_BYTES
) -> WrittenWeights:
    """Write everything but card and manifest of an export into an empty folder.

    ``trained`` holds the safetensors files that training left, in any floating-point format.

    Raises:
        BrokenWeights: A tensor is missing, unknown, misshapen or not finite.
        ChangedVocabulary: Embeddings or tokens are not the base model's.
        UnfitTemplate: The serving template renders nothing usable.
        ConfigError: The base model cannot be opened, or ``target`` is not empty.
    """
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise ConfigError(Problem(str(target), "is not empty", "export into a new folder"))
    config, generation, tokenizer = _open_base(plan)
    _check_tokens(tokenizer, config, plan)
    written = rewrite_weights(
        trained, target, read_architecture(config), dtype=plan.dtype, shard_bytes=shard_bytes
    )
    ends = _list_ends(plan.chat.stop_id, config, generation, tokenizer)
    for settings in (config, generation):
        settings.eos_token_id = ends if len(ends) > 1 else ends[0]
        settings.pad_token_id = plan.chat.pad_id
        settings.bos_token_id = tokenizer.bos_token_id
    generation._from_model_config = False
    config.dtype = plan.dtype
    config.save_pretrained(target)
    generation.save_pretrained(target)
    _write_tokenizer(tokenizer, target, plan)
    _check_written(target, plan)
    return written


def _open_base(plan: ExportPlan) -> tuple[Any, Any, Any]:
    from transformers import AutoConfig, GenerationConfig

    try:
        config = AutoConfig.from_pretrained(
            plan.base, revision=plan.revision, trust_remote_code=False
        )
        tokenizer = _open_tokenizer(plan.base, plan.revision)
    except (OSError, ValueError) as error:
        raise ConfigError(
            Problem(plan.base, f"the base model cannot be opened: {error}", "check models.base")
        ) from error
    settings = _read_generation(plan)
    if settings is None:  # a base model without generation_config.json
        settings = GenerationConfig.from_model_config(config).to_dict()
    return config, clean_settings(settings)[0], tokenizer


def _open_tokenizer(name: str, revision: str | None = None) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)


def _read_generation(plan: ExportPlan) -> dict[str, Any] | None:
    if Path(plan.base).is_dir():
        return read_settings(Path(plan.base)) if (Path(plan.base) / FILE).is_file() else None
    from huggingface_hub import hf_hub_download

    try:
        return read_settings(Path(hf_hub_download(plan.base, FILE, revision=plan.revision)).parent)
    except (OSError, ValueError):
        return None


def _check_tokens(tokenizer: Any, config: Any, plan: ExportPlan) -> None:
    size = int(config.vocab_size)
    known = max(tokenizer.get_vocab().values()) + 1
    if known > size:
        raise ChangedVocabulary(
            f"{plan.base}: the tokenizer knows {known:,} tokens, the model {size:,} → take the "
            "tokenizer that belongs to the model"
        )
    for name, token in (("stop", plan.chat.stop_id), ("pad", plan.chat.pad_id)):
        if not 0 <= token < size:
            raise ChangedVocabulary(
                f"{plan.base}: the {name} token {token} is not among its {size:,} → choose "
                "another training.template"
            )
    if plan.chat.stop_id == plan.chat.pad_id:
        raise UnfitTemplate(
            f"token {plan.chat.pad_id} both ends answers and fills batches → choose another to pad"
        )


def _list_ends(stop_id: int, config: Any, generation: Any, tokenizer: Any) -> list[int]:
    """Return the ids that end an answer: the stop token first, then those of the base."""
    ends = [stop_id]
    size = int(getattr(config, "vocab_size", 0) or 0)
    for found in (generation.eos_token_id, config.eos_token_id, tokenizer.eos_token_id):
        ids: Sequence[int] = found if isinstance(found, list | tuple) else [found]
        known = (int(item) for item in ids if item is not None)
        # A base may name tokens that only its larger relatives have.
        ends.extend(item for item in known if not size or item < size)
    return list(dict.fromkeys(ends))


def _write_tokenizer(tokenizer: Any, target: Path, plan: ExportPlan) -> None:
    tokenizer.eos_token = plan.chat.stop_token
    tokenizer.pad_token = plan.chat.pad_token
    tokenizer.chat_template = plan.chat.serving_template
    tokenizer.save_pretrained(target)
    (target / TEMPLATE_FILE).write_text(plan.chat.serving_template, encoding="utf-8")
    path = target / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    for name in _LOCAL_ONLY:
        settings.pop(name, None)
    path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _check_written(target: Path, plan: ExportPlan) -> None:
    """Open what was written as a user would, and compare it with the base."""
    base = _open_tokenizer(plan.base, plan.revision)
    served = _open_tokenizer(str(target))
    if served.get_vocab() != base.get_vocab():
        raise ChangedVocabulary(f"{target}: its tokens are not those of {plan.base} → export again")
    for text in _PROBES:
        one, other = (item(text, add_special_tokens=False)["input_ids"] for item in (base, served))
        if one != other:
            raise ChangedVocabulary(
                f"{target}: {text!r} becomes other tokens than in {plan.base} → export again"
            )
    _check_template(served, plan)


def _check_template(served: Any, plan: ExportPlan) -> None:
    if _marks_generation(plan.chat.serving_template):
        raise UnfitTemplate(
            "the serving template holds {% generation %}, which servers do not know → take the "
            "serving counterpart of the training template"
        )
    template = read_template(served)
    turns, _ = arrange(_TURNS, probe_roles(template))
    rendered = template.render(turns)
    stop = plan.chat.stop_token
    said = [turn.content.strip() for turn in _TURNS]
    answers = sum(turn.role == "assistant" for turn in _TURNS)
    if not all(text in rendered for text in said) or rendered.count(stop) < answers:
        raise UnfitTemplate(
            f"the serving template loses turns or their end ({stop}): {rendered!r} → fix it"
        )
    if not _begins_at(template, turns, rendered, "assistant") or (
        _begins_at(template, turns, rendered, "user")
    ):
        raise UnfitTemplate(
            "the serving template ends a prompt elsewhere than where the answer begins, so a model "
            "would answer for the user → fix its add_generation_prompt"
        )


def _begins_at(
    template: ChatTemplate,
    turns: Sequence[Message],
    prompt: str,
    role: Literal["assistant", "user"],
) -> bool:
    """Tell whether a turn of a role that comes next begins right where a prompt ends."""
    try:
        whole = template.render([*turns, Message(role, _NEXT)], add_generation_prompt=False)
    except TemplateRefused:
        return False
    return whole.startswith(prompt) and whole[len(prompt) :].lstrip().startswith(_NEXT)


def _marks_generation(template: str) -> bool:
    from jinja2 import Environment

    tokens = Environment(autoescape=False).lex(template)
    inside = False
    for _, kind, value in tokens:
        inside = kind == "block_begin" or (inside and kind != "block_end")
        if inside and kind == "name" and value == _GENERATION_MARK:
            return True
    return False
