"""Declares how row stages are carried out."""

from __future__ import annotations

from infra.knobs import Knobs, execution


class RunnerConfig(Knobs):
    """How row stages are carried out; no cache notices."""

    chunk_rows: int | None = execution(
        None,
        ge=1,
        description="Rows per lease; a part is written when a lease is finished. None: 64, and up"
        " to 1,024 where they are made within a second",
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
