"""Proves that an engine which does not start says what it died of, not where to look."""

from __future__ import annotations

import pytest

from infra.engines.vllm.last_words import explain_start, find_last_error
from infra.errors import ConfigError, EngineError

LOG = """
(EngineCore_DP0 pid=77) INFO 11-27 09:00:00 [core.py:100] Initializing an engine
(EngineCore_DP0 pid=77) ERROR 11-27 09:00:01 [core.py:900] EngineCore failed to start.
(EngineCore_DP0 pid=77) ERROR 11-27 09:00:01 [core.py:900] Traceback (most recent call last):
(EngineCore_DP0 pid=77) ERROR 11-27 09:00:01 [core.py:900]   File "loader.py", line 5, in load
(EngineCore_DP0 pid=77) ERROR 11-27 09:00:01 [core.py:900] {error}
Traceback (most recent call last):
  File "client.py", line 9, in wait
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}
"""
WRAPPED = EngineError("vLLM could not start m: Engine core initialization failed.")


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("KeyError: 'lm_head.weight'", "KeyError", "'lm_head.weight'"),
        ("safetensors_rust.SafetensorError: cut", "SafetensorError", "cut"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "OutOfMemoryError", "CUDA out of memory."),
        ("AssertionError", "AssertionError", ""),
    ],
)
def test_the_cause_is_found_among_its_consequences(line: str, kind: str, said: str) -> None:
    assert find_last_error(LOG.format(error=line)) == (kind, said)


def test_what_follows_on_the_next_lines_belongs_to_it() -> None:
    log = (
        "pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, odd\n\n"
    )
    assert find_last_error(log) == (
        "ValidationError", "1 validation error for ModelConfig Value error, odd",
    )  # fmt: skip


def test_an_error_that_would_come_again_is_not_tried_again() -> None:
    found = explain_start("m", WRAPPED, LOG.format(error="KeyError: 'lm_head.weight'"))
    assert isinstance(found, ConfigError)
    assert "lm_head.weight" in str(found)
    assert "root cause" not in str(found)


@pytest.mark.parametrize(
    "line",
    ["ValueError: Free memory on device is less than desired", "torch.OutOfMemoryError: full"],
)
def test_memory_may_be_free_the_next_time(line: str) -> None:
    found = explain_start("m", WRAPPED, LOG.format(error=line))
    assert isinstance(found, EngineError)
    assert line.partition(": ")[2] in str(found)


def test_without_a_word_the_error_stays() -> None:
    assert explain_start("m", WRAPPED, "all is well") is WRAPPED
