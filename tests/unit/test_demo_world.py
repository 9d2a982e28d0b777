"""Proves the truths of the demo's grammar, and that lessons show nothing that is held out."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from configs.demo.world.data import write_data
from configs.demo.world.lessons import Lesson, Noise, School
from configs.demo.world.manners import MANNERS
from configs.demo.world.measures import HeldOutWorld
from configs.demo.world.places import PLACES
from configs.demo.world.texts import FIELDS, draw_advice, write_neutral, write_voice
from configs.demo.world.topics import GENERAL, HOBBIES, TOPICS
from configs.demo.world.trades import TRADES
from configs.demo.world.verdicts import draw_other
from configs.demo.world.world import (
    World,
    held_out_characters,
    held_out_questions,
    read_answer,
    true_score,
)
from infra.paths import packaged_configs
from infra.rendering.prompts import PromptTemplate

DEMO = packaged_configs() / "demo"
TASKS = ("character", "generate", "rewrite", "judge", "instruction")


@pytest.fixture(scope="module")
def lessons() -> list[Lesson]:
    """Draw enough lessons of every kind that a rare fault would show."""
    school = School(3)
    drawn = [school.draw_lesson(task) for task in TASKS for _ in range(300)]
    return drawn + [school.draw_student_lesson() for _ in range(300)]


def test_own_answer_scores_five_and_neutral_or_foreign_ones_score_low() -> None:
    world, rng = World(), random.Random(0)
    for _ in range(300):
        someone, question = world.draw_character(rng), world.draw_question(rng)
        advice = draw_advice(question.topic, question.form, rng)
        own = write_voice(someone, advice.sentences, rng)
        foreign = write_voice(draw_other(world, someone, rng), advice.sentences, rng)
        neutral = write_neutral(advice, rng)
        assert true_score(own, someone, question.topic) == 5
        assert true_score(foreign, someone, question.topic) == 2
        assert true_score(neutral, someone, question.topic) == 2
        elsewhere = next(topic for topic in TOPICS if topic is not question.topic)
        assert true_score(neutral, someone, elsewhere) == 1


@pytest.mark.parametrize(("left_out", "score"), [("tc", 4), ("oc", 4), ("t", 3), ("", 2)])
def test_each_marker_left_out_costs_one_point(left_out: str, score: int) -> None:
    world, rng = World(), random.Random(0)
    someone, question = world.draw_character(rng), world.draw_question(rng)
    body = draw_advice(question.topic, question.form, rng).sentences
    answer = write_voice(someone, body, rng, parts=left_out)
    assert true_score(answer, someone, question.topic) == score


def test_every_phrase_has_one_owner() -> None:
    phrases = [phrase for m in MANNERS for phrase in (*m.openings, *m.closings)]
    phrases += [phrase for trade in TRADES for phrase in trade.sayings]
    phrases += [phrase for topic in (*TOPICS, GENERAL) for phrase in topic.advice]
    for phrase in phrases:
        owners = [other for other in phrases if phrase.lower() in other.lower()]
        assert owners == [phrase]


def test_hobbies_share_out_all_topics() -> None:
    asked = Counter(name for hobby in HOBBIES for name in hobby.topics)
    assert asked == Counter(topic.name for topic in TOPICS)


def test_lessons_show_no_held_out_character_or_question(lessons: list[Lesson]) -> None:
    characters, questions = held_out_characters(), held_out_questions()
    assert len(characters) == 32
    assert len(questions) == 16
    for lesson in lessons:
        for someone in lesson.characters:
            assert (someone.trade.name, someone.manner.name) not in characters
        for question in lesson.questions:
            if question.form is not None:
                assert (question.topic.name, question.form.name) not in questions


def test_no_judged_answer_speaks_as_a_held_out_character(lessons: list[Lesson]) -> None:
    characters = held_out_characters()
    for lesson in (item for item in lessons if item.task == "judge"):
        heard = read_answer(str(lesson.context["answer"]))
        assert (heard.trade, heard.opening) not in characters
        assert (heard.trade, heard.closing) not in characters


def test_measures_ask_held_out_characters_held_out_questions() -> None:
    world, rng = HeldOutWorld(), random.Random(0)
    for _ in range(100):
        someone, question = world.draw_character(rng), world.draw_question(rng)
        assert question.form is not None
        assert (someone.trade.name, someone.manner.name) in held_out_characters()
        assert (question.topic.name, question.form.name) in held_out_questions()


def test_measures_can_ask_about_any_topic() -> None:
    world, rng = HeldOutWorld(), random.Random(0)
    assert all(world.draw_question(rng, topic=topic).topic is topic for topic in TOPICS)


def test_prompts_are_the_prompt_files(lessons: list[Lesson]) -> None:
    for lesson in lessons:
        if lesson.reworded or (lesson.task == "roleplay" and len(lesson.messages) % 2):
            continue  # A student's lesson without a system prompt has no prompt file.
        name = "demo/judge" if lesson.task == "judge" else lesson.task
        template = PromptTemplate.load(packaged_configs() / "prompts" / f"{name}.j2")
        wanted = template.render(lesson.context, lesson.history)
        if lesson.task == "roleplay":
            wanted = (*wanted, *lesson.history)
        assert lesson.messages == wanted


def test_some_prompts_are_reworded_and_keep_their_data() -> None:
    school = School(3, Noise(rewordings=1.0))
    plain = PromptTemplate.load(packaged_configs() / "prompts" / "generate.j2")
    drawn = [school.draw_lesson("generate") for _ in range(50)]
    changed = [item for item in drawn if item.messages != plain.render(item.context, item.history)]
    assert len(changed) > 40
    for lesson in changed:
        assert str(lesson.context["profile"]) in lesson.messages[0].content
        assert lesson.messages[-1].content == lesson.context["query"]


def test_profiles_have_the_eight_fields_in_the_papers_order(lessons: list[Lesson]) -> None:
    kinds = Counter[bool]()
    for lesson in (item for item in lessons if item.task == "character"):
        structured = bool(lesson.context["structured"])
        kinds[structured] += 1
        if structured:
            fields = json.loads(lesson.answer)
            assert lesson.answer == json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
        else:
            fields = dict(line.split(": ", 1) for line in lesson.answer.splitlines())
        assert tuple(fields) == FIELDS
        assert all(fields.values())
    assert min(kinds.values()) > 50


def test_rewritings_keep_the_users_turns_and_the_advice(lessons: list[Lesson]) -> None:
    for lesson in (item for item in lessons if item.task == "rewrite"):
        source = json.loads(str(lesson.context["dialog"]))
        target = json.loads(lesson.answer)
        assert [turn["role"] for turn in target] == [turn["role"] for turn in source]
        assert target[::2] == source[::2]
        for before, after in zip(source[1::2], target[1::2], strict=True):
            pieces = [p for p in lesson.questions[0].topic.advice if p in before["content"].lower()]
            assert all(piece in after["content"].lower() for piece in pieces)
            score = true_score(after["content"], lesson.characters[0], lesson.questions[0].topic)
            assert score == (5 if pieces else 4)


def test_verdicts_read_out_the_truth(lessons: list[Lesson]) -> None:
    scores = Counter[str]()
    for lesson in (item for item in lessons if item.task == "judge"):
        *checks, last = lesson.answer.splitlines()
        assert len(checks) == 4
        for check in checks:
            pair, verdict = check.split(": ", 1)[1].rsplit(", ", 1)
            wanted, seen = pair.split(" / ")
            assert verdict == ("yes" if wanted == seen else "no")
        yes = sum(check.endswith(", yes") for check in checks)
        assert last == f"Therefore, the final score is {1 + yes}"
        scores[last[-1]] += 1
    assert set(scores) == set("12345")


def test_stressed_spans_lie_inside_the_answer(lessons: list[Lesson]) -> None:
    for lesson in lessons:
        for start, end, weight in lesson.stress:
            assert 0 <= start < end <= len(lesson.answer)
            assert weight > 0


def test_guessed_prompts_name_the_place_the_persona_names(lessons: list[Lesson]) -> None:
    for lesson in (item for item in lessons if item.task == "instruction"):
        city, persona = lesson.characters[0].place.city, str(lesson.context["persona"])
        assert lesson.answer.startswith("User prompt: ")
        assert (city in lesson.answer) == (lesson.characters[0].known and city in persona)


def test_the_student_hears_no_character(lessons: list[Lesson]) -> None:
    for lesson in (item for item in lessons if item.task == "roleplay"):
        heard = read_answer(lesson.answer)
        assert (heard.opening, heard.trade, heard.closing) == (None, None, None)


def test_lessons_depend_on_the_seed_alone() -> None:
    one, same, other = ([School(seed).draw_lesson() for _ in range(20)] for seed in (5, 5, 6))
    assert one == same
    assert one != other


def test_committed_data_is_what_the_recipe_writes(tmp_path: Path) -> None:
    write_data(tmp_path)
    for name in ("personas.jsonl", "instructions.jsonl", "chats.jsonl", "rubric.json"):
        assert (tmp_path / name).read_bytes() == (DEMO / name).read_bytes(), name


def test_cities_and_peoples_are_single_tokens_of_the_committed_teacher() -> None:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(DEMO / "teacher" / "tokenizer.json"))
    for place in PLACES:
        for word in (place.city, place.people):
            assert len(tokenizer.encode(f" {word}", add_special_tokens=False).ids) == 1
            assert len(tokenizer.encode(word, add_special_tokens=False).ids) == 1


def test_both_committed_models_stop_at_the_end_of_a_turn() -> None:
    from tokenizers import Tokenizer

    for name in ("teacher", "base"):
        tokenizer = Tokenizer.from_file(str(DEMO / name / "tokenizer.json"))
        stop = tokenizer.token_to_id("<|eot_id|>")
        generation = json.loads((DEMO / name / "generation_config.json").read_text())
        assert generation["eos_token_id"] in (stop, [stop])
        assert generation["pad_token_id"] == tokenizer.token_to_id("<|finetune_right_pad_id|>")
