"""Describes a row stage ready to run, and what it runs with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from infra.engines.batch.allowance import Allowance
from infra.generation.asking import AskOptions
from infra.generation.engine_pool import EnginePool
from infra.generation.runner_config import RunnerConfig
from infra.generation.stage_worker import RowMaker
from infra.progress import ProgressListener
from infra.rendering.encoder import EncoderSpec
from infra.store.manifests import NodeSpec
from infra.store.storage import Storage


@dataclass(frozen=True)
class RowStage:
    """Row stage ready to run.

    ``planned`` has the columns key, parents_digest and group, and the columns of the maker's
    input record.
    """

    node: NodeSpec
    model: str
    maker: RowMaker[Any]
    planned: pl.DataFrame
    options: AskOptions
    min_yield: float
    encoder: EncoderSpec | None


@dataclass(frozen=True)
class RunnerContext:
    """What the runner works with: where rows go, who makes them, who watches, who stops it."""

    storage: Storage
    pool: EnginePool
    listener: ProgressListener
    config: RunnerConfig
    stop: threading.Event
    provenance: Callable[[], dict[str, str]]
    allowance: Callable[[str], Allowance | None] = lambda _: None
    """What the budget leaves to a model."""
