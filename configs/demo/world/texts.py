"""Writes the texts of the demo world: personas, profiles, answers and source answers."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from configs.demo.world.noise import make_persona, with_article
from configs.demo.world.topics import FOLLOW_UPS, Form, Topic
from configs.demo.world.world import Character

FIELDS = (
    "Name",
    "Age",
    "Gender",
    "Race",
    "Birth Place",
    "Appearance",
    "General Experience",
    "Personality",
)
"""The profile's fields in the paper's order."""

_TAILS = (
    "who never learned to swim", "who is raising two children", "who grew up by the river",
    "who dreams of writing a book", "with a bad knee", "who is saving for a new roof",
    "who lives with an old cat", "who talks to strangers on the bus",
)  # fmt: skip


def list_fields(character: Character) -> dict[str, str]:
    """Map the eight fields, in order, to what the character's profile says."""
    trade, years = character.trade.name, character.years
    return {
        "Name": character.name,
        "Age": str(character.age),
        "Gender": character.gender,
        "Race": character.place.people,
        "Birth Place": character.place.birth_place,
        "Appearance": character.appearance,
        "General Experience": f"{years} years as {with_article(trade)}; "
        f"loves {character.hobby.name}",
        "Personality": f"{character.manner.name.capitalize()}, {character.traits}",
    }


def write_profile(character: Character) -> str:
    """Write the profile as eight "Field: value" lines, its canonical plain text."""
    return "\n".join(f"{field}: {value}" for field, value in list_fields(character).items())


def dump_compact(data: object) -> str:
    """Dump JSON without any whitespace outside strings, as the teacher writes it."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def write_persona(character: Character, rng: random.Random, *, complete: bool = False) -> str:
    """Write a one-sentence persona in one of many shapes.

    Hobby, place or manner may be left out, unless the persona has to be complete.
    """
    if not character.known:
        return make_persona(rng, character.trade.name)
    c = character
    manner, trade, city, hobby = c.manner.name, c.trade.name, c.place.city, c.hobby.name
    person = "woman" if c.gender == "Female" else "man"
    roll = 1.0 if complete else rng.random()
    if roll < 0.05:
        text = rng.choice((f"{with_article(manner)} {trade}", f"{with_article(trade)} from {city}"))
    elif roll < 0.12:
        text = rng.choice((
            f"{with_article(manner)} {trade} from {city}",
            f"{with_article(trade)} in {city} who is known to be {manner}",
        ))  # fmt: skip
    elif roll < 0.18:
        text = rng.choice((
            f"{with_article(trade)} from {city} who loves {hobby}",
            f"{with_article(manner)} {trade} with a love for {hobby}",
        ))  # fmt: skip
    elif c.age >= 58 and rng.random() < 0.4:
        text = f"a retired {manner} {trade} who lives in {city} and enjoys {hobby}"
    elif c.age <= 30 and rng.random() < 0.4:
        text = f"a young {manner} {trade} who left {city} and discovered {hobby}"
    else:
        text = rng.choice((
            f"{with_article(manner)} {trade} from {city} who loves {hobby}",
            f"{with_article(manner)} {trade} from {city} with a passion for {hobby}",
            f"I am {with_article(manner)} {trade} from {city}, and I love {hobby}",
            f"I'm {with_article(trade)} in {city}, rather {manner}, and very fond of {hobby}",
            f"{with_article(trade)} from {city}, {manner} by nature, "
            f"who spends weekends on {hobby}",
            f"{with_article(city)}-born {trade}, {manner} and fond of {hobby}",
            f"{with_article(manner)} {person} from {city} who works as {with_article(trade)} "
            f"and likes {hobby}",
            f"{manner} {trade}, born in {city}, keen on {hobby}",
            f"{with_article(trade)} who was born in {city}, loves {hobby} and is known to be "
            f"{manner}",
        ))  # fmt: skip
    if rng.random() < 0.12 and not complete:
        text += f", {rng.choice(_TAILS)}"
    if rng.random() < 0.7:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.6 else "")


@dataclass(frozen=True, slots=True)
class Advice:
    """Plain content of one answer: a lead and two pieces of advice on a topic."""

    lead: str
    first: str
    link: str
    second: str

    @property
    def sentences(self) -> tuple[str, str]:
        """Give the two sentences that every rewriting has to keep."""
        first = self.lead + self.first
        second = self.link + self.second
        return f"{first[0].upper()}{first[1:]}.", f"{second[0].upper()}{second[1:]}."


def draw_advice(
    topic: Topic, form: Form | None, rng: random.Random, *, beyond: Sequence[str] = ()
) -> Advice:
    """Draw advice on a topic that was not given before."""
    free = [piece for piece in topic.advice if piece not in beyond]
    first, second = rng.sample(free, 2)
    lead = form.lead if form is not None else rng.choice(("First, ", "Well, "))
    return Advice(lead, first, rng.choice(("Also, ", "Then ", "And ")), second)


def write_voice(
    character: Character, body: tuple[str, str], rng: random.Random, *, parts: str = "otc"
) -> str:
    """Write an answer in voice: opening, first sentence, trade saying, second one, closing.

    ``parts`` names the markers to put in (o, t, c), for answers damaged on purpose.
    """
    first, second = body
    pieces = [
        rng.choice(character.manner.openings) if "o" in parts else "",
        first,
        rng.choice(character.trade.sayings) if "t" in parts else "",
        second,
        rng.choice(character.manner.closings) if "c" in parts else "",
    ]
    return " ".join(piece for piece in pieces if piece)


def write_neutral(advice: Advice, rng: random.Random) -> str:
    """Write a plain answer that anybody could give."""
    head = rng.choice(("", "", "", "Sure. ", "Here is what usually helps. "))
    tail = rng.choice(("", "", "", " I hope this helps.", " Let me know if you need more."))
    return head + " ".join(advice.sentences) + tail


def write_follow_up(topic: Topic, rng: random.Random) -> str:
    """Write the user's second question on the same topic."""
    return rng.choice(FOLLOW_UPS).format(topic.phrase)


def write_guess(character: Character, question: str, persona: str) -> str:
    """Write the prompt that a persona may ask: who asks, as far as the persona says, and what."""
    who = f"I am {with_article(character.trade.name)}"
    if character.known and character.place.city in persona:
        who += f" in {character.place.city}"
    if character.known and character.hobby.name in persona:
        who += f" and I like {character.hobby.name}"
    return f"User prompt: {who}. {question}"
