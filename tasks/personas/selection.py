"""Selects the personas of a run: cleans, bounds, filters, removes near-duplicates, samples.

Nothing here depends on the order of rows or files. Work goes by the key, which is a hash of the
text; of near-duplicates the smallest key stays, and the sample of M is the M smallest hashes of
seed and key. So a larger M only adds, and new rows displace old ones only where a sample or a
near-duplicate says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.store.fingerprints import content_key, hash_parts
from infra.text.languages import find_foreign
from infra.text.near_duplicates import find_near_duplicates
from tasks.persona_rows import normalise_persona
from tasks.personas.config import PersonaConfig
from tasks.personas.sources import RawPersona
from tasks.records import Persona, Rejection
from tasks.rejections import RejectionList

_DETAIL_CHARS = 200
_WIDE = re.compile("[\u3041-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]")
"""Letters that say about as much as three Latin ones."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What came of the rows: every row is in one of the two, both sorted by key."""

    accepted: tuple[Persona, ...]
    rejected: tuple[Rejection, ...]


def select_personas(raws: Iterable[RawPersona], config: PersonaConfig) -> Selection:
    """Sort rows into personas and rejections, each with the first reason that applies.

    The reasons, in order: malformed, missing, empty, too_short, too_long, duplicate,
    wrong_language, near_duplicate, not_sampled.
    """
    left: dict[str, Persona] = {}
    rejections = RejectionList("persona")
    for raw in sorted(raws, key=lambda raw: (raw.origin, raw.text or "", raw.detail)):
        if raw.text is None:
            rejections.add_row(raw.reason, raw.detail, raw.origin, content=raw.detail)
            continue
        text = normalise_persona(raw.text)
        key = content_key("persona", text)
        reason = _judge_length(text, config)
        if reason:
            rejections.add_row(reason, text, raw.origin, content=text)
        elif key in left:
            rejections.add_row("duplicate", f"{key}: {text}", raw.origin, content=text)
        else:
            left[key] = Persona(key, text, raw.origin)

    personas = [left[key] for key in sorted(left)]
    personas = _drop_foreign(personas, config, rejections)
    personas = _drop_near_duplicates(personas, config, rejections)
    personas = _sample(personas, config, rejections)
    return Selection(tuple(personas), rejections.collect())


def _judge_length(text: str, config: PersonaConfig) -> str | None:
    if not text:
        return "empty"
    if len(text) > config.max_chars:
        return "too_long"
    if len(text) < config.min_chars and len(text) + 2 * len(_WIDE.findall(text)) < config.min_chars:
        return "too_short"
    return None


def _drop_foreign(
    personas: Sequence[Persona], config: PersonaConfig, rejections: RejectionList
) -> list[Persona]:
    if config.language is None:
        return list(personas)
    foreign = find_foreign([persona.persona for persona in personas], config.language)
    for index, language in foreign.items():
        persona = personas[index]
        _reject(persona, "wrong_language", f"{language}: {persona.persona}", rejections)
    return [persona for index, persona in enumerate(personas) if index not in foreign]


def _drop_near_duplicates(
    personas: Sequence[Persona], config: PersonaConfig, rejections: RejectionList
) -> list[Persona]:
    threshold = config.near_duplicate_similarity
    if threshold is None:
        return list(personas)
    kept = []
    originals = find_near_duplicates([p.persona for p in personas], threshold=threshold)
    for persona, original in zip(personas, originals, strict=True):
        if original is None:
            kept.append(persona)
        else:
            other = personas[original]
            detail = f"of {other.key} ({other.persona[:_DETAIL_CHARS]}): {persona.persona}"
            _reject(persona, "near_duplicate", detail, rejections)
    return kept


def _sample(
    personas: Sequence[Persona], config: PersonaConfig, rejections: RejectionList
) -> list[Persona]:
    if config.sample is None or len(personas) <= config.sample:
        return list(personas)
    ranked = sorted(personas, key=lambda p: hash_parts(str(config.seed), p.key))
    for persona in ranked[config.sample :]:
        _reject(persona, "not_sampled", persona.persona, rejections)
    return sorted(ranked[: config.sample], key=lambda p: p.key)


def _reject(persona: Persona, reason: str, detail: str, rejections: RejectionList) -> None:
    rejections.add_keyed(persona.key, reason, detail, persona.source)
