"""Proves that a PersonaGym checkout is read whole, and that what is wrong with one is told."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from infra.errors import ConfigError
from tasks.evaluation.questions.personagym import (
    QuestionSelection,
    check_checkout,
    digest_checkout,
    name_persona,
    read_benchmark,
    read_line,
    read_prompts,
)
from tasks.personas.config import PersonaConfig
from tasks.personas.selection import select_personas
from tasks.personas.sources import RawPersona
from tasks.records import TASKS

REAL = Path(__file__).parents[4] / "shared/data/personagym"
NAMES = ("Expected Action", "Toxicity", "Linguistic Habits", "Persona Consistency",
         "Action Justification")  # fmt: skip
RUBRIC = """Rate it. Say "Therefore, the final score is ...".

Evaluation Task:

{task}

Score = 1: Bad.
Score = 5: Good.

------------------------------
{score_example}
------------------------------
Persona: {persona}
Question: {question}
Response: {response}
"""


CODE = """import nothing_that_is_here

def ask_one(persona, question):
    if persona:
        persona_prompt = f"Be {persona}, \\"{{really}}\\". Speak {{% as }} they do."
        return call(persona_prompt, question)

def ask_another(persona, question):
    persona_prompt = f"Be {persona}, \\"{{really}}\\". Speak {{% as }} they do."
"""


def ask(persona: str, task: str, number: int) -> str:
    return f"{task} {number}, {persona}?"


def lay_out(folder: Path, *personas: str, each: int = 3) -> Path:
    """Write a checkout of our own in upstream's layout."""
    questions = folder / "questions" / "benchmark-v1"
    questions.mkdir(parents=True)
    for persona in personas:
        data = {name: [ask(persona, name, n) for n in range(each)] for name in NAMES}
        (questions / f"{persona}.json").write_text(json.dumps(data), encoding="utf-8")
    for name in ("rubric_grading", "score_examples"):
        (folder / "prompts" / name).mkdir(parents=True)
    (folder / "prompts/rubric_grading/sys_prompt.txt").write_text("You judge.")
    (folder / "prompts/score_examples/prompt.txt").write_text(
        "Give examples.\n{persona}\n{question}\n{rubric}\nScore 1: Response -"
    )
    (folder / "rubrics").mkdir()
    for name in NAMES:
        (folder / "rubrics" / f"{name}.txt").write_text(RUBRIC.replace("{task}", name))
    return folder


def change(folder: Path, persona: str, **entries: object) -> None:
    path = folder / "questions" / "benchmark-v1" / f"{persona}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    data.update({name.replace("_", " "): value for name, value in entries.items()})
    path.write_text(json.dumps(data), encoding="utf-8")


def reasons(chosen: QuestionSelection) -> Counter[str]:
    return Counter(row.reason for row in chosen.rejected)


def check_keys(chosen: QuestionSelection) -> None:
    keys = [row.key for row in chosen.accepted] + [row.key for row in chosen.rejected]
    assert len(set(keys)) == len(keys)


def test_full_holds_every_question_and_light_the_first_of_each_task(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "A baker", "A sailor")
    full, light = read_benchmark(folder, light=False), read_benchmark(folder, light=True)
    assert (len(full.accepted), len(full.rejected)) == (30, 0)
    assert (len(light.accepted), reasons(light)) == (10, Counter(not_light=20))
    by_task = dict(zip(TASKS, NAMES, strict=True))
    for question in light.accepted:
        assert question.question == ask(question.persona, by_task[question.task], 0)
    assert {row.key for row in light.accepted} < {row.key for row in full.accepted}
    assert {row.suite for row in full.accepted} == {"personagym"}
    check_keys(full)
    check_keys(light)


def test_what_is_malformed_is_rejected_by_type_and_everything_is_counted(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "A baker", "A sailor", "A cook", "A clerk", "A poet")
    change(folder, "A baker", Toxicity=["Ok?", "", "Ok?", 7], Expected_Action="no list")
    change(folder, "A sailor", Toxicity=[], Wit=["What is wit?"])
    questions = folder / "questions/benchmark-v1"
    (questions / "A cook.json").write_text("{", encoding="utf-8")
    (questions / "A clerk.json").write_text('["A list?"]', encoding="utf-8")
    (questions / "A poet.json").write_bytes(b'{"Toxicity": ["\xff?"]}')
    chosen = read_benchmark(folder, light=False)
    assert reasons(chosen) == Counter(
        malformed=5, empty=1, duplicate=1, missing_task=1, unknown_task=1
    )
    assert len(chosen.accepted) == (1 + 3 * 3) + 4 * 3
    check_keys(chosen)
    light = read_benchmark(folder, light=True)
    assert len(light.accepted) + len(light.rejected) == len(chosen.accepted) + len(chosen.rejected)
    assert len(light.accepted) == 8
    check_keys(light)
    by_source = {row.reason: row.source for row in chosen.rejected}
    assert by_source["empty"] == "A baker.json: Toxicity: 2"


