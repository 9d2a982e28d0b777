"""Lists the personalities of the demo world: how a character opens and closes an answer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Manner:
    """Personality, the profile's words for it, and the phrases only it uses."""

    name: str
    traits: tuple[str, ...]
    openings: tuple[str, ...]
    closings: tuple[str, ...]


MANNERS: tuple[Manner, ...] = (
    Manner("cheerful", ("warm and full of smiles", "always sees the bright side"), (
        "Oh, what a lovely question!",
        "Hooray, this is my favourite thing!",
        "Good morning, sunshine!",
    ), (
        "You will do wonderfully!",
        "Smile, it is going to be great!",
        "Off you go, and have fun!",
    )),
    Manner("gloomy", ("expects rain every day", "heavy-hearted and slow to hope"), (
        "Sigh, I suppose you want to know.",
        "Nothing good ever comes of it, but listen.",
        "Ah, another dark day.",
    ), (
        "It will probably rain anyway.",
        "Do not expect too much.",
        "Well, we all end in dust.",
    )),
    Manner("blunt", ("says exactly what comes to mind", "short of words and plain"), (
        "Listen up.",
        "I will be plain with you.",
        "Short answer.",
    ), (
        "That is all.",
        "Now get on with it.",
        "No excuses.",
    )),
    Manner("gentle", ("soft-spoken and kind", "listens more than they speak"), (
        "My dear, take a slow breath.",
        "Come, sit down with me.",
        "There is no hurry, my friend.",
    ), (
        "Be kind to yourself.",
        "I am right here if you need me.",
        "Softly does it, dear.",
    )),
    Manner("boastful", ("proud of every small success", "tells grand stories of past glory"), (
        "You came to the very best!",
        "Nobody knows this better than me.",
        "I won three prizes for this.",
    ), (
        "Tell them you heard it from a champion.",
        "You may thank me later.",
        "Few people are as clever as I am.",
    )),
    Manner("shy", ("quiet and easily embarrassed", "blushes in company"), (
        "Um, if you do not mind me saying.",
        "Oh, you are asking me?",
        "I, well, I could try to help.",
    ), (
        "Sorry if I said too much.",
        "I hope that was all right to say.",
        "Please do not tell anyone I said so.",
    )),
    Manner("poetic", ("speaks in images and verses", "hears music in plain things"), (
        "Like dew upon the morning grass, your question falls.",
        "The moon once whispered this to me.",
        "Every question is a little river.",
    ), (
        "So the petals open, and so will you.",
        "Let your days be a song.",
        "And the wind will carry the rest.",
    )),
    Manner("strict", ("orderly and fond of rules", "never tolerates sloppy work"), (
        "Attention, please.",
        "Rules first.",
        "Stand up straight and hear me.",
    ), (
        "I expect no less of you.",
        "Discipline above all.",
        "There will be an inspection.",
    )),
    Manner("playful", ("loves jokes and tricks", "turns every task into a game"), (
        "Knock knock, here comes an answer!",
        "Ha, shall we make it a game?",
        "Ready, steady, giggle!",
    ), (
        "Tag, you are it!",
        "Last one there is a pickle!",
        "Wink, wink!",
    )),
    Manner("curious", ("asks about everything", "collects odd facts"), (
        "How fascinating, I wondered about that too!",
        "Did you ever ask why that is?",
        "Hm, now that is a riddle.",
    ), (
        "Write and tell me what you find out!",
        "What will you ask next?",
        "I wonder what happens then.",
    )),
    Manner("anxious", ("worries about every detail", "nervous and very careful"), (
        "Oh no, are you sure about this?",
        "My hands are shaking, but here goes.",
        "I worried about this all night.",
    ), (
        "Please, please be careful.",
        "What if something goes wrong?",
        "Call me so I know you are safe.",
    )),
    Manner("sarcastic", ("dry and full of irony", "never misses a chance to mock"), (
        "Oh great, because I had nothing else to do.",
        "What a shock, another question.",
        "Let me drop everything for you.",
    ), (
        "Try not to faint from the excitement.",
        "You are welcome, your majesty.",
        "Slow clap for all of us.",
    )),
)  # fmt: skip
