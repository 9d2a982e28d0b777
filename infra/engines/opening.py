"""Opens engines that live in the worker's own process: endpoints and scripted ones.

The key of an endpoint is read here, in the driver, and travels wrapped in a secret that prints as
``***``; workers never import Prefect.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from infra.engines.batch.engine import BatchEngine
from infra.engines.config import ModelConfig
from infra.engines.endpoint.dialect import is_reference
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.wire import EndpointSettings
from infra.engines.scripted import Script, ScriptedEngine
from infra.protocol import Engine
from infra.secrets.secrets import Secret, read_secret
from infra.store.storage import Storage


def open_remote_engine(config: ModelConfig, storage: Storage | None = None) -> Callable[[], Engine]:
    """Return a picklable function that opens the engine inside a worker.

    An endpoint's batches are written down in ``storage``; without one it is asked live.
    """
    if config.engine == "scripted":
        return cast(Callable[[], Engine], partial(ScriptedEngine, read_script(config)))
    settings = endpoint_settings(config)
    key, headers = read_endpoint_secrets(config)
    if config.batch is not None and storage is not None:
        opened = partial(BatchEngine, settings, config.batch, storage, key, headers)
        return cast(Callable[[], Engine], opened)
    return cast(Callable[[], Engine], partial(EndpointEngine, settings, key, headers))


def read_endpoint_secrets(config: ModelConfig) -> tuple[Secret | None, dict[str, Secret]]:
    """Read an endpoint's key and the headers whose values are kept elsewhere."""
    key = read_secret(config.api_key) if config.api_key else None
    headers = config.dialect.headers
    return key, {name: read_secret(value) for name, value in headers.items() if is_reference(value)}


def read_script(config: ModelConfig) -> Script:
    """Build a scripted engine's script from its plain values."""
    return Script(**config.script)  # type: ignore[arg-type]


def endpoint_settings(config: ModelConfig) -> EndpointSettings:
    """Build an endpoint's settings; they hold where the key is, never the key."""
    return EndpointSettings(
        base_url=config.base_url or "",
        model=config.model,
        key_reference=config.api_key,
        timeout_s=config.timeout_s,
        max_concurrency=config.max_concurrency,
        max_retries=config.max_retries,
        patience_s=config.patience_s,
        dialect=config.dialect,
        thinking_fields=list_thinking_fields(config),
    )


def list_thinking_fields(config: ModelConfig) -> dict[str, Any]:
    """Return the fields of a request that say how much to think, where anything is said of it.

    ``chat_template_kwargs`` is what vLLM, SGLang and their like take; which switch an endpoint's
    template knows cannot be seen from here, so ``off`` sends the two that are most common.
    """
    off = {"enable_thinking": False, "thinking": False} if config.thinking == "off" else {}
    values = {**off, **config.template_values}
    fields: dict[str, Any] = {"chat_template_kwargs": values} if values else {}
    if config.reasoning_effort:
        fields["reasoning_effort"] = config.reasoning_effort
    return fields