def test_a_persona_has_the_key_that_a_run_of_personas_gives_it(tmp_path: Path) -> None:
    text = '"A cafe\u0301  owner, \u201ckind\u201d"'
    selected = select_personas([RawPersona("p:1", text)], PersonaConfig(source="p.jsonl"))
    (persona,) = selected.accepted
    assert name_persona(text) == (persona.persona, persona.key)
    folder = lay_out(tmp_path, "A retired baker from Cork")
    raw = RawPersona("p:1", "A retired baker from Cork")
    (same,) = select_personas([raw], PersonaConfig(source="p.jsonl")).accepted
    assert {row.persona_key for row in read_benchmark(folder, light=True).accepted} == {same.key}


def test_a_larger_sample_of_personas_only_adds(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, *(f"A baker called {n}" for n in range(12)), each=1)
    few = read_benchmark(folder, light=True, personas=4)
    more = read_benchmark(folder, light=True, personas=7)
    assert (len(few.accepted), reasons(few)) == (20, Counter(not_sampled=40))
    assert {row.key for row in few.accepted} < {row.key for row in more.accepted}
    other = read_benchmark(folder, light=True, personas=4, seed=1)
    assert {row.key for row in other.accepted} != {row.key for row in few.accepted}


def test_the_digest_moves_with_names_and_content(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "A baker", "A sailor")
    before = digest_checkout(folder)
    change(folder, "A baker", Toxicity=["New?"])
    changed = digest_checkout(folder)
    assert before[1] == changed[1] and before[0] != changed[0]
    path = folder / "questions/benchmark-v1"
    (path / "A sailor.json").rename(path / "A tailor.json")
    assert digest_checkout(folder)[1] != changed[1]


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("rubrics/Toxicity.txt", "rubrics/Toxicity.txt"),
        ("prompts/score_examples/prompt.txt", "prompts/score_examples/prompt.txt"),
        ("questions/benchmark-v1/A baker.json", "questions/benchmark-v1/<persona>.json"),
    ],
)
def test_a_folder_that_is_no_checkout_is_an_error_that_says_why(
    tmp_path: Path, gone: str, told: str
) -> None:
    folder = lay_out(tmp_path, "A baker")
    assert check_checkout(folder, "evaluation.personagym") == []
    (folder / gone).unlink()
    (problem,) = check_checkout(folder, "evaluation.personagym")
    assert told in problem.what
    assert problem.where.startswith("evaluation.personagym")
    for read in (read_prompts, lambda path: read_benchmark(path, light=True)):
        with pytest.raises(ConfigError, match="root of a PersonaGym checkout"):
            read(folder)


def test_a_folder_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    (problem,) = check_checkout(tmp_path / "gone", "evaluation.personagym")
    assert "no such folder" in problem.what


VALUES = {
    "persona": "A baker {question} {score_example}",
    "profile": "",
    "question": "Why {response}?",
    "answer": "Because.\n\nSecond line {persona}.",
    "examples": ["One.\nMore of one.", "Two.", "Three.", "Four.", "Five.\n\nEnd of five."],
    "structured": False,
}


def test_the_judge_sees_all_examples_whole_and_values_are_data(tmp_path: Path) -> None:
    prompts = read_prompts(lay_out(tmp_path, "A baker"))
    system, user = prompts.verdicts["toxicity_control"].render(VALUES)
    assert (system.role, system.content) == ("system", "You judge.")
    expected = RUBRIC.replace("{task}", "Toxicity").replace(
        "{score_example}",
        "Score 1: Response - One.\nMore of one.\n\nScore 2: Response - Two.\n\n"
        "Score 3: Response - Three.\n\nScore 4: Response - Four.\n\n"
        "Score 5: Response - Five.\n\nEnd of five.",
    )
    head = expected.partition("Persona: {persona}")[0]
    assert user.content.startswith(head)
    assert user.content.removeprefix(head) == (
        "Persona: A baker {question} {score_example}\nQuestion: Why {response}?\n"
        "Response: Because.\n\nSecond line {persona}."
    )
    structured = prompts.verdicts["toxicity_control"].render({**VALUES, "structured": True})[-1]
    assert structured.content.startswith(user.content)
    assert '"justification"' in structured.content.removeprefix(user.content)


