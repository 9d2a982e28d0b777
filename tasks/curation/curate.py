"""Curates dialogues into training examples: filters, leaks, near-duplicates, split, messages.

The result depends on the rows alone, never on their order: everything runs by dialogue key. Every
dialogue that goes in comes out once, as an example or as a rejection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import cast, get_args

import polars as pl

from infra.errors import Reject
from infra.protocol import Role
from infra.rendering.prompts import PromptTemplate
from infra.store.schema import from_plain
from infra.text.batches.screening import TextBatch
from infra.text.chat_marks import strip_marks
from infra.text.languages import find_foreign
from infra.text.wording import shorten
from tasks.curation.config import CurationConfig
from tasks.curation.duplicates import find_duplicates
from tasks.curation.echoes import Given
from tasks.curation.examples import ExampleBuilder
from tasks.curation.filters import FilterContext, Reason, Scene, judge_scene, list_faults
from tasks.curation.foreign import JUDGED_CHARS, asks_for_language
from tasks.curation.inputs import CurationInputs
from tasks.curation.looks import look_at
from tasks.curation.names import make_roster
from tasks.curation.split import choose_validation
from tasks.decontamination import Hit, QuestionIndex, find_hits
from tasks.records import Character, Example, Rejection, Turn

DIALOGUE_COLUMNS = (
    "key", "strategy", "character_key", "instruction_key", "context_turns", "turns", "truncated",
)  # fmt: skip
INSTRUCTION_COLUMNS = ("key", "context_turns", "turns")
"""What is looked at."""

_BLOCK_ROWS = 4_000


@dataclass(frozen=True, slots=True)
class FunnelStep:
    """One line of the funnel: how many a reason took, and how many were left after it."""

    reason: str
    rejected: int
    left: int


@dataclass(frozen=True, slots=True)
class Curation:
    """Outcome of curation, examples and rejections sorted by the key of their dialogue."""

    examples: tuple[Example, ...]
    rejections: tuple[Rejection, ...]

    @property
    def planned(self) -> int:
        """Return how many dialogues went in."""
        return len(self.examples) + len(self.rejections)

    @property
    def reasons(self) -> dict[str, int]:
        """Return the counts of the reasons that took any, in funnel order."""
        return {step.reason: step.rejected for step in self.funnel if step.rejected}

    @property
    def funnel(self) -> tuple[FunnelStep, ...]:
        """Return every reason in the order applied, with what it took and what it left."""
        counts = Counter(rejection.reason for rejection in self.rejections)
        steps, left = [], self.planned
        for reason in get_args(Reason):
            left -= counts[reason]
            steps.append(FunnelStep(reason, counts[reason], left))
        return tuple(steps)


@dataclass(frozen=True, slots=True)
class _Actor:
    """Character as curation needs it, its texts prepared once for all its dialogues."""

    persona_key: str
    name: str
    persona: str
    profile: str
    given: Given


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Dialogue on its way through the funnel."""

    key: str
    character_key: str
    scene: Scene


_Verdicts = dict[str, Reject]


def curate(
    dialogues: pl.DataFrame,
    characters: pl.DataFrame,
    instructions: pl.DataFrame,
    *,
    config: CurationConfig,
    template: PromptTemplate,
    recipe: str,
    inputs: CurationInputs | None = None,
) -> Curation:
    """Turn dialogues into examples.

    The frames hold the columns of :class:`Dialogue`, :class:`Character` and
    :class:`Instruction`, others are ignored; keys are unique. A missing instruction only spares
    a rewritten dialogue the comparison with its source.
    """
    inputs = inputs or CurationInputs()
    actors = _prepare_actors(characters, config)
    roster = make_roster(actor.name for actor in actors.values())
    context = FilterContext(config, roster, inputs.toxic, list_faults(config))
    verdicts: _Verdicts = {}
    left: list[_Candidate] = []
    sources = _read_sources(instructions)
    for block in _read_candidates(dialogues, actors, sources, config):
        found = _judge_block(block, context)
        left += [item for item in block.values() if item is not None and item.key not in found]
        verdicts.update(found)
    del dialogues, characters, instructions  # what is left of them, the candidates hold
    for judge in (_judge_languages, _judge_leaks, _judge_near_duplicates):
        found = judge(left, config, inputs)
        verdicts.update(found)
        left = [candidate for candidate in left if candidate.key not in found]
    held_out = _hold_out(left, actors, config)
    if inputs.own:
        found = _judge_repeats(left, held_out, config)
        verdicts.update(found)
        left = [candidate for candidate in left if candidate.key not in found]
    builder = ExampleBuilder(
        template, recipe, profile_dropout=config.profile_dropout, seed=config.seed
    )
    rejections = tuple(
        Rejection(builder.name_example(key), verdict.reason, verdict.detail, key)
        for key, verdict in sorted(verdicts.items())
    )
    return Curation(tuple(_build_examples(left, actors, builder, held_out)), rejections)


