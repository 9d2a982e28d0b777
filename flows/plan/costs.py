"""Estimates what a plan costs: tokens, engine hours, money and disk, from what was measured here.

Prompt tokens come from a rendered and tokenised sample, answers from the mean of the stage's
latest manifest in this store, hours from its rate. What was never measured is taken from
`plan` in the configuration; what neither says stays unknown. Likelihoods and general tasks
(attribution, abilities) are not estimated: they ask for no tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from flows.plan.foreseen import ForeseenRows
from flows.plan.past_rates import Measured
from flows.plan.prompt_samples import sample_given_dialogues, sample_prompts
from flows.recipe.graph import Graph
from flows.recipe.plan_config import PlanConfig
from flows.recipe.prices import price_engine_hour, price_tokens
from flows.recipe.settings import Settings
from infra.context import read_chat_template
from infra.engines.config import ModelConfig
from infra.engines.model_facts import find_model_facts, find_model_folder
from infra.errors import Problem
from infra.nodes.node import Node, RowNode
from infra.rendering.token_counting import CHARS_A_TOKEN, PromptCounter
from tasks.curation.nodes import Curation
from tasks.dialogues.nodes import TakenDialogues
from tasks.export.nodes import Export
from tasks.training.config import TrainingConfig
from tasks.training.nodes import Encoding, Training
from tasks.training.rows.batching import count_steps, list_ranks

_HOUR_S = 3600
_ROW_BYTES = 120
"""Keys, digest and counts of a row, compressed."""
_COMPRESSED = 0.4
"""Text under zstd at level 3, about."""
_TOKEN_BYTES = 12
"""Three int32 columns: ids, labels, positions."""
_STATE_BYTES = 16
"""A parameter in a checkpoint: weights, fp32 masters and two moments, with room."""
_WEIGHT_BYTES = {"bfloat16": 2, "float32": 4}
_FILLED = 0.95
"""Share of a packed row that tokens fill, about."""


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class NodeCost(_Plain):
    """Cost of the rows that a node is to make; ``None`` is unknown.

    ``counted`` says where the numbers come from.
    """

    prompt_tokens: int | None = None
    output_tokens: int | None = None
    engine_hours: float | None = None
    usd: float | None = None
    disk_bytes: int = 0
    counted: str = ""


class TrainingPlan(_Plain):
    """What training learns from; ``about`` unless the rows are encoded already."""

    examples: int
    rows: int
    tokens: int
    epochs: float
    steps: int
    ranks: tuple[int, ...]
    """How many may share its global batch."""
    parameters: int | None
    rank_hours: float | None
    usd: float | None
    about: bool
    make: bool


class DiskPlan(_Plain):
    """Disk that a plan needs at the storage root, in bytes; checkpoints at their most.

    ``total`` leaves out what is unknown: of a model whose size is known nowhere here.
    """

    rows: int
    encoding: int
    checkpoints: int | None
    models: int | None
    export: int
    total: int


@dataclass(frozen=True)
class CostEstimator:
    """Estimator of the nodes of one plan, from the rows that are foreseen."""

    settings: Settings
    graph: Graph
    given: ForeseenRows
    measured: Measured

    def estimate_rows(self, node: Node, make: int) -> NodeCost:
        """Estimate the rows that a row node is to make."""
        if not isinstance(node, RowNode) or make == 0:
            return NodeCost()
        prompt, output, counted = self._measure_row(node)
        prompts, outputs = round(make * prompt), round(make * output)
        hours = self._estimate_hours(node, outputs)
        return NodeCost(
            prompt_tokens=prompts,
            output_tokens=outputs,
            engine_hours=hours,
            usd=self._price(node, prompts, outputs, hours),
            disk_bytes=round(make * self._measure_bytes(node.name, output)),
            counted=counted,
        )

    def estimate_training(self, rows: Mapping[str, int]) -> TrainingPlan | None:
        """Estimate training; ``rows`` are the planned rows of every node."""
        training = self.graph.find_one(Training)
        if training is None:
            return None
        config, encoded = training.config, self.given.find(training.encoding)
        if encoded is not None:
            facts = encoded.facts["train"]
            examples, packed, tokens = facts["examples"], facts["rows"], facts["tokens"]
        else:
            examples, tokens = self._estimate_examples(training, rows)
            filled = config.max_length * _FILLED
            packed = math.ceil(tokens / filled) if config.packing else examples
        # A control learns from as many tokens.
        todo = [one for one in self.graph.find(Training) if self.given.find(one) is None]
        make, learnt = bool(todo), tokens * config.epochs * len(todo)
        rate = self.measured.find_training_rate(training.spec.identity.get("model"))
        rate = rate or self._knobs.training_tokens_per_s
        hours = learnt / rate / _HOUR_S if rate and todo else (None if todo else 0.0)
        price = price_engine_hour(self.settings)
        facts_of_base = find_model_facts(self.settings.models[config.model])
        return TrainingPlan(
            examples=examples,
            rows=packed,
            tokens=tokens,
            epochs=config.epochs,
            steps=count_steps(packed, config.epochs, config.global_batch),
            ranks=list_ranks(config),
            parameters=facts_of_base.parameters if facts_of_base else None,
            rank_hours=hours,
            usd=None if hours is None or price is None else hours * price,
            about=encoded is None,
            make=make,
        )

    def estimate_disk(
        self,
        costs: Iterable[NodeCost],
        training: TrainingPlan | None,
    ) -> DiskPlan:
        """Estimate the bytes that what is to be made takes at the storage root."""
        rows = sum(cost.disk_bytes for cost in costs)
        text = training.tokens * CHARS_A_TOKEN if training else round(rows / _COMPRESSED)
        # Curation holds the dialogues with their prompts; the data set holds it twice, once plain.
        todo = {type(node) for node in self.graph if self.given.find(node) is None}
        curated = round(text * _COMPRESSED) if Curation in todo else 0
        export = text + round(text * _COMPRESSED) if Export in todo else 0
        encoding = training.tokens * _TOKEN_BYTES if training and Encoding in todo else 0
        checkpoints, models = self._estimate_weights(training)
        parts = (rows + curated, encoding, checkpoints, models, export)
        return DiskPlan(
            rows=rows + curated,
            encoding=encoding,
            checkpoints=checkpoints,
            models=models,
            export=export,
            total=sum(part for part in parts if part is not None),
        )

    def _estimate_weights(self, training: TrainingPlan | None) -> tuple[int | None, int | None]:
        """Return the bytes of checkpoints, and of the trained model with its export."""
        config = self.settings.training
        if config is None or training is None or not training.make:
            return 0, 0
        if training.parameters is None:
            return None, None
        width = _WEIGHT_BYTES[config.export_dtype]
        state = width if config.lora is not None else _STATE_BYTES
        # One more than is kept: an old one goes when the new one is whole.
        checkpoints = (config.keep_checkpoints + 1) * state * training.parameters
        return checkpoints, 2 * width * training.parameters

    def _measure_row(self, node: RowNode) -> tuple[float, float, str]:
        """Return prompt and output tokens of a row, and how they were counted."""
        if node.name not in self._measures:
            self._measures[node.name] = self._count_row(node)
        return self._measures[node.name]

    def _count_row(self, node: RowNode) -> tuple[float, float, str]:
        past = self.measured.find_tokens(node.name)
        counter = self._count_for(node.model)
        prompts = sample_prompts(node, self.given)
        if prompts:
            mean = sum(map(counter.count, prompts)) / len(prompts)
            prompt = mean * (past.requests if past else 1.0)
            how = f"{len(prompts)} prompts " + ("tokenised" if counter.exact else "by length")
        else:
            prompt = past.prompt if past else 0.0
            how = "prompts as measured" if past else "no prompt to sample"
        if past is not None:
            return prompt, past.output, f"{how}, answers as measured"
        share = self._knobs.answer_share
        budget = node.config.max_new_tokens + node.model.max_thought_tokens
        return prompt, share * budget, f"{how}, answers {share:.0%} of {budget}"

    def _estimate_examples(self, training: Training, rows: Mapping[str, int]) -> tuple[int, int]:
        """Return the training examples and their tokens, before they are encoded."""
        config, curated = training.config, self.given.find(training.examples)
        played = [node for node in self.graph if node.stage == "dialogues"]
        weights = [rows.get(node.name, 0) for node in played]
        count = curated.counts.accepted if curated is not None else sum(weights)
        examples = round(count * (1 - self.settings.curation.validation_share))
        examples = min(examples, config.max_examples or examples)
        past = self.measured.find_latest("encoding")
        train = past.facts.get("train", {}) if past is not None else {}
        if train.get("examples"):
            return examples, round(examples * train["tokens"] / train["examples"])
        each = [self._measure_example(config, node) for node in played]
        total = sum(weight * tokens for weight, tokens in zip(weights, each, strict=True))
        return examples, round(examples * total / max(1, sum(weights)))

    def _measure_example(self, config: TrainingConfig, node: Node) -> float:
        """Return the tokens of an example: of its prompt and answer, or of a given dialogue."""
        if isinstance(node, RowNode):
            return sum(self._measure_row(node)[:2])
        assert isinstance(node, TakenDialogues)
        counter = self._count_for(self.settings.models[config.model])
        given = sample_given_dialogues(node, self.given)
        return sum(map(counter.count, given)) / max(1, len(given))

    def _estimate_hours(self, node: RowNode, outputs: int) -> float | None:
        """Return the hours of all replicas together; an endpoint takes none of ours."""
        if node.model.engine == "endpoint":
            return 0.0
        asking = [one.name for one in self.graph if isinstance(one, RowNode)]
        rate = self.measured.find_rate(node.spec, asking)
        if rate is not None:
            # What was measured is a stage's rate, all its replicas together.
            return outputs / rate / _HOUR_S * node.model.replicas
        given = self._knobs.tokens_per_s.get(node.role)
        return None if given is None else outputs / given / _HOUR_S

    def _measure_bytes(self, stage: str, output: float) -> float:
        guess = _ROW_BYTES + output * CHARS_A_TOKEN * _COMPRESSED
        return self.measured.find_bytes(stage) or guess

    def _price(
        self, node: RowNode, prompts: int, outputs: int, hours: float | None
    ) -> float | None:
        if node.model.engine == "endpoint":
            return price_tokens(self.settings, node.role, prompts, outputs)
        price = price_engine_hour(self.settings)
        return None if hours is None or price is None else hours * price

    def list_refusals(self) -> Iterator[Problem]:
        """Yield the models whose chat templates do not render a prompt that was counted."""
        for name, counter in self._counters.items():
            if counter.refused:
                yield Problem(
                    name,
                    f"its chat template does not render a prompt of this run: {counter.refused}",
                    "name another in chat_template, or fix it",
                )

    def _count_for(self, model: ModelConfig) -> PromptCounter:
        name = " with ".join(part for part in (model.model, model.chat_template) if part)
        if name not in self._counters:
            template = read_chat_template(model)
            self._counters[name] = PromptCounter(find_model_folder(model), template)
        return self._counters[name]

    @cached_property
    def _counters(self) -> dict[str, PromptCounter]:
        return {}

    @cached_property
    def _measures(self) -> dict[str, tuple[float, float, str]]:
        return {}

    @property
    def _knobs(self) -> PlanConfig:
        return self.settings.plan
