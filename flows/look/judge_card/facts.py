"""Gathers what a card says: who judged what, the figures, and what a verdict costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flows.look.judge_card.preparing import CardNodes, name_folder
from flows.look.judge_card.words import Finding, Worth, find_worth, list_findings, list_unmeasured
from flows.recipe.prices import price_engine_hour, price_tokens
from flows.recipe.settings import Settings
from infra.context import RunContext
from infra.nodes.rows import StoredRows
from infra.paths import packaged_configs
from infra.store.fingerprints import hash_parts
from infra.store.manifests import Manifest
from tasks.evaluation.judging.calibration import digest_labelled
from tasks.evaluation.judging.card import CardFigures, Rated, count_figures, rate_rows
from tasks.evaluation.judging.nodes import JudgeCalibration
from tasks.records import Judgement

CARDS = "judge_cards"
_EACH = 1_000
_HOUR_S = 3600
_SHORT = 8


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True)


class JudgeFacts(_Plain):
    """Judge as what a paper cites: its model, by content, and how it was asked.

    ``prompts`` are digests of prompt and rubric by task, ``knobs`` the sampling and what it is
    shown.
    """

    role: str
    model: str
    engine: str
    identity: str
    knobs: dict[str, object]
    prompts: dict[str, str]


class RowFacts(_Plain):
    """Labelled rows: the file's name, and a digest of its content."""

    source: str
    digest: str


class VerdictCost(_Plain):
    """Cost of 1,000 verdicts, asking again included; ``None`` is unknown.

    Hours are those of all engines of the judge; an endpoint takes none of ours.
    """

    prompt_tokens: float
    completion_tokens: float
    requests: float
    engine_hours: float | None
    usd: float | None


class JudgeCard(_Plain):
    """All that a card says.

    Attributes:
        worth: Whether its agreement with the labels carries a claim.
        findings: What its figures mean, in sentences.
        unmeasured: What was not measured, and why.
        reference: Role of the judge that it is held against; empty if there is none.
        demo: Whether the judge is a model of the built-in demo.
        nodes: Fingerprints of the verdicts that the card is made from.
        made_at: When the last of them was made, UTC.
    """

    format: int = 1
    judge: JudgeFacts
    rows: RowFacts
    demo: bool
    worth: Worth
    findings: tuple[Finding, ...]
    unmeasured: tuple[str, ...]
    reference: str
    figures: CardFigures
    cost: VerdictCost
    nodes: dict[str, str]
    made_at: str
    versions: dict[str, str]

    @property
    def folder(self) -> str:
        """Return where the card lies below the storage root."""
        return f"{CARDS}/{name_folder(self.judge.role)}-{self.short}"

    @property
    def short(self) -> str:
        """Return the short name of all that the card was made from."""
        return hash_parts(*sorted(self.nodes.values()))[:_SHORT]


def gather_card(settings: Settings, context: RunContext, nodes: CardNodes) -> JudgeCard:
    """Read the verdicts, which are all made, and count what they say of the judge."""
    rated = _read(context, nodes.plain)
    reference = nodes.reference
    role, model = nodes.plain.role, nodes.plain.model
    label = context.model_label(role)
    figures = count_figures(
        rated,
        reference=_read(context, reference) if reference else (),
        padded=_read(context, nodes.padded),
        turned=_read(context, nodes.turned) if nodes.turned else (),
        names=(role, label, model.model),
    )
    manifests = {node.name: node.manifest for node in nodes.graph}
    own = [node.manifest for node in nodes.own]
    source = Path(str(nodes.plain.config.calibration))
    last = max(manifests.values(), key=lambda one: one.provenance.get("made_at", ""))
    versions = {
        name: text for name, text in last.provenance.items() if name not in ("made_at", "host")
    }
    return JudgeCard(
        judge=JudgeFacts(
            role=role,
            model=label,
            engine=model.engine,
            identity=nodes.plain.identify_model(),
            knobs=nodes.plain.knobs.knob_values("identity"),
            prompts={
                task: hash_parts(prompt.source)
                for task, prompt in nodes.plain.prompts.verdicts.items()
            },
        ),
        rows=RowFacts(source=source.name, digest=digest_labelled(source)),
        demo=packaged_configs() / "demo" in Path(model.model).parents,
        worth=find_worth(figures),
        findings=tuple(list_findings(figures)),
        unmeasured=tuple(list_unmeasured(figures, has_reference=reference is not None)),
        reference=reference.role if reference else "",
        figures=figures,
        cost=measure_cost(settings, role, own),
        nodes={name: manifest.fingerprint for name, manifest in manifests.items()},
        made_at=last.provenance.get("made_at", ""),
        versions=versions,
    )


def measure_cost(settings: Settings, role: str, manifests: Sequence[Manifest]) -> VerdictCost:
    """Return what 1,000 verdicts of a judge cost, from the nodes that it has made.

    Nodes of one run are made side by side by the same engines: the longest of them is how long
    all took.
    """
    model = settings.models[role]
    rows = sum(one.counts.planned for one in manifests)
    each = _EACH / rows
    prompts = sum(one.usage.prompt_tokens for one in manifests) * each
    completions = sum(one.usage.completion_tokens for one in manifests) * each
    made = sum(one.counts.made for one in manifests)
    seconds = max(one.usage.seconds for one in manifests)
    hours = None
    if model.engine == "endpoint":
        hours = 0.0
        usd = price_tokens(settings, role, round(prompts), round(completions))
    else:
        if made and seconds:
            hours = seconds / made * _EACH / _HOUR_S * model.replicas
        price = price_engine_hour(settings)
        usd = None if hours is None or price is None else hours * price
    return VerdictCost(
        prompt_tokens=prompts,
        completion_tokens=completions,
        requests=sum(one.usage.requests for one in manifests) * each,
        engine_hours=hours,
        usd=usd,
    )


def _read(context: RunContext, node: JudgeCalibration) -> list[Rated]:
    return rate_rows(node.read_labelled(), StoredRows(context.storage).read(node, Judgement))
