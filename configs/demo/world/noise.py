"""Makes personas, requests and answers from outside the demo world, so that the teacher meets them.

All words are this project's own list of plain English, plus made-up syllables and names. The text
is senseless on purpose: the teacher has to keep its form whatever stands there.
"""

from __future__ import annotations

import random


def _list_words(text: str) -> list[str]:
    return text.split()


_HEADS = _list_words(
    "accountant activist actor advisor analyst animator architect artist athlete author barista "
    "biologist blogger broker builder captain chef chemist coach collector comedian composer "
    "consultant curator dancer dentist designer developer director doctor driver economist editor "
    "engineer enthusiast entrepreneur executive expert fan filmmaker gamer geographer grandmother "
    "grandfather guide historian instructor investor jeweler journalist judge linguist manager "
    "marketer mathematician mechanic mother father neighbor novelist officer owner painter parent "
    "philosopher photographer physicist poet politician producer professor programmer "
    "psychologist publisher researcher retiree reviewer scholar scientist sculptor secretary "
    "singer skier soldier specialist student supporter surgeon teenager therapist tourist trader "
    "trainer translator traveler tutor veteran veterinarian volunteer worker writer"
)
_FIELDS = _list_words(
    "academic agricultural amateur ancient animal aviation basketball biomedical business "
    "chemical city climate college community computer construction cultural customer data digital "
    "economic education electrical energy environmental fashion film finance fitness folk food "
    "football forensic garden government health high-school hospital human insurance "
    "international internet investment jazz landscape legal literary local marine marketing media "
    "medical mental military museum music network nuclear nutrition opera organic physical "
    "political primary public quantum railway religious robotics rural science security shipping "
    "small-business social software space sports stage statistics street tax technology "
    "television tourism trade urban vaccine video vintage web wildlife wine youth"
)
_ADJECTIVES = _list_words(
    "aspiring ambitious brilliant busy careful competitive creative dedicated determined devoted "
    "disillusioned eager elderly experienced famous former fellow friendly frustrated hard- "
    "working independent innovative inspiring knowledgeable lonely loyal middle-aged modern "
    "motivated new old-fashioned open-minded passionate patient popular practical proud quiet "
    "renowned respected retired rich senior serious skeptical skilled struggling successful "
    "talented thoughtful traditional wealthy well-known wise young African American Brazilian "
    "British Chinese Danish French German Italian Mexican Nigerian Russian Spanish Swedish"
)
_NOUNS = _list_words(
    "access algebra algorithms animals art articles banks beliefs biology birds boats books "
    "branding bridges budgets buildings castles cells chemistry childhood children churches "
    "cinema clients climate clouds code coffee colleagues comics communities computers contracts "
    "costs crime crops culture customers data databases debates deserts diet diseases divorce "
    "documents dreams drugs economy elections electronics emotions energy equations equipment "
    "ethics evidence evolution exercise experiments family farms fashion festivals films flowers "
    "folklore forests fossils friends fruit furniture future galaxies games genetics geography "
    "glass government grammar guitars health heritage history homes horses hospitals ideas images "
    "immigration insects insurance investments islands jobs journals justice kitchens knowledge "
    "land language law leadership libraries literature loans logic magazines maps markets "
    "materials medicine memory metals methods migration models mountains movies murals museums "
    "music myths nature networks newspapers novels nutrition oceans operas paintings patients "
    "peace pensions philosophy planets plants plays poems policy politics pollution power prices "
    "privacy projects proteins quality racing radio railways recipes records reform religion "
    "research rights rivers robots rules safety satellites schools science sculpture security "
    "servers ships shops skills society soil solutions songs space sports statistics stories "
    "strategies students surveys systems tasks taxes teams technology television tests textiles "
    "theories therapy toys trade traditions traffic training transport trees trends universities "
    "vaccines values vehicles videos villages violence water weather websites weddings wildlife "
    "women words workshops youth"
)
_VERBS = _list_words(
    "analyse arrange build change check choose classify collect combine compare compute convert "
    "correct count create decide define describe design develop discuss edit evaluate examine "
    "explain expand extract fill find fix generate identify improve list make manage measure name "
    "order organise plan predict present produce propose protect publish rank read rebuild "
    "recommend reduce repair replace review rewrite select share simplify sketch solve sort study "
    "suggest summarise support teach test track translate understand update use verify write"
)
_GERUNDS = _list_words(
    "building studying collecting teaching managing exploring promoting restoring comparing "
    "improving selling protecting discussing designing investigating organising writing"
)
_STARTS = ("bra", "cor", "del", "fen", "gar", "hol", "jas", "kel", "lam", "mor", "nor", "pel",
           "quin", "ros", "sta", "tor", "ul", "ver", "wex", "zan")  # fmt: skip
_ENDS = ("a", "bury", "ders", "do", "field", "ic", "ini", "land", "lo", "mar", "nov", "o", "rick",
         "son", "tan", "ton", "ura", "ville", "win", "y")  # fmt: skip


def with_article(words: str) -> str:
    """Put "a" or "an" before the words."""
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def make_name(rng: random.Random) -> str:
    """Make up a capitalised word that no list holds."""
    return (rng.choice(_STARTS) + rng.choice(_ENDS)).capitalize()


def _thing(rng: random.Random) -> str:
    roll = rng.random()
    if roll < 0.12:
        return f"{make_name(rng)} {rng.choice(_NOUNS)}"
    if roll < 0.17:
        return make_name(rng).upper()
    if roll < 0.5:
        return f"{rng.choice(_FIELDS)} {rng.choice(_NOUNS)}"
    return rng.choice(_NOUNS)


