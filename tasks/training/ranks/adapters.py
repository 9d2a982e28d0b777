"""Merges low-rank adapters into the base model's weights; the only door to peft.

A merged model serves without peft and at the base model's speed. Trained token embeddings (the
stop token's) are merged too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import ConfigError, Problem


def merge_adapter(base: str, revision: str | None, adapter: Path, target: Path) -> None:
    """Write base weights plus adapters as a plain model folder, in fp32.

    The sum is taken in fp32, because bf16 would round most of a small update away; it needs four
    bytes a parameter of memory. The export casts afterwards.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if not (adapter / "adapter_config.json").is_file():
        problem = Problem(str(adapter), "holds no adapter_config.json", "give an adapter folder")
        raise ConfigError(problem)
    try:
        from peft import PeftModel
    except ImportError as error:
        raise ConfigError(
            Problem("training.lora", f"peft cannot be imported: {error}", "run `make install`")
        ) from error
    with hide_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(
            base, revision=revision, dtype=torch.float32, trust_remote_code=False
        )
        tuned = PeftModel.from_pretrained(model, str(adapter), torch_device="cpu")
        tuned.merge_and_unload(safe_merge=True).save_pretrained(target)


@contextmanager
def hide_progress_bars() -> Iterator[None]:
    """Keep transformers' progress bars out of a terminal that shows something else."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
