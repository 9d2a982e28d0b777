"""Says which model a configuration names, so that another model is another recipe."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from infra.engines.config import ModelConfig
from infra.engines.model_facts import find_cached_commit, is_hub_name
from infra.errors import ConfigError, Problem
from infra.models.exported import EXPORT_MANIFEST
from infra.models.file_digests import digest_once
from infra.models.folders import locate_file, name_model_version
from infra.models.gguf_models import identify_gguf, is_gguf
from infra.models.soundness import read_model_config
from infra.store.fingerprints import hash_parts
from infra.store.storage import is_remote

_WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
"""The first that is there is what is loaded."""
_COMPUTES = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tekken.json", "*.tiktoken",
    "*.model", "*.jinja",
)  # fmt: skip
_GENERATION = "generation_config.json"


def identify_model(config: ModelConfig) -> str:
    """Return what enters the recipe key: manifest digest, content hash, hub commit or name.

    Raises :class:`ConfigError` when a hub model has no known commit and no network tells it.
    """
    revision = config.revision or ""
    if config.engine == "endpoint":
        return f"endpoint:{config.model}@{revision}"
    if config.engine == "scripted":
        return f"scripted:{config.model}@{revision}"
    if is_gguf(config.model):
        return f"weights:{identify_gguf(locate_file(config.model))}"
    if is_remote(config.model):
        return f"weights:{name_model_version(config.model)}"
    folder = Path(config.model)
    if folder.is_dir():
        return f"weights:{_digest_folder(folder)}"
    return f"hub:{config.model}@{_find_commit(config) or 'unknown'}"


def pin_model(config: ModelConfig) -> ModelConfig:
    """Return the configuration with a hub's branch replaced by the commit it stands for now.

    Every machine of a run then loads what the recipe key names, whatever its own cache holds.
    Where no commit can be had nothing changes: :func:`identify_model` says so to who needs it.
    """
    commit = None
    if is_hub_name(config):
        with suppress(ConfigError):
            commit = _find_commit(config)
    return config.model_copy(update={"revision": commit}) if commit else config


def _digest_folder(folder: Path) -> str:
    manifest = folder / EXPORT_MANIFEST
    if manifest.is_file():
        return hash_parts(manifest.read_text(encoding="utf-8"))
    found = (sorted(folder.glob(pattern)) for pattern in _WEIGHTS)
    weights = next((paths for paths in found if paths), [])
    told = {path for pattern in _COMPUTES for path in folder.glob(pattern)}
    files = sorted({*weights, *told})
    named = (f"{path.name}:{digest_once(path)}" for path in files)
    return hash_parts(*named, *_list_ends(folder))


def _list_ends(folder: Path) -> list[str]:
    """Return what of the generation settings computes: the tokens that end an answer.

    How to sample is said with every request, so that a file that was fixed changes no row.
    """
    try:
        settings = json.loads((folder / _GENERATION).read_text(encoding="utf-8"))
        ends = settings.get("eos_token_id")
    except (OSError, ValueError, AttributeError):
        return []
    return (
        [] if ends is None else [f"ends:{json.dumps(ends if isinstance(ends, list) else [ends])}"]
    )


def _find_commit(config: ModelConfig) -> str | None:
    known = find_cached_commit(config)
    if known is not None:
        return known
    from huggingface_hub import HfApi

    # The base of all that the hub's HTTP client raises, whichever client that is.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        return HfApi().model_info(config.model, revision=config.revision or None, timeout=10).sha
    except (OSError, HTTPError, ValueError) as error:
        raise ConfigError(
            Problem(
                f"model {config.model}",
                f"no such folder, not in the local hub cache, and the hub did not answer ({error})",
                "give a model folder, download the model first, or pin revision to a commit",
            )
        ) from error


def read_context_length(folder: Path) -> int | None:
    """Return a model folder's own context length in tokens, if its config says so.

    That of a multimodal model stands in its ``text_config``.

    Raises :class:`ConfigError` when the config is not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        found = read_model_config(folder).get("max_position_embeddings")
    except ValueError as error:
        problem = Problem(str(path), f"not a JSON object: {error}", "copy the model's config again")
        raise ConfigError(problem) from error
    return int(found) if isinstance(found, int) else None