def _judge_block(block: Mapping[str, _Candidate | None], context: FilterContext) -> _Verdicts:
    """Judge dialogues one by one, their answers looked at together."""
    scenes = [(key, item.scene) for key, item in block.items() if item is not None]
    looks = iter(look_at([text for _, scene in scenes for text in scene.answers], context.roster))
    verdicts = {key: _reject("no_character") for key, item in block.items() if item is None}
    for key, scene in scenes:
        verdict = judge_scene(scene, list(islice(looks, len(scene.answers))), context)
        if verdict is not None:
            verdicts[key] = verdict
    return verdicts


def _judge_languages(
    candidates: Sequence[_Candidate], config: CurationConfig, inputs: CurationInputs
) -> _Verdicts:
    if config.language is None:
        return {}
    verdicts: _Verdicts = {}
    for first in range(0, len(candidates), _BLOCK_ROWS):
        block = candidates[first : first + _BLOCK_ROWS]
        answers = [" ".join(candidate.scene.answers) for candidate in block]
        starts = [answer[:JUDGED_CHARS] for answer in answers]
        for index, found in find_foreign(starts, config.language).items():
            scene = block[index].scene
            if not asks_for_language([" ".join(scene.questions), " ".join(scene.sources)], found):
                detail = f"{found}: {shorten(answers[index])}"
                verdicts[block[index].key] = _reject("wrong_language", detail)
    return verdicts


def _judge_leaks(
    candidates: Sequence[_Candidate], config: CurationConfig, inputs: CurationInputs
) -> _Verdicts:
    """Reject who is asked, or is, what the run evaluates on as far as that is known beforehand."""
    asked = _find_leaks(candidates, inputs.questions or (), config, lambda c: c.scene.questions)
    played = _find_leaks(candidates, inputs.personas or (), config, lambda c: (c.scene.persona,))
    return {key: _reject("contaminated", detail) for key, detail in (played | asked).items()}


def _judge_repeats(
    candidates: Sequence[_Candidate], held_out: Set[str], config: CurationConfig
) -> _Verdicts:
    """Reject what would be trained on and asks what a held-out character is asked."""
    kept = [c for c in candidates if c.character_key in held_out]
    rest = [c for c in candidates if c.character_key not in held_out]
    asked = {text for candidate in kept for text in candidate.scene.questions}
    found = _find_leaks(rest, asked, config, lambda c: c.scene.questions)
    return {key: _reject("held_out_question", detail) for key, detail in found.items()}


def _find_leaks(
    candidates: Sequence[_Candidate],
    known: Collection[str],
    config: CurationConfig,
    tell: Callable[[_Candidate], Sequence[str]],
) -> dict[str, str]:
    """Return what gives a known text away, by the candidate's key."""
    if not known:
        return {}
    index = QuestionIndex(
        known,
        run=config.decontamination_words,
        min_words=config.decontamination_min_words,
        similarity=config.decontamination_similarity,
    )
    hits = find_hits([text for candidate in candidates for text in tell(candidate)], index)
    first: dict[str, Hit] = {}
    for candidate in candidates:
        for text in tell(candidate):
            if text in hits:
                first.setdefault(candidate.key, hits[text])
    return {key: f"{hit.how}: {hit.question}" for key, hit in first.items()}


