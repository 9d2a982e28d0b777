"""Builds stores with the nodes of small finished runs, for the report to read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from infra.store.manifests import (
    NodeRef,
    NodeSpec,
    Usage,
    digest_bytes,
    read_manifest,
    refer_to_file,
    write_manifest,
    write_table,
)
from infra.store.schema import to_table
from infra.store.set_store import write_set
from infra.store.storage import Storage
from tasks.records import (
    TASKS,
    Ability,
    Answer,
    Character,
    Dialogue,
    EvalQuestion,
    Example,
    HeldOutAnswer,
    Judgement,
    Persona,
    Rejection,
    Turn,
)
from tasks.scores import (
    AgreementLine,
    Calibration,
    Comparison,
    JudgeHabit,
    Measure,
    PublishedScore,
)

NASTY = "<script>alert(1)</script> {{ 7 * 7 }} \"'&\u2028</script><!-- --> \u202eback"

_TRADES = ("baker", "sailor", "judge", "gardener", "surgeon", "clown", "plumber", "poet", "miner")
_TOWNS = ("Lisbon", "Oslo", "Nairobi", "Kyoto", "Quito", "Perth", "Tunis", "Riga", "Lima", "Cork")
_MANNERS = ("sarcastic", "warm", "boastful", "shy", "poetic", "blunt", "cheerful")
_NAMES = ("Ada Vance", "Bo Lind", "Chidi Okoro", "Dai Mori", "Elsa Ruiz", "Finn Kerr", "Gia Conti")
_TIPS = (
    "put a little money aside each week and write it down",
    "start with the smallest part and finish it before you rest",
    "ask a neighbour who has done it before; they like to be asked",
    "keep the tools dry and the knife sharp, and the rest follows",
)


def write_node(
    storage: Storage,
    stage: str,
    record: type[Any],
    rows: Iterable[Any],
    *,
    rejected: Sequence[Rejection] = (),
    parts: Mapping[str, tuple[type[Any], Sequence[Any]]] | None = None,
    facts: Mapping[str, Any] | None = None,
    identity: Mapping[str, Any] | None = None,
    selection: Mapping[str, Any] | None = None,
    usage: Usage | None = None,
) -> NodeRef:
    """Write a finished node with accepted rows, rejects and further parts."""
    node = NodeSpec.build(stage, 1, identity=identity or {}, selection=selection or {})
    files = [
        write_table(storage, f"{node.folder}/{holds}.parquet", to_table(kind, held), holds=holds)
        for holds, (kind, held) in (parts or {}).items()
    ]
    reference = write_set(
        storage,
        node,
        rows,
        rejected,
        record=record,
        provenance={"made_at": "2026-11-25T03:40:00+00:00", "host": "desk", "ray": "2.60.0"},
        seconds=1.0,
        files=files,
        facts=facts,
        may_be_empty=True,
    )
    if usage is not None:
        manifest = read_manifest(storage, reference.manifest)
        reference = write_manifest(storage, manifest.model_copy(update={"usage": usage}))
    return reference


def make_key(kind: str, number: int) -> str:
    """Return a key of 32 digits that says what it is of."""
    return f"{kind}{number:0{32 - len(kind)}d}"


def make_persona_text(number: int) -> str:
    return (
        f"A {_MANNERS[number % 7]} {_TRADES[number % 9]} from {_TOWNS[number % 10]} "
        f"with {number + 2} years of practice."
    )


def make_character(number: int, persona: str = "") -> Character:
    return Character(
        key=make_key("c", number),
        persona_key=make_key("a", number),
        persona=persona or make_persona_text(number),
        name=f"{_NAMES[number % 7]} {number}",
        age=str(20 + number % 60),
        gender="Female" if number % 2 else "Male",
        race="Italian",
        birth_place=_TOWNS[number % 10],
        appearance="Tall, with short grey hair and flour on the sleeves of an old coat.",
        general_experience=f"Learned the trade at home, kept a shop for {number % 30 + 2} years.",
        personality=f"{_MANNERS[number % 7].capitalize()}, patient with beginners, fond of rain.",
    )


def make_answer_text(number: int, voice: str = "") -> str:
    tip, other = _TIPS[number % 4], _TIPS[(number // 4) % 4]
    return f"{voice}First, {tip}. And then, if it does not work at once, {other}. I hope it helps."


def make_question_text(number: int) -> str:
    return f"How do I look after {number + 2} goats in a cold winter without much money?"


def make_dialogue(number: int, character: Character, strategy: str = "generate") -> Dialogue:
    return Dialogue(
        key=make_key("d" if strategy == "generate" else "e", number),
        strategy="generate" if strategy == "generate" else "rewrite",
        character_key=character.key,
        persona_key=character.persona_key,
        instruction_key=make_key("b", number),
        corpus="lima" if number % 3 else "alpaca",
        question_id=str(number),
        context_turns=0,
        turns=(
            Turn("user", make_question_text(number)),
            Turn("assistant", make_answer_text(number, "Ah, by the oven of my mother! ")),
        ),
        user_turns_restored=False,
        truncated=False,
        teacher="teacher",
    )


def make_question(number: int, character: Character) -> EvalQuestion:
    return EvalQuestion(
        key=make_key("f", number),
        suite="held_out",
        persona_key=character.persona_key,
        persona=character.persona,
        task=TASKS[number % 5],
        question=make_question_text(number),
        setting="market",
    )


def make_answer(number: int, question: EvalQuestion, model: str) -> Answer:
    voice = "Ah, by the oven of my mother! " if model == "tuned" else ""
    return Answer(
        key=make_key("1" if model == "tuned" else "0", number),
        question_key=question.key,
        persona_key=question.persona_key,
        persona=question.persona,
        task=question.task,
        model=model,
        question=question.question,
        answer=make_answer_text(number, voice),
        truncated=number % 19 == 0,
    )


def make_judgement(number: int, answer: Answer, judge: str = "judge") -> Judgement:
    score = float(1 + number % 3 + (2 if answer.model == "tuned" else 0))
    return Judgement(
        key=make_key(f"{judge[:1]}2", int(answer.key[1:])) + answer.model[:1],
        answer_key=answer.key,
        question_key=answer.question_key,
        persona_key=answer.persona_key,
        task=answer.task,
        model=answer.model,
        judge=judge,
        score=None if number % 13 == 0 else min(score, 5.0),
        justification="The idiom of the trade is heard; the second sentence could be anybody's.",
    )


def make_measure(
    name: str,
    model: str,
    mean: float | None,
    *,
    task: str = "",
    judge: str = "",
    **more: Any,
) -> Measure:
    width = more.pop("width", 0.1)
    values: dict[str, Any] = {
        "sd": 0.4, "low": None if mean is None else mean - width,
        "high": None if mean is None else mean + width, "chance": None, "rows": 120,
        "clusters": 44, "missing": 0,
    }  # fmt: skip
    key = f"{name}:{judge}:{task}:{model}"
    return Measure(key, name, judge, task, model, mean, **{**values, **more})


def make_comparison(name: str, mean: float | None, **more: Any) -> Comparison:
    width = more.pop("width", 0.1)
    values: dict[str, Any] = {
        "judge": "", "task": "", "model": "tuned", "against": "base", "mean": mean,
        "low": None if mean is None else mean - width,
        "high": None if mean is None else mean + width, "p_value": 0.0004, "detectable": 0.12,
        "rows": 120, "clusters": 44, "missing": 0, "unmatched": 0,
    }  # fmt: skip
    return Comparison(key=f"{name}:{mean}:{sorted(more.items())}", name=name, **{**values, **more})


def make_measures(judges: Sequence[str] = ("judge",)) -> list[Measure]:
    """Return a base and a tuned model, scored by each judge and without one."""
    found = []
    for model, level in (("base", 2.1), ("tuned", 3.9)):
        for judge in judges:
            found.append(make_measure("persona_score", model, level, judge=judge, missing=9))
            found += [
                make_measure(
                    "score", model, level + 0.15 * (place - 2), task=task, judge=judge,
                    width=0.2, rows=24, missing=place,
                )
                for place, task in enumerate(TASKS)
            ]  # fmt: skip
        share = 0.24 if model == "base" else 0.81
        found += [
            make_measure("attribution", model, share, chance=0.125, width=0.06),
            make_measure("attribution_hard", model, share - 0.05, chance=0.25, width=0.07),
            make_measure("profile_gain", model, share / 4, width=0.02),
            make_measure("profile_margin", model, share / 2, width=0.03),
            make_measure("refusals", model, 0.0, width=0.0),
            make_measure("stops", model, 0.98, width=0.02),
            make_measure("words", model, 41.3, width=2.0),
            make_measure("distinct_2", model, 0.412, low=None, high=None),
        ]
    return found


def make_comparisons(judges: Sequence[str] = ("judge",)) -> list[Comparison]:
    return [
        *(make_comparison("persona_score", 1.8, judge=judge) for judge in judges),
        *(
            make_comparison("score", 1.8, judge=judge, task=task, missing=2)
            for judge in judges
            for task in TASKS
        ),
        make_comparison("attribution", 0.57, width=0.08),
        make_comparison("attribution_hard", 0.04, width=0.09, p_value=0.31),
        make_comparison("words", -0.4, width=2.0, p_value=0.6),
    ]


def write_scores(storage: Storage, judges: Sequence[str] = ("judge",)) -> NodeRef:
    published = [
        PublishedScore(f"p{task}", "full", "OpenCharacter", "gpt-4o", task, value)
        for task, value in zip(("", *TASKS), (4.52, 4.47, 4.78, 4.27, 4.51, 4.58), strict=True)
    ]
    published.append(PublishedScore("pl", "light", "Ablation", "gpt-4o", "", 4.35, 0.3))
    calibrations = [
        Calibration("k", "judge", "calibration.jsonl", 118, 2, 0.71, 0.97, 0.982),
        Calibration("l", "weak", "calibration.jsonl", 120, 0, 0.31, 0.62, 0.71),
    ]
    habits = [
        JudgeHabit("m", "judge", 240, 4.0, 0.41, 236, 0.62),
        JudgeHabit("n", "weak", 231, 3.0, 0.97, 231, 0.04),
    ]
    lines = [
        AgreementLine("g", ("judge", "weak"), False, 0.43, 0.31, 0.55, 44, 240, 471, 9),
        AgreementLine("h", ("judge", "Mia"), True, 0.68, 0.5, 0.81, 30, 50, 98, 2),
    ]
    return write_node(
        storage,
        "scores",
        Measure,
        [],
        parts={
            # In the store they lie by key, which says nothing of what comes first.
            "measures": (Measure, make_measures(judges)[::-1]),
            "comparisons": (Comparison, make_comparisons(judges)[::-1]),
            "calibrations": (Calibration, calibrations),
            "habits": (JudgeHabit, habits),
            "agreements": (AgreementLine, lines),
            "published": (PublishedScore, published),
        },
    )


def write_synthesis(
    storage: Storage, people: int = 12, each: int = 2, persona: str = ""
) -> list[NodeRef]:
    """Write the nodes from personas to SFT rows; ``each`` dialogues a character and strategy."""
    cast = [make_character(number, persona if number == 0 else "") for number in range(people)]
    personas = [
        Persona(item.persona_key, item.persona, f"p.jsonl:{n}") for n, item in enumerate(cast)
    ]
    left_out = [
        Rejection(make_key("9", n), "too_short" if n % 3 else "duplicate", persona or "Hm.", "p:1")
        for n in range(5)
    ]
    usage = Usage(
        prompt_tokens=90_000, cached_tokens=61_000, completion_tokens=42_000,
        requests=people * each, seconds=31.0,
    )  # fmt: skip
    played = {
        strategy: [
            make_dialogue(item * each + copy, cast[item], strategy)
            for item in range(people)
            for copy in range(each)
        ]
        for strategy in ("generate", "rewrite")
    }
    examples = [
        Example(
            f"x{row.key[1:]}", row.key, row.character_key,
            "validation" if n % 5 == 0 else "train", True, 0, (Turn("system", "s"), *row.turns),
        )
        for n, row in enumerate(played["generate"])
    ]  # fmt: skip
    return [
        write_node(storage, "personas", Persona, personas, rejected=left_out),
        write_node(storage, "characters", Character, cast, usage=usage, rejected=left_out[:1]),
        *(
            write_node(storage, f"dialogues_{name}", Dialogue, rows, usage=usage)
            for name, rows in played.items()
        ),
        write_node(storage, "curation", Example, examples, rejected=left_out[:3]),
        write_node(
            storage, "export", Persona, [],
            identity={"licences": {"personas": "apache-2.0", "lima": "cc-by-nc-sa-4.0"}},
        ),
    ]  # fmt: skip


def write_training(storage: Storage) -> NodeRef:
    from tasks.training.curves import draw_curves

    records = [
        {"step": step, "loss": 3 - step / 50, "learning_rate": 1e-3, "eval_loss": 3 - step / 40}
        for step in range(1, 81)
    ]
    svg = draw_curves(records, "svg")
    storage.write_bytes("training/x.curves.svg", svg)
    storage.write_bytes(
        "training/x.samples.jsonl",
        b'{"step": 40, "question": "Early?", "answer": "Hm."}\n'
        b'{"step": 80, "question": "Why is bread brown?", "answer": "The <b>oven</b>, friend."}\n',
    )
    refer_to_file(storage, "training/x.curves.svg", digest_bytes(svg), 0, "file")
    return write_node(
        storage, "training", Persona, [],
        facts={
            "base": "tiny", "export": "training/x", "curves": "training/x.curves.svg",
            "samples": "training/x.samples.jsonl", "steps": 80, "epochs": 3.0, "tokens": 1_234_567,
            "seconds": 95.0, "ranks": 2, "eval_loss_before": 2.5, "eval_loss_after": 0.5,
            "answers_ended": 0.97, "answers_asked": 32,
        },
    )  # fmt: skip


def write_control(storage: Storage, loss: float) -> NodeRef:
    """Write a training under shuffled profiles that ended at a held-out loss."""
    facts = {"base": "tiny", "seconds": 90.0, "tokens": 1_234_567, "eval_loss_after": loss}
    return write_node(storage, "training_control", Persona, [], facts=facts)


def write_evaluation(
    storage: Storage,
    people: int = 12,
    each: int = 2,
    persona: str = "",
    judges: Sequence[str] = ("judge",),
) -> list[NodeRef]:
    """Write questions to the characters of :func:`write_synthesis`, answers and judgements."""
    cast = [make_character(number, persona if number == 0 else "") for number in range(people)]
    questions = [
        make_question(item * each + copy, cast[item])
        for item in range(people)
        for copy in range(each)
    ]
    references = [
        HeldOutAnswer(
            make_key("3", n), row.key, make_key("d", n), cast[n // each].key, row.persona_key,
            cast[n // each].profile, make_answer_text(n, "So says the teacher: "),
        )
        for n, row in enumerate(questions)
    ]  # fmt: skip
    nodes = [
        write_node(
            storage, "questions", EvalQuestion, questions,
            parts={"references": (HeldOutAnswer, references)},
        )
    ]  # fmt: skip
    for model in ("base", "tuned"):
        answers = [make_answer(n, row, model) for n, row in enumerate(questions)]
        usage = Usage(
            prompt_tokens=8_000, completion_tokens=6_000, requests=len(answers), seconds=7
        )
        nodes.append(write_node(storage, f"answers_{model}", Answer, answers, usage=usage))
        for judge in judges:
            verdicts = [make_judgement(n, row, judge) for n, row in enumerate(answers)]
            nodes.append(write_node(storage, f"judgements_{judge}_{model}", Judgement, verdicts))
        ability = Ability(f"{model}:arc", model, "arc_easy", "acc", 0.412, 0.012, 500)
        nodes.append(write_node(storage, f"abilities_{model}", Ability, [ability]))
    return nodes


def write_run(
    storage: Storage, people: int = 12, each: int = 2, persona: str = ""
) -> list[NodeRef]:
    """Write every node a run may have but the report."""
    return [
        *write_synthesis(storage, people, each, persona),
        write_training(storage),
        *write_evaluation(storage, people, each, persona),
        write_scores(storage),
    ]