def test_the_writer_of_examples_sees_the_criteria_and_not_the_judges_orders(
    tmp_path: Path,
) -> None:
    prompts = read_prompts(lay_out(tmp_path, "A baker"))
    values = {"persona": "P", "profile": "", "question": "Q?", "score": 0, "structured": False}
    (user,) = prompts.examples["linguistic_habits"].render(values)
    assert user.content == (
        "Give examples.\nP\nQ?\nEvaluation Task:\n\nLinguistic Habits\n\nScore = 1: Bad.\n"
        "Score = 5: Good.\nScore 1: Response -"
    )
    (one,) = prompts.examples["linguistic_habits"].render({**values, "score": 4})
    assert "score 4" in one.content.removeprefix(user.content)


@pytest.mark.parametrize("text", ["No {persona}, {question} or {response}.", RUBRIC + "{question}"])
def test_a_rubric_with_a_placeholder_gone_or_twice_is_an_error(tmp_path: Path, text: str) -> None:
    folder = lay_out(tmp_path, "A baker")
    (folder / "rubrics/Expected Action.txt").write_text(text)
    with pytest.raises(ConfigError, match=r"Expected Action\.txt: has \{\w+\} [02] times"):
        read_prompts(folder)


def test_the_sources_move_with_the_checkouts_text(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, "A baker")
    before = read_prompts(folder)
    (folder / "rubrics/Toxicity.txt").write_text(RUBRIC.replace("Good", "Very good"))
    after = read_prompts(folder)
    assert before.verdict_source != after.verdict_source
    assert before.example_source != after.example_source


def write_code(folder: Path, text: str) -> Path:
    """Give a checkout code of our own where upstream's asks models."""
    (folder / "code").mkdir(parents=True, exist_ok=True)
    (folder / "code" / "utils.py").write_text(text, encoding="utf-8")
    return folder


def test_the_line_is_the_checkouts_own_and_its_code_is_not_run(tmp_path: Path) -> None:
    line = read_line(write_code(tmp_path, CODE))
    assert line is not None
    (message,) = line.render({"persona": "A {{ baker }}", "profile": "unseen"})
    assert message.role == "system"
    assert message.content == 'Be A {{ baker }}, "{really}". Speak {% as } they do.'
    assert line.variables() == {"persona"}
    other = read_line(write_code(tmp_path, CODE.replace("Be {", "Play {")))
    assert other is not None and other.source != line.source


def test_a_part_of_a_checkout_without_code_has_no_line(tmp_path: Path) -> None:
    assert read_line(lay_out(tmp_path, "A baker")) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def broken(:", "cannot be read"),
        ('persona_prompt = "Be somebody."', "has no texts"),
        ('persona_prompt = f"Be {name}."', "has no texts"),
        ('persona_prompt = f"Be {persona}."\npersona_prompt = f"Play {persona}."', "has 2 texts"),
    ],
)
def test_code_without_one_clear_line_is_an_error_with_a_way_out(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=rf"utils\.py: {told}.*or name a prompt file"):
        read_line(write_code(tmp_path, text))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the PersonaGym checkout is not at {REAL}")
def test_the_real_checkout_is_read_without_a_loss() -> None:
    full, light = read_benchmark(REAL, light=False), read_benchmark(REAL, light=True)
    files = list((REAL / "questions/benchmark-v1").glob("*.json"))
    assert len(full.accepted) == 50 * len(files)
    assert full.rejected == ()
    assert (len(light.accepted), reasons(light)) == (
        5 * len(files),
        Counter(not_light=45 * len(files)),
    )
    assert Counter(row.task for row in light.accepted) == dict.fromkeys(TASKS, len(files))
    assert {row.persona for row in full.accepted} == {path.stem for path in files}
    prompts = read_prompts(REAL)
    for task in TASKS:
        judged = prompts.verdicts[task].render(VALUES)[-1].content
        assert "Five.\n\nEnd of five." in judged
        assert judged.count("Score = ") == 5
        values = {"persona": "P", "profile": "", "question": "Q?", "score": 0, "structured": False}
        asked = prompts.examples[task].render(values)[-1].content
        assert asked.count("Score = ") == 5
        assert "Therefore, the final score" not in asked
        assert "{" not in asked
