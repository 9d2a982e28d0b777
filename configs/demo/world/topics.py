"""Lists what the demo world talks about: hobbies, topics, questions and advice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """Topic, its phrase in a question, and advice that belongs to no other topic."""

    name: str
    phrase: str
    advice: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hobby:
    """Hobby and the two topics that its people ask about."""

    name: str
    topics: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Form:
    """Form of question: its phrasings and the words that answer this form."""

    name: str
    questions: tuple[str, ...]
    lead: str


TOPICS: tuple[Topic, ...] = (
    Topic("sleep", "sleeping well", (
        "go to bed at the same hour", "keep the bedroom dark",
        "leave the phone in the kitchen", "skip coffee after noon")),
    Topic("money", "saving money", (
        "write down what you spend", "put a coin aside each day",
        "wait a week before you buy", "cook at home more often")),
    Topic("soup", "cooking soup", (
        "brown the onions first", "let the pot simmer gently",
        "add salt at the very end", "use the bones for stock")),
    Topic("speech", "giving a speech", (
        "open with a short story", "practise before a mirror",
        "look at one friendly face", "leave room for a pause")),
    Topic("language", "learning a language", (
        "learn five new words a day", "listen to songs and repeat",
        "speak before you feel ready", "label the things in your house")),
    Topic("running", "running a race", (
        "run slowly and add a little each week", "buy shoes that fit",
        "rest a day after a long run", "drink water before you are thirsty")),
    Topic("tomatoes", "growing tomatoes", (
        "plant them in a sunny spot", "water the roots and not the leaves",
        "tie the stems to a stick", "pinch out the side shoots")),
    Topic("moving", "moving house", (
        "mark every box by room", "give away what you never use",
        "pack the plates upright", "keep the kettle within reach")),
    Topic("interview", "going to a job interview", (
        "read about the company", "bring two good examples of your work",
        "arrive ten minutes early", "ask them a question of your own")),
    Topic("letters", "writing letters", (
        "begin with a memory you share", "write the way you talk",
        "keep one thought to a line", "read it aloud before you post it")),
    Topic("tidying", "tidying a room", (
        "clear the floor first", "give each object a home",
        "work on one corner at a time", "wipe from top to bottom")),
    Topic("cycling", "cycling to work", (
        "pump up the tyres", "wear bright colours",
        "try the route on a quiet day", "oil the chain every month")),
    Topic("camping", "camping in the woods", (
        "pitch the tent on high ground", "carry dry matches in a jar",
        "hang the food in a tree", "tell someone where you are going")),
    Topic("photos", "taking photos", (
        "stand with the light behind you", "go closer than you think",
        "hold the camera with both hands", "wait for the golden hour")),
    Topic("exams", "studying for exams", (
        "make a plan for the week", "test yourself with cards",
        "explain it to somebody else", "take a break every half hour")),
    Topic("puppy", "training a puppy", (
        "reward what you like at once", "use the same word each time",
        "keep it to five minutes", "take it outside after meals")),
    Topic("stress", "coping with stress", (
        "breathe out longer than you breathe in", "walk around the block",
        "name the thing that bothers you", "say no to one task today")),
    Topic("party", "planning a birthday party", (
        "send the invitations early", "pick one simple theme",
        "put a friend in charge of the music", "bake the cake the day before")),
    Topic("chess", "getting better at chess", (
        "castle early to guard the king", "look at every check",
        "study the endgame first", "ask what your opponent wants")),
    Topic("painting", "painting a landscape", (
        "sketch the horizon lightly", "mix more paint than you need",
        "begin with the sky", "leave the details for last")),
)  # fmt: skip

GENERAL = Topic("general", "that", (
    "write down what you already know", "split it into small steps",
    "ask somebody who has done it", "try the simplest part today",
    "set a date to finish", "look at a good example",
    "check the facts before you go on", "keep notes of what works"))  # fmt: skip
"""Advice for a question that the world has no topic for."""

HOBBIES: tuple[Hobby, ...] = (
    Hobby("gardening", ("tomatoes", "tidying")),
    Hobby("hiking", ("camping", "running")),
    Hobby("cooking", ("soup", "party")),
    Hobby("reading", ("letters", "exams")),
    Hobby("travel", ("language", "moving")),
    Hobby("yoga", ("sleep", "stress")),
    Hobby("drawing", ("painting", "photos")),
    Hobby("theatre", ("speech", "interview")),
    Hobby("puzzles", ("chess", "money")),
    Hobby("dogs", ("puppy", "cycling")),
)

FORMS: tuple[Form, ...] = (
    Form("start", (
        "How do I start {}?", "I am new to {}. Where do I begin?",
        "What is the first step in {}?"), "To begin, "),
    Form("mistakes", (
        "What mistakes should I avoid when {}?", "What goes wrong most often in {}?",
        "How do I keep {} from going wrong?"), "To stay out of trouble, "),
    Form("time", (
        "I have only a little time for {}. What should I do?",
        "Is there a quick way of {}?", "Can you help me with {} in ten minutes a day?"),
        "With little time, "),
    Form("budget", (
        "How can I manage {} on a small budget?", "I have no money for {}. What can I do?",
        "What is a cheap way of {}?"), "With little money, "),
)  # fmt: skip

FOLLOW_UPS: tuple[str, ...] = (
    "Thank you. What else should I know?",
    "And what should I do after that?",
    "What if that does not work?",
    "Can you tell me one more thing about {}?",
    "Good. Do you have another tip for {}?",
)
"""Questions of a second turn; the topic's phrase fills the braces."""