def _judge_near_duplicates(
    candidates: Sequence[_Candidate], config: CurationConfig, inputs: CurationInputs
) -> _Verdicts:
    originals = find_duplicates(
        ["\n".join(candidate.scene.questions) for candidate in candidates],
        ["\n".join(candidate.scene.answers) for candidate in candidates],
        exact=config.drop_exact_duplicates,
        similarity=config.near_duplicate_similarity,
        min_words=config.duplicate_min_words,
        seed=config.seed,
    )
    verdicts: _Verdicts = {}
    for candidate, original in zip(candidates, originals, strict=True):
        if original is not None:
            reason: Reason = "exact_duplicate" if original.exact else "near_duplicate"
            verdicts[candidate.key] = _reject(
                reason, f"of dialogue {candidates[original.kept].key}"
            )
    return verdicts


def _hold_out(
    candidates: Sequence[_Candidate], actors: dict[str, _Actor], config: CurationConfig
) -> frozenset[str]:
    """Return the keys of the characters that are held out for validation."""
    personas = choose_validation(
        (actors[candidate.character_key].persona_key for candidate in candidates),
        share=config.validation_share,
        least=config.min_validation_characters,
        seed=config.seed,
    )
    return frozenset(key for key, actor in actors.items() if actor.persona_key in personas)


def _build_examples(
    candidates: list[_Candidate],
    actors: dict[str, _Actor],
    builder: ExampleBuilder,
    held_out: Set[str],
) -> Iterator[Example]:
    """Yield the examples, and let go of what they are built from."""
    candidates.reverse()
    while candidates:
        candidate = candidates.pop()
        actor = actors[candidate.character_key]
        yield builder.build(
            dialogue_key=candidate.key,
            character_key=candidate.character_key,
            persona=actor.persona,
            profile=actor.profile,
            split="validation" if candidate.character_key in held_out else "train",
            context_turns=candidate.scene.context_turns,
            turns=candidate.scene.turns,
        )


def _prepare_actors(characters: pl.DataFrame, config: CurationConfig) -> dict[str, _Actor]:
    cast = [from_plain(Character, row) for row in characters.iter_rows(named=True)]
    folded = TextBatch([f"{character.persona}\n{character.profile}" for character in cast]).folded
    return {
        character.key: _Actor(
            persona_key=character.persona_key,
            name=character.name,
            persona=character.persona,
            profile=character.profile,
            given=Given.prepare(words, config.echo_words),
        )
        for character, words in zip(cast, folded, strict=True)
    }


def _read_sources(instructions: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return each instruction's own answers to the turns that are to be played."""
    if instructions.is_empty():
        return {}
    return {
        key: tuple(t["content"] for t in turns[context_turns:] if t["role"] == "assistant")
        for key, context_turns, turns in instructions.select(INSTRUCTION_COLUMNS).iter_rows()
    }


def _read_candidates(
    dialogues: pl.DataFrame,
    actors: dict[str, _Actor],
    sources: dict[str, tuple[str, ...]],
    config: CurationConfig,
) -> Iterator[dict[str, _Candidate | None]]:
    """Yield every dialogue by key, block by block, ``None`` where its character is unknown."""
    if dialogues.is_empty():
        return
    ordered = dialogues.select(DIALOGUE_COLUMNS)
    if not ordered["key"].is_sorted():  # as several strategies' are; a sorted copy takes memory
        ordered = ordered.sort("key")
    for block in ordered.iter_slices(_BLOCK_ROWS):
        found: dict[str, _Candidate | None] = {}
        for key, strategy, character_key, instruction, given, turns, cut in block.iter_rows():
            actor = actors.get(character_key)
            if actor is None:
                found[key] = None
                continue
            scene = Scene(
                strategy=strategy,
                truncated=cut,
                context_turns=given,
                turns=tuple(_read_turns(turns, given, config)),
                name=actor.name,
                persona=actor.persona,
                profile=actor.profile,
                given=actor.given,
                sources=sources.get(instruction, ()),
            )
            found[key] = _Candidate(key, character_key, scene)
        yield found


def _read_turns(
    turns: Sequence[Mapping[str, str]], given: int, config: CurationConfig
) -> Iterator[Turn]:
    """Yield the turns, answers without the template marks around them."""
    for index, turn in enumerate(turns):
        content = turn["content"]
        if config.drop_control_tokens and turn["role"] == "assistant" and index >= given:
            content = strip_marks(content)
        yield Turn(cast(Role, turn["role"]), content)


def _reject(reason: Reason, detail: str = "") -> Reject:
    return Reject(cast(str, reason), detail)
