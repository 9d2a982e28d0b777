"""Estimates what a plan costs: tokens, engine hours, money and disk, from what was measured here.

Prompt tokens come from a rendered and tokenised sample, answers from the mean of the stage's
latest manifest in this store, hours from its rate. What was never measured is taken from
`plan` in the configuration; what neither says stays unknown. Likelihoods and general tasks
(attribution, abilities) are not estimated: they ask for no tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict

from flows.plan.past_rates import Measured
from flows.plan.prompt_samples import Asking, Prompt
from flows.recipe.graph import Graph
from flows.recipe.plan_config import PlanConfig
from flows.recipe.prices import price_engine_hour, price_tokens
from flows.recipe.settings import Settings
from infra.context import RunContext, read_chat_template
from infra.engines.config import ModelConfig
from infra.engines.model_facts import find_model_facts, find_model_folder
from infra.errors import Problem
from infra.rendering.token_counting import CHARS_A_TOKEN, PromptCounter
from infra.store.manifests import Manifest, NodeSpec
from tasks.evaluation.config import TUNED
from tasks.training.config import TrainingConfig
from tasks.training.rows.batching import count_steps

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
    """Estimator of the nodes of one plan; ``asking`` says how row nodes ask, by node name.

    ``given`` is a sample of the dialogues that are brought.
    """

    settings: Settings
    context: RunContext
    graph: Graph
    asking: Mapping[str, Asking]
    measured: Measured
    given: Sequence[Prompt] = ()

    def estimate_rows(self, node: NodeSpec, make: int) -> NodeCost:
        """Estimate the rows that a row node is to make."""
        asking = self.asking.get(node.stage)
        if asking is None or make == 0:
            return NodeCost()
        prompt, output, counted = self._measure_row(node.stage, asking)
        prompts, outputs = round(make * prompt), round(make * output)
        model = self._find_model(asking.role)
        hours = self._estimate_hours(node, asking.role, model, outputs)
        return NodeCost(
            prompt_tokens=prompts,
            output_tokens=outputs,
            engine_hours=hours,
            usd=self._price(asking.role, model, prompts, outputs, hours),
            disk_bytes=round(make * self._measure_bytes(node.stage, output)),
            counted=counted,
        )

    def estimate_training(
        self, rows: Mapping[str, int], found: Mapping[str, Manifest | None]
    ) -> TrainingPlan | None:
        """Estimate training; ``rows`` are the planned rows of every node."""
        config = self.settings.training
        if config is None or self.graph.encoding is None or self.graph.training is None:
            return None
        encoded = found.get("encoding")
        if encoded is not None:
            facts = encoded.facts["train"]
            examples, packed, tokens = facts["examples"], facts["rows"], facts["tokens"]
        else:
            examples, tokens = self._estimate_examples(config, rows, found)
            filled = config.max_length * _FILLED
            packed = math.ceil(tokens / filled) if config.packing else examples
        node, make = self.graph.training, found.get("training") is None
        learnt = tokens * config.epochs
        rate = self.measured.find_training_rate(node.identity.get("model"))
        rate = rate or self._knobs.training_tokens_per_s
        hours = learnt / rate / _HOUR_S if rate and make else (None if make else 0.0)
        price = price_engine_hour(self.settings)
        facts_of_base = find_model_facts(self.settings.models[config.model])
        return TrainingPlan(
            examples=examples,
            rows=packed,
            tokens=tokens,
            epochs=config.epochs,
            steps=count_steps(packed, config.epochs, config.global_batch),
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
        found: Mapping[str, Manifest | None],
    ) -> DiskPlan:
        """Estimate the bytes that what is to be made takes at the storage root."""
        rows = sum(cost.disk_bytes for cost in costs)
        text = training.tokens * CHARS_A_TOKEN if training else round(rows / _COMPRESSED)
        # Curation holds the dialogues with their prompts; the data set holds it twice, once plain.
        curated = 0 if found.get("curation") else round(text * _COMPRESSED)
        export = 0 if found.get("export") else text + round(text * _COMPRESSED)
        encoding = 0
        if training is not None and not found.get("encoding"):
            encoding = training.tokens * _TOKEN_BYTES
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

    def _measure_row(self, stage: str, asking: Asking) -> tuple[float, float, str]:
        """Return prompt and output tokens of a row, and how they were counted."""
        if stage not in self._measures:
            self._measures[stage] = self._count_row(stage, asking)
        return self._measures[stage]

    def _count_row(self, stage: str, asking: Asking) -> tuple[float, float, str]:
        past = self.measured.find_tokens(stage)
        counter = self._count_for(asking.role)
        prompts = asking.render()
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
        budget = asking.max_new_tokens + self._find_model(asking.role).max_thought_tokens
        return prompt, share * budget, f"{how}, answers {share:.0%} of {budget}"

    def _estimate_examples(
        self, config: TrainingConfig, rows: Mapping[str, int], found: Mapping[str, Manifest | None]
    ) -> tuple[int, int]:
        """Return the training examples and their tokens, before they are encoded."""
        stages = [node.stage for node in self.graph.dialogues.values()]
        curated = found.get("curation")
        played = sum(rows.get(stage, 0) for stage in stages)
        count = curated.counts.accepted if curated is not None else played
        examples = round(count * (1 - self.settings.curation.validation_share))
        examples = min(examples, config.max_examples or examples)
        past = self.measured.find_latest("encoding")
        train = past.facts.get("train", {}) if past is not None else {}
        if train.get("examples"):
            return examples, round(examples * train["tokens"] / train["examples"])
        weights = [rows.get(stage, 0) for stage in stages]
        each = [self._measure_example(config, stage) for stage in stages]
        total = sum(weight * tokens for weight, tokens in zip(weights, each, strict=True))
        return examples, round(examples * total / max(1, sum(weights)))

    def _measure_example(self, config: TrainingConfig, stage: str) -> float:
        """Return the tokens of an example: of its prompt and answer, or of a given dialogue."""
        if stage in self.asking:
            return sum(self._measure_row(stage, self.asking[stage])[:2])
        counter = self._count_for(config.model)
        return sum(map(counter.count, self.given)) / max(1, len(self.given))

    def _estimate_hours(
        self, node: NodeSpec, role: str, model: ModelConfig, outputs: int
    ) -> float | None:
        """Return the hours of all replicas together; an endpoint takes none of ours."""
        if model.engine == "endpoint":
            return 0.0
        rate = self.measured.find_rate(node, self.asking)
        if rate is not None:
            # What was measured is a stage's rate, all its replicas together.
            return outputs / rate / _HOUR_S * model.replicas
        given = self._knobs.tokens_per_s.get(role)
        return None if given is None else outputs / given / _HOUR_S

    def _measure_bytes(self, stage: str, output: float) -> float:
        guess = _ROW_BYTES + output * CHARS_A_TOKEN * _COMPRESSED
        return self.measured.find_bytes(stage) or guess

    def _price(
        self, role: str, model: ModelConfig, prompts: int, outputs: int, hours: float | None
    ) -> float | None:
        if model.engine == "endpoint":
            return price_tokens(self.settings, role, prompts, outputs)
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

    def _find_model(self, role: str) -> ModelConfig:
        """Return a role's configuration; the tuned model's is that of its base."""
        models, training = self.settings.models, self.settings.training
        if role == TUNED and training is not None:
            return models[training.model]
        return models[role]

    def _count_for(self, role: str) -> PromptCounter:
        model = self._find_model(role)
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
