"""Offers the nodes that play dialogues, one a strategy, or take those that are given."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from infra.context import RunContext
from infra.errors import ConfigError, Problem
from infra.generation.stage_runner import run_row_stage
from infra.generation.stage_worker import RowMaker
from infra.input.row_input import Source
from infra.orchestration.tasks import node_task
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.manifests import NodeRef, NodeSpec
from infra.store.reading import read_accepted
from infra.store.set_store import write_set
from tasks.dialogues.config import DialogueConfig, RewriteConfig, StrategyConfig
from tasks.dialogues.generation import GeneratePlayer
from tasks.dialogues.planning import plan_dialogues
from tasks.dialogues.rewriting import RewritePlayer
from tasks.dialogues.sources import NO_CHARACTER, digest_dialogue_source, take_dialogues
from tasks.records import Character, Dialogue, Instruction, Rejection
from tasks.rejections import check_brought_yield

VERSIONS = {"generate": 3, "rewrite": 3}
TAKE_VERSION = 3


def describe_dialogues(
    strategy: str, config: DialogueConfig, context: RunContext, upstream: Sequence[NodeSpec]
) -> NodeSpec:
    """Name a strategy's node from its knobs, prompt, model, pairing and what it reads."""
    chosen = choose_strategy(config, strategy)
    return context.name_row_stage(
        f"dialogues_{strategy}",
        VERSIONS[strategy],
        chosen,
        _load_prompt(strategy, chosen).source,
        upstream,
        characters_per_question=config.characters_per_question,
        pairing_seed=config.pairing_seed,
    )


def describe_given_dialogues(source: Source, characters: NodeSpec) -> NodeSpec:
    """Name the node that takes people's own dialogues from their files and its characters."""
    return NodeSpec.build(
        "dialogues_given",
        TAKE_VERSION,
        identity={"taken": True},
        selection={},
        upstream=[characters],
        sources=digest_dialogue_source(source),
    )


@node_task("dialogues")
def take_given_dialogues(
    context: RunContext, node: NodeSpec, config: DialogueConfig, characters: NodeRef, sampled: bool
) -> NodeRef:
    """Take the dialogues of the run's characters; :class:`YieldError` if there are too few.

    ``sampled`` says that the run has only a part of the characters, so that rows of others do not
    count.
    """
    began = time.monotonic()
    source = require_source(config)
    plays = take_dialogues(
        source, read_accepted(context.storage, characters, Character), node.recipe
    )
    check_brought_yield(
        f"dialogues.source ({source.path})",
        config.min_yield,
        accepted=len(plays.accepted),
        rejected=plays.rejected,
        apart=(NO_CHARACTER,) if sampled else (),
    )
    return write_set(
        context.storage,
        node,
        plays.accepted,
        plays.rejected,
        records=(Dialogue, Rejection),
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
    )


def require_source(config: DialogueConfig) -> Source:
    """Return the source of a run whose dialogues are brought."""
    if config.rows is None:
        raise ConfigError(Problem("dialogues.source", "names no rows", "name a data set"))
    return config.rows


@node_task("dialogues")
def play_dialogues(
    context: RunContext,
    node: NodeSpec,
    strategy: str,
    config: DialogueConfig,
    characters: NodeRef,
    instructions: Sequence[NodeRef],
) -> NodeRef:
    """Play every planned dialogue of one strategy."""
    chosen = choose_strategy(config, strategy)
    cast = read_accepted(context.storage, characters, Character)
    questions = [
        question
        for reference in instructions
        for question in read_accepted(context.storage, reference, Instruction)
        if strategy == "generate" or question.answered
    ]
    require_cast(config.characters_per_question, len(cast))
    planned = plan_dialogues(
        node.recipe,
        cast,
        questions,
        per_question=config.characters_per_question,
        seed=config.pairing_seed,
    )
    stage = context.row_stage(
        node,
        model=chosen.model,
        maker=_choose_player(context, strategy, chosen),
        planned=planned,
        sampling=chosen,
    )
    return run_row_stage(stage, context.runner_context())


def require_cast(per_question: int, characters: int) -> None:
    """Raise :class:`ConfigError` where there are too few characters to answer one question."""
    if characters < per_question:
        what = f"{per_question} asked for, and there are {characters} characters at most"
        todo = "take more personas, or fewer characters a question"
        raise ConfigError(Problem("dialogues.characters_per_question", what, todo))


def choose_strategy(config: DialogueConfig, strategy: str) -> StrategyConfig:
    """Return the config of a strategy that the run uses."""
    chosen = config.generate if strategy == "generate" else config.rewrite
    if chosen is None:
        raise ConfigError(
            Problem(f"dialogues.{strategy}", "this strategy is off", "give it a mapping, or {}")
        )
    return chosen


def _choose_player(context: RunContext, strategy: str, chosen: StrategyConfig) -> RowMaker[Any]:
    prompt = _load_prompt(strategy, chosen)
    teacher = context.model_label(chosen.model)
    if isinstance(chosen, RewriteConfig):
        return RewritePlayer(
            prompt,
            teacher,
            chosen.structured,
            chosen.max_turn_chars,
            chosen.stage_directions,
            chosen.check_speech,
        )
    return GeneratePlayer(prompt, teacher, chosen.stage_directions, chosen.check_speech)


def _load_prompt(strategy: str, chosen: StrategyConfig) -> PromptTemplate:
    return PromptTemplate.load(require_path(chosen.prompt, f"dialogues.{strategy}.prompt"))
