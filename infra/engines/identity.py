"""Says which model a configuration names, so that another model is another recipe."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from infra.engines.config import ModelConfig
from infra.errors import ConfigError, Problem
from infra.exported_models import EXPORT_MANIFEST
from infra.file_digests import digest_once
from infra.fingerprints import hash_parts
from infra.gguf_models import identify_gguf, is_gguf
from infra.model_facts import find_cached_commit, is_hub_name
from infra.model_folders import locate_file, name_model_version
from infra.storage import is_remote

_CONTENT = ("*.json", "*.safetensors", "*.bin", "*.model", "*.jinja", "*.txt", "*.gguf")


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
    files = sorted({path for pattern in _CONTENT for path in folder.glob(pattern)})
    return hash_parts(*(f"{path.name}:{digest_once(path)}" for path in files))


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

    Raises :class:`ConfigError` when the config is not a JSON object.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["max_position_embeddings"]
    except KeyError:
        return None
    except (ValueError, TypeError) as error:
        problem = Problem(str(path), f"not a JSON object: {error}", "copy the model's config again")
        raise ConfigError(problem) from error
    return int(found) if isinstance(found, int) else None
