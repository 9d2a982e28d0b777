"""Renders the model card: hub front matter, data, settings, results, licences, use and limits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from infra.errors import ConfigError, Problem
from infra.store.manifests import Manifest
from infra.text.markdown import escape_markdown
from tasks.training.config import TrainingConfig
from tasks.training.origins import Upstream
from tasks.training.ranks.samples import Sample

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_SHOWN_CHARS = 700


@dataclass(frozen=True, slots=True)
class Drop:
    """Reason for which rows were left out, and how many."""

    reason: str
    rows: int


@dataclass(frozen=True, slots=True)
class StageCounts:
    """What a stage took, kept and left out, with the reasons."""

    name: str
    planned: int
    accepted: int
    drops: tuple[Drop, ...]


@dataclass(frozen=True, slots=True)
class DataFacts:
    """Counts of what was trained on; tokens are those of one pass over the rows.

    ``trained_tokens`` are the tokens that carried loss; ``packed_rows`` is how many rows the
    examples were packed into, ``None`` if they were not.
    """

    train_examples: int
    validation_examples: int
    train_tokens: int
    trained_tokens: int
    validation_tokens: int
    packed_rows: int | None = None


@dataclass(frozen=True, slots=True)
class ResultFacts:
    """Outcome of the training.

    Attributes:
        loss_before: Held-out loss before the first step, nats a token; ``None`` without rows.
        loss_after: Held-out loss after the last step.
        loss_reloaded: The same, of the exported weights loaded anew.
        steps: Optimiser steps.
        tokens: Tokens read in training, over all passes.
        seconds: Time the training took.
        hardware: On what.
        answers_ended: Share of probe answers that ended by themselves in the served model.
        answers_asked: How many probes that was.
    """

    loss_before: float | None
    loss_after: float | None
    loss_reloaded: float | None
    steps: int
    tokens: int
    seconds: float
    hardware: str
    answers_ended: float | None = None
    answers_asked: int = 0


@dataclass(frozen=True, slots=True)
class ModelCardFacts:
    """Everything the card says."""

    name: str
    run: str
    licence: str
    demo: bool
    dtype: str
    parameters: int
    context_tokens: int | None
    chat_format: str
    upstream: tuple[Upstream, ...]
    stages: tuple[StageCounts, ...]
    data: DataFacts
    settings: tuple[tuple[str, str], ...]
    results: ResultFacts
    samples: tuple[Sample, ...] = ()
    curves: str | None = None
    gguf: str | None = None
    lora: bool = False
    languages: tuple[str, ...] = ("en",)

    @property
    def base(self) -> Upstream:
        """Return the model that was fine-tuned."""
        return next(item for item in self.upstream if item.role == "base model")


def describe_stage(manifest: Manifest) -> StageCounts:
    """Return a node's counts and reasons, as its manifest has them."""
    drops = tuple(Drop(reason, rows) for reason, rows in manifest.reasons.items())
    return StageCounts(manifest.stage, manifest.counts.planned, manifest.counts.accepted, drops)


def describe_settings(config: TrainingConfig) -> tuple[tuple[str, str], ...]:
    """Return the knobs that decide what is learnt, as names and values for people."""
    lora = config.lora
    how = "all weights" if lora is None else f"adapters of rank {lora.rank}, alpha {lora.alpha:g}"
    low, high = config.adam_betas
    return (
        ("trained", how),
        ("epochs", f"{config.epochs:g}"),
        ("global batch", f"{config.global_batch} rows"),
        ("longest row", f"{config.max_length} tokens"),
        ("packing", "best fit, documents kept apart" if config.packing else "off"),
        ("learning rate", f"{config.learning_rate:g} → {config.final_learning_rate:g}, linear"),
        ("warm-up", f"{config.warmup_share:.0%} of the steps"),
        ("optimiser", f"AdamW, betas ({low:g}, {high:g}), epsilon {config.adam_epsilon:g}"),
        ("weight decay", f"{config.weight_decay:g}"),
        ("gradient clipping", f"{config.max_grad_norm:g}"),
        ("precision", config.precision),
        ("seed", str(config.seed)),
    )


class _Trusted(str):
    """Text that is markup on purpose."""

    __slots__ = ()


def render_model_card(facts: ModelCardFacts, template: str) -> str:
    """Fill the card's template; whatever it prints is escaped, so nothing can be forgotten."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, finalize=_escape, keep_trailing_newline=True
    )
    environment.filters |= {
        "count": lambda number: _Trusted(f"{number:,}"),
        "loss": lambda number: _Trusted(f"{number:.4f}"),
        "percent": lambda share: _Trusted(f"{share:.0%}"),
    }
    known = [(item.licence or "").lower() for item in facts.upstream]
    values = {
        **{name: getattr(facts, name) for name in ModelCardFacts.__slots__},
        "front_matter": _Trusted(_render_front_matter(facts)),
        "base": facts.base,
        "samples": [_shorten(sample) for sample in facts.samples],
        "parameters": _Trusted(_name_size(facts.parameters)),
        "duration": _Trusted(_name_duration(facts.results.seconds)),
        "noncommercial": any("-nc" in licence for licence in known),
        "llama": any(licence.startswith("llama") for licence in known),
    }
    try:
        return environment.from_string(template).render(values)
    except TemplateError as error:
        raise ConfigError(
            Problem("model card", f"the card's template fails: {error}", "fix the template")
        ) from error


def _render_front_matter(facts: ModelCardFacts) -> str:
    licence = facts.licence.lower()
    base = facts.base.name
    from_hub = _HUB_NAME.fullmatch(base) is not None
    tags = ["role-play", "persona", "character", "opencharacter", *(["demo"] if facts.demo else [])]
    matter = {
        "license": licence or "other",
        **({} if licence else {"license_name": "not-declared"}),
        "language": list(facts.languages),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        **({"base_model": base, "base_model_relation": "finetune"} if from_hub else {}),
        "tags": tags,
    }
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---"


def _shorten(sample: Sample) -> dict[str, object]:
    plain = asdict(sample)
    for name in ("system", "question", "answer"):
        text = str(plain[name])
        if len(text) > _SHOWN_CHARS:
            plain[name] = text[: _SHOWN_CHARS - 1] + "…"
    return plain


def _name_size(parameters: int) -> str:
    for unit, name in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if parameters >= unit:
            return f"{parameters / unit:.3g} {name}"
    return str(parameters)


def _name_duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def list_licences(upstream: Sequence[Upstream]) -> tuple[str, ...]:
    """Return the distinct licences of everything upstream, ``unknown`` included, sorted."""
    return tuple(sorted({(item.licence or "unknown").lower() for item in upstream}))


def _escape(value: object) -> object:
    if isinstance(value, _Trusted):
        return value
    return escape_markdown(str(value))
