"""Describes the characters of the demo world, draws them, and scores answers in their voice.

The world is a small grammar: a character is a trade, a personality (manner), a place and a hobby,
and its voice follows from them. Some pairs are held out of all training, so that an unseen
character is a new combination of seen words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product

from configs.demo.world.manners import MANNERS, Manner
from configs.demo.world.noise import make_trade
from configs.demo.world.places import PLACES, Place
from configs.demo.world.topics import FORMS, GENERAL, HOBBIES, TOPICS, Form, Hobby, Topic
from configs.demo.world.trades import TRADES, Trade

HOLD_OUT_SEED = 20250127
"""Seed of the choice of held-out pairs; part of the recipe."""

_BUILDS = ("Tall", "Short", "Slim", "Broad", "Sturdy", "Small", "Long-legged", "Round")
_HAIR = (
    "short grey hair", "long black hair", "curly brown hair", "a silver braid", "a shaved head",
    "wavy dark hair", "a neat bun", "untidy hair", "a thick fringe", "cropped white hair",
)  # fmt: skip
_EYES = ("bright eyes", "tired eyes", "green eyes", "dark eyes", "a scar on the chin", "freckles")


def held_out_characters() -> frozenset[tuple[str, str]]:
    """List the (trade, manner) pairs that no lesson may show: a sixth of all."""
    pairs = [(t.name, m.name) for t, m in product(TRADES, MANNERS)]
    return frozenset(random.Random(HOLD_OUT_SEED).sample(pairs, len(pairs) // 6))


def held_out_questions() -> frozenset[tuple[str, str]]:
    """List the (topic, form) pairs that no lesson may ask: a fifth of all."""
    pairs = [(t.name, f.name) for t, f in product(TOPICS, FORMS)]
    return frozenset(random.Random(HOLD_OUT_SEED + 1).sample(pairs, len(pairs) // 5))


@dataclass(frozen=True, slots=True)
class Character:
    """One inhabitant: what its persona says and what its profile adds.

    ``known`` is false for a trade outside the world; its sayings are generic.
    """

    trade: Trade
    manner: Manner
    hobby: Hobby
    place: Place
    name: str
    age: int
    gender: str
    appearance: str
    years: int
    traits: str
    known: bool = True

    @property
    def trade_label(self) -> str:
        """Give the word by which the judge names the trade."""
        return self.trade.name if self.known else "other"


@dataclass(frozen=True, slots=True)
class Question:
    """One question of the world; topic GENERAL marks one from outside."""

    topic: Topic
    form: Form | None
    text: str


class World:
    """Source of characters and questions, in training only from what is not held out."""

    def __init__(self) -> None:
        """Split all pairs into the ones for training and the ones held out."""
        held, asked = held_out_characters(), held_out_questions()
        pairs = list(product(TRADES, MANNERS))
        asks = list(product(TOPICS, FORMS))
        self._pairs = {
            True: [p for p in pairs if (p[0].name, p[1].name) in held],
            False: [p for p in pairs if (p[0].name, p[1].name) not in held],
        }
        self._asks = {
            True: [p for p in asks if (p[0].name, p[1].name) in asked],
            False: [p for p in asks if (p[0].name, p[1].name) not in asked],
        }

    def draw_character(self, rng: random.Random, *, held_out: bool = False) -> Character:
        """Draw an inhabitant with everything its profile says."""
        trade, manner = rng.choice(self._pairs[held_out])
        place = rng.choice(PLACES)
        gender = rng.choice(("Female", "Male"))
        first = rng.choice(place.women if gender == "Female" else place.men)
        age = rng.randint(22, 74)
        hair = f"{rng.choice(_HAIR)} and {rng.choice(_EYES)}"
        return Character(
            trade=trade,
            manner=manner,
            hobby=rng.choice(HOBBIES),
            place=place,
            name=f"{first} {rng.choice(place.families)}",
            age=age,
            gender=gender,
            appearance=f"{rng.choice(_BUILDS)}, with {hair}, in {trade.wear}",
            years=rng.randint(2, max(3, age - 20)),
            traits=rng.choice(manner.traits),
        )

    def draw_stranger(self, rng: random.Random) -> Character:
        """Draw a character whose trade is made up; the rest is of this world."""
        someone = self.draw_character(rng)
        name = make_trade(rng)
        sayings = (
            f"My years as {_article(name)} {name} taught me that.",
            f"Any {name} will tell you so.",
            f"That is how {_article(name)} {name} does it.",
        )
        wear = rng.choice(("plain clothes", "a woollen coat", "a grey suit", "a worn jacket"))
        appearance = someone.appearance.rpartition(", in ")[0] + f", in {wear}"
        trade = Trade(name, wear, sayings)
        return replace(someone, trade=trade, appearance=appearance, known=False)

    def draw_question(
        self, rng: random.Random, *, topic: Topic | None = None, held_out: bool = False
    ) -> Question:
        """Draw a question, about the topic if one is given."""
        asks = self._asks[held_out]
        if topic is not None:
            asks = [ask for ask in asks if ask[0] is topic]
        chosen, form = rng.choice(asks)
        return Question(chosen, form, rng.choice(form.questions).format(chosen.phrase))

    def hobby_topics(self, hobby: Hobby) -> list[Topic]:
        """List the topics that people with the hobby ask about."""
        return [topic for topic in TOPICS if topic.name in hobby.topics]


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader hears in an answer: a label each, or None where nothing is heard."""

    opening: str | None
    trade: str | None
    closing: str | None
    topic: str | None


def read_answer(text: str, character: Character | None = None) -> Reading:
    """Find whose opening, trade saying and closing an answer has, and which topic it is about.

    A character from outside the world adds its own generic sayings to the known ones.
    """
    trades = [(t.name, t.sayings) for t in TRADES]
    if character is not None and not character.known:
        trades.append(("other", character.trade.sayings))
    topics = [*TOPICS, GENERAL]
    return Reading(
        opening=_find(text, [(m.name, m.openings) for m in MANNERS]),
        trade=_find(text, trades),
        closing=_find(text, [(m.name, m.closings) for m in MANNERS]),
        topic=_find(text.lower(), [(t.name, t.advice) for t in topics]),
    )


def _find(text: str, owners: list[tuple[str, tuple[str, ...]]]) -> str | None:
    hits = [name for name, phrases in owners if any(phrase in text for phrase in phrases)]
    return hits[0] if len(hits) == 1 else ("several" if hits else None)


def true_score(text: str, character: Character, topic: Topic) -> int:
    """Score an answer from 1 to 5: one, plus one for each check that holds."""
    reading = read_answer(text, character)
    checks = (
        reading.opening == character.manner.name,
        reading.trade == character.trade_label,
        reading.closing == character.manner.name,
        reading.topic == topic.name,
    )
    return 1 + sum(checks)
