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
from infra.generation.stage_worker import RowMaker
from infra.knobs import Knobs, execution
from infra.progress import ProgressListener
from infra.rendering.encoder import EncoderSpec
from infra.store.manifests import NodeSpec
from infra.store.storage import Storage


class RunnerConfig(Knobs):
    """How row stages are carried out; no cache notices."""

    chunk_rows: int = execution(
        64, ge=1, description="Rows per lease; a part is written when a lease is finished"
    )
    chunk_seconds: float = execution(
        20.0,
        gt=0,
        description="Longest that a finished row waits to be committed, in seconds: a kill costs "
        "no more than that, however slow the engine",
    )
    yield_check_rows: int = execution(
        100, ge=1, description="Rows after which a stage that falls below its min_yield may stop"
    )
    max_engine_restarts: int = execution(3, ge=0, description="Restarts of one engine in a run")
    stop_grace_s: float = execution(
        20.0, ge=0, description="How long open rows may finish after Ctrl-C, in seconds"
    )


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
