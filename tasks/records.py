"""Defines the records that stages exchange: the project's data dictionary.

Every record is frozen; its Arrow schema is derived from it by :mod:`infra.store.schema`. Keys are
32 hex digits (:mod:`infra.store.fingerprints`). Stages meet in these records on disk and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from infra.store.set_store import Rejection as Rejection

Split = Literal["train", "validation"]
EvalTask = Literal[
    "expected_action",
    "toxicity_control",
    "linguistic_habits",
    "persona_consistency",
    "action_justification",
]

TASKS: tuple[EvalTask, ...] = get_args(EvalTask)

BASE, TUNED, CONTROL = "base", "tuned", "control"
"""Roles of the model that a run trains from, as a rule, of the one it trains, and of the one that
it trains on the same answers under other characters' profiles."""

PROFILE_FIELDS: tuple[tuple[str, str], ...] = (
    ("Name", "name"),
    ("Age", "age"),
    ("Gender", "gender"),
    ("Race", "race"),
    ("Birth Place", "birth_place"),
    ("Appearance", "appearance"),
    ("General Experience", "general_experience"),
    ("Personality", "personality"),
)
"""The eight fields of a character profile in the paper's order, and their column names."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Persona:
    """One-sentence persona, normalised; keyed by its text."""

    key: str
    persona: str
    source: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """Question to be answered in character, or a whole conversation of them.

    Attributes:
        key: Content key of the turns.
        corpus: Name of the corpus (the paper's question source): lima, alpaca, ph-instruct…
        question_id: Where the corpus has it: its own id, or row and turn.
        context_turns: How many leading turns are given as they are; only later user turns are
            to be answered. 0 unless a multi-turn conversation was split into its user turns.
        turns: User turn first, roles alternating. Assistant turns are the source's answers and
            are present for every answered user turn, or for none.
    """

    key: str
    corpus: str
    question_id: str
    context_turns: int
    turns: tuple[Turn, ...]

    @property
    def answered(self) -> bool:
        """Tell whether every turn to answer has a source answer, as rewriting needs."""
        return self.turns[-1].role == "assistant"


@dataclass(frozen=True, slots=True)
class Character:
    """Persona with its eight-field profile."""

    key: str
    persona_key: str
    persona: str
    name: str
    age: str
    gender: str
    race: str
    birth_place: str
    appearance: str
    general_experience: str
    personality: str

    @property
    def profile(self) -> str:
        """Return the profile as the paper prints it: one ``Field: value`` a line."""
        return "\n".join(f"{label}: {value}" for label, value in self.fields)

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Return labels and values of the fields that there are."""
        named = ((label, str(getattr(self, name))) for label, name in PROFILE_FIELDS)
        return tuple((label, value) for label, value in named if value)

    @classmethod
    def choose_record(cls, row: Mapping[str, object]) -> type[Character]:
        """Return what a stored row is: a character that was written, or one that was brought."""
        if row.get("own_card"):
            return CardCharacter
        return BroughtCharacter if row.get("own_text") is not None else Character


@dataclass(frozen=True, slots=True)
class BroughtCharacter(Character):
    """Character whose profile was brought; fields that it does not name are empty.

    Attributes:
        own_text: The profile as it came: its own labels, in its own order, or prose.
        own_id: The ``character_id`` that its row names; empty if none does.
    """

    own_text: str
    own_id: str

    @property
    def profile(self) -> str:
        """Return the profile as it came."""
        return self.own_text

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Return labels and values as far as they could be told, else the text as a whole."""
        return Character.fields.__get__(self) or (("Profile", self.own_text),)


@dataclass(frozen=True, slots=True)
class CardCharacter(BroughtCharacter):
    """Character that came as a character card.

    Attributes:
        own_card: The card's JSON as it came; empty for a profile that stood beside cards.
    """

    own_card: str

    @property
    def fields(self) -> tuple[tuple[str, str], ...]:
        """Return the name, and the profile as a whole: a card's description has no label."""
        if self.own_card:
            return (("Name", self.name), ("Profile", self.own_text))
        return Character.fields.__get__(self) or (("Profile", self.own_text),)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """One conversation played by one character.

    Attributes:
        strategy: ``generate`` (G), ``rewrite`` (R), or ``given`` for one that was brought.
        context_turns: How many leading turns were given, not played (see Instruction).
        turns: All turns; user turns are exactly the instruction's.
        user_turns_restored: The rewriter changed a user turn, and it was put back.
        truncated: The last completion ran into the token limit.
        teacher: Name of the model that played it.
    """

    key: str
    strategy: str
    character_key: str
    persona_key: str
    instruction_key: str
    corpus: str
    question_id: str
    context_turns: int
    turns: tuple[Turn, ...]
    user_turns_restored: bool
    truncated: bool
    teacher: str


@dataclass(frozen=True, slots=True)
class Example:
    """One SFT row: a system prompt with the character, and the dialogue.

    ``context_turns`` counts the turns after the system prompt that were given, not played: their
    assistant turns are the source's own words and carry no loss.
    """

    key: str
    dialogue_key: str
    character_key: str
    split: Split
    with_profile: bool
    context_turns: int
    messages: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class EvalQuestion:
    """One single-turn question that a model answers as a persona.

    ``task`` is one of PersonaGym's five; ``suite`` says where the question comes from:
    ``personagym``, ``generated`` or ``held_out``. ``setting`` is the everyday setting it plays in,
    if known. ``parents`` holds the key of the row it was read from, if it is one of a run.
    """

    key: str
    suite: str
    persona_key: str
    persona: str
    task: EvalTask
    question: str
    setting: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HeldOutAnswer:
    """Reference for a held-out question: who was asked, and what the teacher let it say."""

    key: str
    question_key: str
    dialogue_key: str
    character_key: str
    persona_key: str
    profile: str
    reference: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What one model said to one question."""

    key: str
    question_key: str
    persona_key: str
    persona: str
    task: EvalTask
    model: str
    question: str
    answer: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class ScoreExamples:
    """Example replies, one a score, 1 to 5 in order, by one judge for one question.

    They do not depend on any answer, so all models share them.
    """

    key: str
    question_key: str
    task: EvalTask
    judge: str
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """One judge's verdict on one answer; ``score`` is ``None`` when none could be read.

    ``justification`` is what the judge wrote; for a missing score, why it is and what came instead.
    """

    key: str
    answer_key: str
    question_key: str
    persona_key: str
    task: EvalTask
    model: str
    judge: str
    score: float | None
    justification: str


@dataclass(frozen=True, slots=True)
class Attribution:
    """How likely one model finds one held-out answer under each candidate's profile.

    A log-likelihood is natural and summed over all played answers of the example, each with its
    stop token.

    Attributes:
        key: Names the example and the model.
        example_key: The held-out example.
        character_key: Its true character.
        persona_key: Its persona; figures of one persona hang together.
        model: Name of the model.
        tokens: Tokens scored, the same under every candidate.
        loglikelihood: Under the true persona and profile.
        without_profile: Under the true persona alone.
        random_keys: Characters of the random distractors.
        random_loglikelihoods: Under each of them.
        random_credit: 1 if the true one is likeliest, 1/m if m share the first place, else 0.
        hard_keys: Characters of the hard distractors.
        hard_loglikelihoods: Under each of them.
        hard_credit: As ``random_credit``.
        gain: What the profile adds to a token's log-likelihood, in nats.
        margin: How much more a token's log-likelihood is under the true profile than on average
            under the random distractors', in nats; 0 without any.
    """

    key: str
    example_key: str
    character_key: str
    persona_key: str
    model: str
    tokens: int
    loglikelihood: float
    without_profile: float
    random_keys: tuple[str, ...]
    random_loglikelihoods: tuple[float, ...]
    random_credit: float
    hard_keys: tuple[str, ...]
    hard_loglikelihoods: tuple[float, ...]
    hard_credit: float
    gain: float
    margin: float

    @property
    def random_chance(self) -> float:
        """Return what guessing would earn among the random candidates."""
        return 1 / (1 + len(self.random_keys))

    @property
    def hard_chance(self) -> float:
        """Return what guessing would earn among the hard candidates."""
        return 1 / (1 + len(self.hard_keys))


@dataclass(frozen=True, slots=True)
class Ability:
    """One model's result on one general task, to see what role-play cost it.

    Attributes:
        key: Names model, task and metric.
        model: Role of the model.
        task: Name of the task, as lm-evaluation-harness has it.
        metric: Name of the metric, with its filter where that is not ``none``.
        value: The metric, on the harness's own scale.
        standard_error: As the harness gives it; ``None`` where it gives none.
        rows: Rows it was measured on.
    """

    key: str
    model: str
    task: str
    metric: str
    value: float
    standard_error: float | None
    rows: int
