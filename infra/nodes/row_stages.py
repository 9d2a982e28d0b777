"""Makes of a node that asks a model what the stage runner runs."""

from __future__ import annotations

import json
from typing import Any

import polars as pl

from infra.context import RunContext, Sampling, context_length, read_chat_template
from infra.engines.config import ModelConfig
from infra.generation.asking import AskOptions
from infra.generation.row_stage import RowStage, RunnerContext
from infra.generation.stage_runner import run_row_stage
from infra.generation.stage_worker import RowMaker
from infra.rendering.encoder import EncoderSpec
from infra.store.manifests import NodeRef, NodeSpec


def make_rows(
    context: RunContext,
    node: NodeSpec,
    *,
    model: str,
    maker: RowMaker[Any],
    planned: pl.DataFrame,
    sampling: Sampling,
) -> NodeRef:
    """Ask a model for every planned row that is not committed yet."""
    config = context.models[model]
    stage = RowStage(
        node=node,
        model=model,
        maker=maker,
        planned=planned,
        options=choose_options(config, sampling),
        min_yield=sampling.min_yield,
        encoder=name_encoder(config) if config.engine == "vllm" else None,
    )
    runner = RunnerContext(
        storage=context.storage,
        pool=context.pool,
        listener=context.listener,
        config=context.runner,
        stop=context.stop,
        provenance=context.provenance,
        allowance=context.listener.find_allowance,
    )
    return run_row_stage(stage, runner)


def choose_options(config: ModelConfig, sampling: Sampling) -> AskOptions:
    """Say how a model is asked for rows: as the stage samples, within what the model takes."""
    return AskOptions(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_new_tokens=sampling.max_new_tokens,
        max_attempts=sampling.max_attempts,
        seed=sampling.seed,
        context_tokens=context_length(config) if config.engine == "vllm" else None,
        max_thought_tokens=config.max_thought_tokens,
        keeps_thoughts=config.thinking == "keep",
    )


def name_encoder(config: ModelConfig) -> EncoderSpec:
    """Say how a model's prompts become token ids."""
    values = config.list_template_values()
    return EncoderSpec(
        config.model,
        config.revision,
        read_chat_template(config),
        json.dumps(values, sort_keys=True) if values else "",
        thinking_off=config.thinking == "off",
    )