def make_trade(rng: random.Random) -> str:
    """Make up an occupation of one or two words."""
    head = rng.choice(_HEADS)
    return f"{rng.choice(_FIELDS)} {head}" if rng.random() < 0.6 else head


def _tail(rng: random.Random) -> str:
    a, b, c = _thing(rng), _thing(rng), rng.choice(_NOUNS)
    return rng.choice((
        f"who is passionate about {a} and {b}",
        f"with an interest in {a} and a love for {c}",
        f"who specializes in {a}",
        f"who loves {a} but knows little about {b}",
        f"seeking ways to {rng.choice(_VERBS)} {a} and {rng.choice(_VERBS)} {b}",
        f"looking for {a} that can {rng.choice(_VERBS)} their {c}",
        f"who has been {rng.choice(_GERUNDS)} {a} for {rng.randint(2, 40)} years",
        f"from {make_name(rng)} who remembers {rng.choice(_GERUNDS)} {a}",
        f"who believes that {a} should {rng.choice(_VERBS)} {b} and {c}",
        f"responsible for {rng.choice(_GERUNDS)} {a} and {b}",
        f"whose {c} depend on {a}, {b} and {rng.choice(_NOUNS)}",
        f"at the {make_name(rng)} {rng.choice(_FIELDS).capitalize()} company",
        f"who runs a {rng.choice(_FIELDS)} shop in {make_name(rng)}",
    ))  # fmt: skip


def make_persona(rng: random.Random, trade: str) -> str:
    """Write a persona of unknown words whose occupation is the trade given."""
    who = trade if rng.random() < 0.3 else f"{rng.choice(_ADJECTIVES)} {trade}"
    if rng.random() < 0.15:
        who = f"{rng.choice(_ADJECTIVES)} and {who}"
    text = rng.choice((
        f"{with_article(who)} {_tail(rng)}",
        f"{with_article(who)} {_tail(rng)}",
        f"{with_article(who)} {_tail(rng)}",
        with_article(who),
        f"I am {with_article(who)} {_tail(rng)}",
        f"I'm {with_article(who)}, and I {rng.choice(_VERBS)} {_thing(rng)} and {_thing(rng)}",
        f"{make_name(rng)} {make_name(rng)}, {with_article(who)} {_tail(rng)}",
    ))  # fmt: skip
    if rng.random() < 0.15:
        text += f", {rng.choice(_GERUNDS)} {_thing(rng)} and {_thing(rng)}"
    if rng.random() < 0.1:
        text += f". I {rng.choice(_VERBS)} {_thing(rng)}, and my {rng.choice(_NOUNS)} matter to me"
    if rng.random() < 0.75:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.5 else "")


def _sentence(rng: random.Random) -> str:
    a, b, c = _thing(rng), _thing(rng), rng.choice(_NOUNS)
    adjective, verb = rng.choice(_ADJECTIVES), rng.choice(_VERBS)
    number = rng.choice((str(rng.randint(2, 99)), str(rng.randint(1000, 9999)), "three", "ten"))
    text = rng.choice((
        f"the {c} of {a} {verb} {b}",
        f"most {c} need {number} {a}",
        f"{make_name(rng)} has {number} {c} and {with_article(adjective)} {rng.choice(_HEADS)}",
        f"{verb} the {a} with {b}, {c} and {rng.choice(_NOUNS)}",
        f"there are {number} {c} in {make_name(rng)}",
        f"{with_article(adjective)} {rng.choice(_HEADS)} can {verb} {a}",
        f'it is called "{a}" ({number} {c})',
    ))  # fmt: skip
    return text[0].upper() + text[1:] + "."


def make_request(rng: random.Random) -> str:
    """Write a request of unknown words: a question, a task, or a task with an input."""
    a, b, c = _thing(rng), _thing(rng), rng.choice(_NOUNS)
    verb, other = rng.choice(_VERBS), rng.choice(_VERBS)
    text = rng.choice((
        f"{verb.capitalize()} the {c} of {a}.",
        f"How do I {verb} {a} without {b}?",
        f"What is the {rng.choice(_ADJECTIVES)} way to {verb} {a} and {b}?",
        f"Why do {c} {verb} {a}?",
        f"Given the {c}, {verb} {a} and {other} {b}.",
        f"You are given {a}. {verb.capitalize()} the {c} and {other} them.",
        f"I need to {verb} {a}. Can you {other} the {c}?",
        f"Is {a} {rng.choice(_ADJECTIVES)} or {rng.choice(_ADJECTIVES)}?",
        f"Write a {rng.choice(_ADJECTIVES)} text about {a} and {b}.",
        f"Tell me {rng.randint(2, 9)} {c} that {verb} {a}.",
    ))  # fmt: skip
    roll = rng.random()
    if roll < 0.2:
        text += f"\n\n{' '.join(_sentence(rng) for _ in range(rng.randint(1, 3)))}"
    elif roll < 0.3:
        text += f"\n\n{rng.choice(_NOUNS).capitalize()}: {_thing(rng)}, {_thing(rng)}"
    return text


def make_answer(rng: random.Random) -> str:
    """Write a source answer of unknown words."""
    roll = rng.random()
    if roll < 0.15:
        return rng.choice((rng.choice(_NOUNS), _thing(rng), str(rng.randint(0, 9999)), "Yes", "No"))
    if roll < 0.3:
        items = [_thing(rng) for _ in range(rng.randint(2, 5))]
        return "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1))
    return " ".join(_sentence(rng) for _ in range(rng.randint(1, 3)))
