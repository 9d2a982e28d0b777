"""Finds what earlier runs in a store measured: tokens a row, tokens a second, bytes a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from infra.errors import StoreVersionError
from infra.store.manifests import Manifest, NodeSpec, read_manifest
from infra.store.storage import Storage

_MANIFEST_DEPTH = 2


@dataclass(frozen=True, slots=True)
class TokensPerRow:
    """What a row of a stage cost on average, repeated requests included."""

    prompt: float
    output: float
    requests: float


@dataclass
class Measured:
    """What the manifests of one store tell, each stage's looked into once."""

    storage: Storage
    _latest: dict[str, Manifest | None] = field(default_factory=dict)

    def find_latest(self, stage: str) -> Manifest | None:
        """Return the manifest of a stage that was made last, by its own record of the time."""
        if stage not in self._latest:
            found = self._read_all(stage)
            self._latest[stage] = max(
                found, key=lambda item: item.provenance.get("made_at", ""), default=None
            )
        return self._latest[stage]

    def find_tokens(self, stage: str) -> TokensPerRow | None:
        """Return what a row of a stage cost when it was last made here."""
        manifest = self.find_latest(stage)
        if manifest is None or not manifest.counts.planned or not manifest.usage.requests:
            return None
        rows, usage = manifest.counts.planned, manifest.usage
        return TokensPerRow(
            usage.prompt_tokens / rows, usage.completion_tokens / rows, usage.requests / rows
        )

    def find_rate(self, node: NodeSpec, stages: Iterable[str]) -> float | None:
        """Return the output tokens a second of a node's model: in its own stage, or in others.

        The tuned model changes with every training, so its own stage counts as it is.
        """
        own, model = self.find_latest(node.stage), node.identity.get("model")
        same = own is not None and own.identity.get("model") == model
        if own is not None and (same or node.stage.startswith("answers_")):
            rate = _measure_rate(own)
            if rate is not None:
                return rate
        others = [self.find_latest(stage) for stage in stages if stage != node.stage]
        made = [item for item in others if item and item.identity.get("model") == model]
        made.sort(key=lambda item: item.provenance.get("made_at", ""), reverse=True)
        rates = (_measure_rate(item) for item in made)
        return next((rate for rate in rates if rate is not None), None)

    def find_training_rate(self, model: Any) -> float | None:
        """Return the tokens a rank learnt from a second when this model was last trained here."""
        manifest = self.find_latest("training")
        if manifest is None or manifest.identity.get("model") != model:
            return None
        facts = manifest.facts
        if not facts.get("tokens") or not facts.get("seconds") or not facts.get("ranks"):
            return None
        return float(facts["tokens"] / facts["seconds"] / facts["ranks"])

    def find_bytes(self, stage: str) -> float | None:
        """Return the bytes on disk of a row of a stage."""
        manifest = self.find_latest(stage)
        if manifest is None or not manifest.counts.planned:
            return None
        size = sum(part.size for part in manifest.parts)
        members = manifest.members.size if manifest.members is not None else 0
        rows = sum(part.rows for part in manifest.parts if part.holds == "rows")
        return (size + members) / (rows or manifest.counts.planned)

    def _read_all(self, stage: str) -> list[Manifest]:
        manifests: list[Manifest] = []
        for path in self.storage.walk(stage, ".json"):
            if path.count("/") != _MANIFEST_DEPTH:
                continue  # a model's or a checkpoint's own file
            try:
                manifests.append(read_manifest(self.storage, path))
            except StoreVersionError:
                continue
        return manifests


def _measure_rate(manifest: Manifest) -> float | None:
    """Return output tokens a second; the engine's time covers only what was made that time."""
    seconds = manifest.facts.get("engine_seconds")
    counts, tokens = manifest.counts, manifest.usage.completion_tokens
    if not seconds or not counts.planned or not tokens:
        return None
    return float(tokens * counts.made / counts.planned / seconds) or None
