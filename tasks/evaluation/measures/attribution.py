"""Attributes held-out answers to characters by likelihood: a measure without a judge.

A model is shown one in-character answer under the true character and under others. How often it
finds the answer likeliest under the true one, and how much likelier a token is with the profile
than without, tells whether it reads profiles and speaks as they say. The answer stays the same,
so no length and no wording favours a candidate, and chance is known: one over the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from infra.errors import ConfigError, Problem
from infra.protocol import Message
from infra.rendering.encoder import load_tokenizer
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import hash_parts, row_key
from tasks.evaluation.measures.distractors import DistractorChooser
from tasks.evaluation.measures.likelihood import (
    AnswerEncoder,
    AnswerIds,
    find_context,
    load_model,
)
from tasks.evaluation.measures.scoring_passes import score_texts
from tasks.records import Attribution, Character, Example, Rejection, Turn

_NOBODY = ""
"""Stands for no character: the persona alone, without its profile."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One held-out example and the characters that stand against its own.

    ``answers`` are the beginnings of its dialogue, without a system prompt, that end with an
    answer the character played.
    """

    example_key: str
    character_key: str
    persona_key: str
    answers: tuple[tuple[Message, ...], ...]
    random_keys: tuple[str, ...]
    hard_keys: tuple[str, ...]

    @property
    def candidate_keys(self) -> tuple[str, ...]:
        """Return every character the answer is scored under once, the true one first."""
        return tuple(dict.fromkeys((self.character_key, *self.random_keys, *self.hard_keys)))


@dataclass(frozen=True, slots=True)
class AttributionPlan:
    """All there is to score, the same for every model; plain and picklable.

    Attributes:
        recipe: Key of the recipe the records are made by.
        trials: What is scored, in the order of the examples' keys.
        systems: System prompt with persona and profile, by character.
        bare_systems: System prompt with the persona alone, by true character.
        left_out: Examples that hold nothing to score.
    """

    recipe: str
    trials: tuple[Trial, ...]
    systems: dict[str, str]
    bare_systems: dict[str, str]
    left_out: tuple[Rejection, ...]

    @property
    def rows(self) -> int:
        """Return how many texts a model scores."""
        return sum(len(trial.answers) * (1 + len(trial.candidate_keys)) for trial in self.trials)


@dataclass(frozen=True, slots=True)
class _Row:
    """One text to score: one played answer of a trial under one candidate."""

    trial: int
    candidate: str
    text: AnswerIds


def plan_attribution(
    examples: Sequence[Example],
    characters: Sequence[Character],
    template: PromptTemplate,
    *,
    recipe: str,
    candidates: int = 4,
    per_character: int | None = 1,
    max_examples: int | None = None,
    seed: int = 0,
) -> AttributionPlan:
    """Choose what is scored: held-out examples, and for each the others it is told from.

    Distractors are held-out characters too, for a model may have learnt the training ones by
    heart. Where fewer than ``candidates`` are held out, there are fewer candidates; a record's
    chance says so. Nothing depends on the order of the examples or characters.

    Args:
        examples: Examples; only those of the validation split count.
        characters: At least the characters of these examples.
        template: Role-play prompt, one ``[system]`` message of ``persona`` and ``profile``.
        recipe: Key of the recipe; the records' keys follow from it.
        candidates: How many characters an answer is told from, the true one counted.
        per_character: Most examples of one character, by smallest hash; ``None``: all.
        max_examples: Most examples of all, by smallest hash; ``None``: all.
        seed: Seed of every choice.
    """
    if candidates < 2:
        raise ConfigError(Problem("candidates", f"{candidates} leave nothing to tell", "take 2"))
    known = {character.key: character for character in characters}
    held_out = [example for example in examples if example.split == "validation"]
    if missing := sorted({item.character_key for item in held_out} - known.keys()):
        raise ConfigError(
            Problem(
                "characters",
                f"{len(missing)} of the examples' characters are not there, such as {missing[0]}",
                "read the characters the examples were made from",
            )
        )
    told = {example.key: _cut_at_answers(example) for example in held_out}
    spoken = [example for example in held_out if told[example.key]]
    chosen = _choose_examples(spoken, per_character, max_examples, seed)
    pool = [known[key] for key in sorted({example.character_key for example in held_out})]
    chooser = DistractorChooser(pool, seed=seed)
    trials = tuple(
        Trial(
            example_key=example.key,
            character_key=example.character_key,
            persona_key=known[example.character_key].persona_key,
            answers=told[example.key],
            random_keys=chooser.choose_random(
                known[example.character_key], example.key, candidates - 1
            ),
            hard_keys=chooser.choose_hard(
                known[example.character_key], example.key, candidates - 1
            ),
        )
        for example in chosen
    )
    shown = sorted({key for trial in trials for key in trial.candidate_keys})
    true = sorted({trial.character_key for trial in trials})
    return AttributionPlan(
        recipe=recipe,
        trials=trials,
        systems={key: _render(template, known[key], known[key].profile) for key in shown},
        bare_systems={key: _render(template, known[key], "") for key in true},
        left_out=tuple(
            Rejection(example.key, "empty", "no played answer with text", example.dialogue_key)
            for example in sorted(held_out, key=lambda item: item.key)
            if not told[example.key]
        ),
    )


def score_plan(
    plan: AttributionPlan,
    model: str,
    revision: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    name: str | None = None,
    template: str | None = None,
    batch_tokens: int | None = None,
) -> list[Attribution | Rejection]:
    """Return one verdict a trial by one model, in the plan's order.

    Runs wherever torch does, in this process or an actor. A trial with a text that is longer
    than the model's context is a :class:`Rejection` with the reason ``too_long``.

    Args:
        plan: What to score.
        model: Folder or hub name of a causal model.
        revision: Its revision on the hub.
        on_progress: Is told how many of how many texts are done, after every batch.
        name: What the records call the model; its folder or hub name if ``None``.
        template: Chat template, as text, for a model that has none.
        batch_tokens: Most tokens of a batch, padding included; ``None`` suits the device.
    """
    name = model if name is None else name
    encoder = AnswerEncoder(load_tokenizer(model, revision), template, name=name)
    loaded = load_model(model, revision)
    limit = find_context(loaded)
    rows = _encode_rows(plan, encoder)
    longest = [0] * len(plan.trials)
    for row in rows:
        longest[row.trial] = max(longest[row.trial], len(row.text.ids))
    fitting = [row for row in rows if limit is None or longest[row.trial] <= limit]
    scores = score_texts(
        loaded,
        [row.text for row in fitting],
        batch_tokens=batch_tokens,
        on_progress=on_progress,
    )
    sums: list[dict[str, float]] = [{} for _ in plan.trials]
    tokens = [0] * len(plan.trials)
    for row, score in zip(fitting, scores, strict=True):
        sums[row.trial][row.candidate] = sums[row.trial].get(row.candidate, 0.0) + score
        if row.candidate == _NOBODY:
            tokens[row.trial] += row.text.answer_tokens
    return [
        _judge(plan.recipe, name, trial, sums[place], tokens[place])
        if sums[place]
        else Rejection(
            row_key(plan.recipe, [trial.example_key, name]),
            "too_long",
            f"{longest[place]} tokens, the model takes {limit}",
            trial.example_key,
        )
        for place, trial in enumerate(plan.trials)
    ]


def share_credit(true: float, others: Sequence[float]) -> float:
    """Return 1 if the true candidate is likeliest, 1/m if m share the first place, else 0."""
    if any(other > true for other in others):
        return 0.0
    return 1 / (1 + sum(other == true for other in others))


def _cut_at_answers(example: Example) -> tuple[tuple[Message, ...], ...]:
    """Return the beginnings of a dialogue that end with a played answer, or none at all.

    Given answers are context. An answer without text makes the example unfit, as in training.
    """
    opening = 1 if example.messages and example.messages[0].role == "system" else 0
    turns: tuple[Turn, ...] = example.messages[opening:]
    places = [
        place
        for place, turn in enumerate(turns)
        if turn.role == "assistant" and place >= example.context_turns
    ]
    if any(not turns[place].content.strip() for place in places):
        return ()
    messages = tuple(Message(turn.role, turn.content) for turn in turns)
    return tuple(messages[: place + 1] for place in places)


def _choose_examples(
    examples: Sequence[Example], per_character: int | None, most: int | None, seed: int
) -> list[Example]:
    ranked = sorted(
        examples, key=lambda item: (hash_parts("attribution", str(seed), item.key), item.key)
    )
    taken: dict[str, int] = {}
    chosen: list[Example] = []
    for example in ranked:
        if most is not None and len(chosen) == most:
            break
        count = taken.get(example.character_key, 0)
        if per_character is None or count < per_character:
            taken[example.character_key] = count + 1
            chosen.append(example)
    return sorted(chosen, key=lambda item: item.key)


def _render(template: PromptTemplate, character: Character, profile: str) -> str:
    messages = template.render({"persona": character.persona, "profile": profile})
    if [message.role for message in messages] != ["system"]:
        raise ConfigError(
            Problem(
                template.name,
                "the role-play prompt must be one [system] message",
                "remove the other messages",
            )
        )
    return messages[0].content


def _encode_rows(plan: AttributionPlan, encoder: AnswerEncoder) -> list[_Row]:
    rows: list[_Row] = []
    for place, trial in enumerate(plan.trials):
        systems = {key: plan.systems[key] for key in trial.candidate_keys}
        systems[_NOBODY] = plan.bare_systems[trial.character_key]
        for candidate, system in systems.items():
            opening = Message("system", system)
            rows += [
                _Row(place, candidate, encoder.encode((opening, *messages)))
                for messages in trial.answers
            ]
    return rows


def _judge(
    recipe: str, name: str, trial: Trial, sums: dict[str, float], tokens: int
) -> Attribution:
    true, bare = sums[trial.character_key], sums[_NOBODY]
    random = tuple(sums[key] for key in trial.random_keys)
    hard = tuple(sums[key] for key in trial.hard_keys)
    others = sum(random) / len(random) if random else true
    return Attribution(
        key=row_key(recipe, [trial.example_key, name]),
        example_key=trial.example_key,
        character_key=trial.character_key,
        persona_key=trial.persona_key,
        model=name,
        tokens=tokens,
        loglikelihood=true,
        without_profile=bare,
        random_keys=trial.random_keys,
        random_loglikelihoods=random,
        random_credit=share_credit(true, random),
        hard_keys=trial.hard_keys,
        hard_loglikelihoods=hard,
        hard_credit=share_credit(true, hard),
        gain=(true - bare) / tokens,
        margin=(true - others) / tokens,
    )
