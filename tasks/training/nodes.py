"""Offers the nodes that turn SFT rows into token files, and token files into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from infra.context import RunContext, model_identity
from infra.engines.config import ModelConfig
from infra.nodes.node import NAMED, JobNode, JobOutput, Node
from infra.nodes.rows import Rows
from tasks.records import TUNED, Example
from tasks.training.config import TrainingConfig
from tasks.training.origins import Origins
from tasks.training.rows.templates import read_templates

_ENCODING_KNOBS = ("template", "max_length", "packing", "seed", "control")


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoding(JobNode):
    """Token rows of a training: rendered, tokenised and packed SFT rows."""

    kind = "encoding"
    stage = "encoding"
    version = 1
    record = Example

    config: TrainingConfig
    examples: Node
    role: str = TUNED

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the role of the model, where it is not the run's own."""
        return name_role(self.role)

    @property
    def base(self) -> ModelConfig:
        """Return the configuration of the base model."""
        return self.context.models[self.config.model]

    def identity(self) -> Mapping[str, Any]:
        """Return the knobs that change token rows, the templates and the base model."""
        knobs = self.config.knob_values("identity")
        return {
            **{name: knobs[name] for name in _ENCODING_KNOBS},
            "templates": read_templates(),
            "model": model_identity(self.base),
        }

    def run(self, given: Rows) -> JobOutput:
        """Render, tokenise and pack the SFT rows; leave out those that are too long."""
        from tasks.training.making import encode_rows

        return encode_rows(self.context, self.spec, self.config, given.frame(self.examples))


@dataclass(frozen=True, kw_only=True, eq=False)
class Training(JobNode):
    """Model that a run trains: the base, fine-tuned on the token rows, exported and checked.

    ``funnel`` are the nodes from personas to SFT rows, for the model card. ``after`` are trainings
    that come first: ranks have no place beside ranks. Engines leave before the ranks start, but
    those of the roles in ``asked_later``, which stay where they hold nothing that the ranks need.
    """

    kind = "training"
    stage = "training"
    version = 1
    record = Example
    use = "ranks"

    config: TrainingConfig
    encoding: Node
    examples: Node = field(metadata=NAMED)
    funnel: Sequence[Node] = field(metadata=NAMED)
    origins: Origins
    asked_later: Sequence[str] = ()
    role: str = TUNED
    after: Sequence[Node] = field(default=(), metadata=NAMED)

    @property
    def parameters(self) -> Mapping[str, str]:
        """Return the role of the model, where it is not the run's own."""
        return name_role(self.role)

    @property
    def engine(self) -> str | None:
        """Return the role of the base: the engine that checks the export is like it."""
        return self.config.model

    def identity(self) -> Mapping[str, Any]:
        """Return the knobs of training and the base model."""
        base = self.context.models[self.config.model]
        return {**super().identity(), "model": model_identity(base)}

    def selection(self) -> Mapping[str, Any]:
        """Return nothing: which rows it learns from, the token rows say."""
        return {}

    def run(self, given: Rows) -> JobOutput:
        """Fine-tune the base model, export it, and check that the export is what was trained."""
        from tasks.training.making import TrainingOrder, train_model

        self.examples.vet(given)
        order = TrainingOrder(
            context=self.context,
            role=self.role,
            node=self.spec,
            config=self.config,
            encoded=self.encoding.manifest,
            funnel=[node.reference for node in self.funnel],
            origins=self.origins,
            asked_later=self.asked_later,
        )
        return train_model(order, given.frame(self.examples))


def name_role(role: str) -> Mapping[str, str]:
    """Return what tells a training from the run's own, which is called nothing but training."""
    return {} if role == TUNED else {"role": role}


def check_training(config: TrainingConfig, context: RunContext) -> None:
    """Raise :class:`ConfigError` for a base model or knobs that training could not start with.

    Loads the tokenizer, which takes seconds: for runs that will train, before any engine starts.
    """
    from infra.rendering.encoder import load_tokenizer
    from tasks.training.rows.templates import choose_format

    model = context.models[config.model]
    choose_format(load_tokenizer(model.model, model.revision), config.template)
