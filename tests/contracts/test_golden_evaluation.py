"""Holds encoding, export and evaluation to their versions, and every measure to its figures.

As in ``test_golden``, each kind works on fixed rows. Of the score table each measure and each
comparison has a digest of its own: one that is dropped, or that counts otherwise, is named.
Kinds that are not here make no rows (``training``, ``report``, ``publish``), or need a package
that this environment leaves out (``abilities``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import polars as pl
import pytest

from infra.rendering.encoder import load_tokenizer
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import content_key, hash_json
from infra.store.schema import to_plain, to_table
from infra.store.set_store import revive
from tasks.evaluation.answering import Answerer, AnswerInput
from tasks.evaluation.judging.anchors import choose_anchors, list_replies, measure_order
from tasks.evaluation.judging.calibration import (
    Labelled,
    measure_calibration,
    plan_calibration,
)
from tasks.evaluation.judging.judging import ExamplesInput, ExampleWriter, Judge, JudgementInput
from tasks.evaluation.judging.probes import pad_answers, turn_rubrics
from tasks.evaluation.judging.rubrics import JudgingPrompts, Rubric, bind_rubrics
from tasks.evaluation.measures import attribution
from tasks.evaluation.measures.scoring import choose_headline, compare_models, measure_models
from tasks.evaluation.questions.held_out import take_held_out
from tasks.evaluation.questions.writing import (
    QuestionsInput,
    QuestionWriter,
    SettingsChooser,
    SettingsInput,
)
from tasks.export.rows import (
    DialogueRow,
    SftRow,
    list_cast,
    make_character_rows,
    make_dialogue_rows,
    make_sft_rows,
)
from tasks.measures.evidence import Evidence
from tasks.records import (
    TASKS,
    Ability,
    Answer,
    Attribution,
    Character,
    Dialogue,
    EvalQuestion,
    Example,
    Judgement,
    ScoreExamples,
    Turn,
)
from tasks.training.rows.encoding import EncodedExample, ExampleEncoder
from tasks.training.rows.packing import Document, pack_documents
from tasks.training.rows.templates import choose_format
from tests.contracts.golden import (
    Golden,
    digest_records,
    find_version,
    hold_to_version,
    make_rows,
)

GOLDEN = {
    "export": Golden(1, "e941e4e09ac55849a38612c8360efab3"),
    "encoding": Golden(1, "c258077a0742a38322b5c6857c0f1a1a"),
    "question_settings": Golden(2, "5cc9c1e27d435241d805f8580aa1fbb8"),
    "question_texts": Golden(2, "47672b0414a6d19515c8b7fbcd010d2e"),
    "questions": Golden(2, "321bc3f1311ea5b4bccdae3e8dcb84ec"),
    "answers": Golden(2, "b069f798529092f54dd4918a0035856c"),
    "examples": Golden(2, "62c2e18a233319709f6a3a79c78e3972"),
    "judgements": Golden(3, "8d4c03fb7b1cc4e93fc0ac08460389e8"),
    "anchors": Golden(1, "1cfcb1add16e2e5a6240b1898ab58a76"),
    "calibration": Golden(3, "437e843c84ac5a29517f1814906a0475"),
    "probe": Golden(1, "b1c7c078a177414d4b7b0bfb3f6c4de4"),
    "attribution": Golden(1, "b753b24a1f7669fdddddafbcb444bd59"),
}
MEASURES = {
    "ability": "5efe05976863",
    "ai_admissions": "827450dbc056",
    "attribution": "b3dad15eddc5",
    "attribution_hard": "8ee8deeffbf7",
    "distinct_1": "884ebbf42cf9",
    "distinct_2": "dbfd71bb9d5c",
    "distinct_3": "2a845d5fca94",
    "loops": "d217899225ec",
    "opening_entropy": "dfc2764995b6",
    "opening_share": "a7b2bbf5d62c",
    "persona_score": "7f96f14480a4",
    "profile_gain": "b1561892ffdc",
    "profile_margin": "85f103d82deb",
    "refusals": "069a8c55bb5d",
    "score": "ca54688b6d77",
    "self_similarity": "8c57e20d517a",
    "stops": "45c9f18b1ee1",
    "words": "b83878c137dc",
}
COMPARISONS = {
    "ability": "4663bc45ac5a",
    "ai_admissions": "4fae09dee8d7",
    "attribution": "d33f2fa92a27",
    "attribution_hard": "6cb328d836f6",
    "loops": "4377a65fcc48",
    "persona_score": "ff7b92eb5661",
    "profile_gain": "b46fa014a0b6",
    "profile_margin": "e7cec0a80cc9",
    "refusals": "ee60be3df8fc",
    "score": "8fa728e40039",
    "stops": "70f3db3241ea",
    "words": "8c8bdfc10318",
}

BASE = "configs/demo/base"
DIGITS = 6
"""Sums of the same numbers may differ beyond, from one processor to the next."""

PERSONAS = [
    f"A {adjective} {trade} from {town} who paints boats."
    for adjective in ("quiet", "loud")
    for trade, town in (("baker", "Cork"), ("sailor", "Lima"), ("doctor", "Oslo"))
]
QUESTIONS = ("Why is bread brown?", "How do I tie a knot?", "What is a tide?")
SYSTEM = PromptTemplate(
    "[system]\n{{ persona }}{% if profile %}\n{{ profile }}{% endif %}", "system"
)


def list_characters() -> list[Character]:
    return [
        Character(
            f"c{number}", f"p{number}", persona, f"Ada {letter}", str(30 + number), "Female",
            "Asian", "Cork", "Tall.", "She kept an oven for years.", "Warm.",
        )
        for number, (letter, persona) in enumerate(zip("ABCDEF", PERSONAS, strict=True))
    ]  # fmt: skip


def list_examples() -> list[Example]:
    return [
        Example(
            key=content_key("example", str(number), question),
            dialogue_key=content_key("dialogue", str(number), question),
            character_key=f"c{number}",
            with_profile=number % 2 == 0,
            context_turns=0,
            split="validation" if number else "train",
            messages=(
                Turn("system", f"{persona}\nName: Ada"),
                Turn("user", question),
                Turn("assistant", "" if number == 5 else f"Heat, rope and moon, {number} times."),
            ),
        )
        for number, persona in enumerate(PERSONAS)
        for question in QUESTIONS[: 1 + number % 3]
    ]


def make_frame(record: type[Any], rows: Sequence[Any]) -> pl.DataFrame:
    frame = pl.from_arrow(to_table(record, rows))
    assert isinstance(frame, pl.DataFrame)
    return frame


def bind_prompts() -> JudgingPrompts:
    rubric = Rubric(task="voice", description="Is it heard?", anchors=("1", "2", "3", "4", "5"))
    shown = "{{ description }} {{ anchors }} {{ question }} {{ structured }}"
    return bind_rubrics(
        dict.fromkeys(TASKS, rubric),
        verdict=PromptTemplate(f"[user]\nRate {shown} {{{{ answer }}}} {{{{ examples }}}}", "v"),
        examples=PromptTemplate(f"[user]\nWrite {shown} {{{{ score }}}}", "e"),
        structured=True,
    )


def choose_settings() -> str:
    prompt = PromptTemplate("[user]\n{{ persona }} {{ settings }} {{ count }}", "t")
    chooser = SettingsChooser(prompt, ("Beach", "Park", "Office", "Harbour"), 3, structured=True)
    rows = [SettingsInput(content_key("s", text), f"p{n}", text) for n, text in enumerate(PERSONAS)]
    return make_rows(chooser, rows)


def write_questions() -> str:
    prompt = PromptTemplate("[user]\n{{ task }} {{ persona }} {{ count }} {{ held }}", "t")
    writer = QuestionWriter(prompt, 2, 3, structured=True, language=None, must_ask=False)
    rows = [
        QuestionsInput(content_key("q", text), f"p{number}", text, task, ("Beach", "Park"))
        for number, text in enumerate(PERSONAS)
        for task in TASKS[:3]
    ]
    return make_rows(writer, rows)


def gather_questions() -> str:
    chosen = take_held_out(list_examples(), list_characters(), personas=4, per_persona=2, seed=5)
    assert chosen.questions and chosen.rejected
    return digest_records(chosen.questions, chosen.references, chosen.rejected)


def answer_questions() -> str:
    rows = [
        AnswerInput(content_key("a", text), "q", f"p{n}", text, "Name: Ada", TASKS[n % 5], question)
        for n, text in enumerate(PERSONAS)
        for question in QUESTIONS
    ]
    return make_rows(Answerer(SYSTEM, "tuned"), rows, both_fates=False)


def write_score_examples() -> str:
    rows = [
        ExamplesInput(content_key("e", text), f"q{n}", text, "Name: Ada", TASKS[n % 5], question)
        for n, text in enumerate(PERSONAS)
        for question in QUESTIONS
    ]
    together = ExampleWriter(bind_prompts(), "judge", True, False, 200)
    alone = ExampleWriter(bind_prompts(), "judge", False, True, 400)
    return hash_json([make_rows(together, rows), make_rows(alone, rows)])


def judge_answers() -> str:
    rows = [
        JudgementInput(
            content_key("j", text, question), f"a{n}", f"q{n}", f"p{n}", text, "Name: Ada",
            TASKS[n % 5], "tuned", question, f"Ah, {question}", ("one", "two"),
        )
        for n, text in enumerate(PERSONAS)
        for question in QUESTIONS
    ]  # fmt: skip
    judge = Judge(bind_prompts(), "judge", structured=True, max_justification_chars=200)
    return make_rows(judge, rows, both_fates=False)


def judge_own_examples() -> str:
    examples = [
        ScoreExamples(f"e{n}", f"q{n}", TASKS[n % 5], "judge", tuple("abcde"))
        for n in range(len(PERSONAS))
    ]
    asked = [
        EvalQuestion(f"q{n}", "generated", f"p{n}", text, TASKS[n % 5], QUESTIONS[n % 3], "")
        for n, text in enumerate(PERSONAS)
    ]
    chosen = choose_anchors(examples, 4)
    replies = list(list_replies(chosen, asked))
    given = [
        Judgement(
            f"j{n}", reply.key, reply.question_key, reply.persona_key, reply.task, reply.model,
            "judge", None if n == 7 else float(1 + (n * 3) % 5), "",
        )
        for n, reply in enumerate(replies)
    ]  # fmt: skip
    return digest_records(replies, [measure_order("judge", examples, given)])


def calibrate() -> str:
    labelled = [
        Labelled(
            f"k{n}", "A baker.", "", TASKS[n % 5], "Why?", "Heat.", float(1 + n % 5), n % 2 > 0
        )
        for n in range(10)
    ]
    given = [
        Judgement(
            f"j{n}", f"k{n}", "q", "p", TASKS[n % 5], "known", "judge",
            None if n == 4 else float(1 + (n * 3) % 5), "",
        )
        for n in range(9)
    ]  # fmt: skip
    return digest_records([measure_calibration("judge", "file", labelled, given)])


def probe_judge() -> str:
    rubric = Rubric(task="voice", description="Is it heard?", anchors=("a", "b", "c", "d", "e"))
    lists = "{{ question }}{% for anchor in anchors %}\n{{ loop.index }}: {{ anchor }}{% endfor %}"
    prompts = bind_rubrics(
        dict.fromkeys(TASKS, rubric),
        verdict=PromptTemplate(f"[user]\n{lists}\n{{{{ answer }}}}", "v"),
        examples=PromptTemplate(f"[user]\n{lists}\n{{{{ score }}}}", "e"),
        structured=False,
    )
    turned = turn_rubrics(prompts)
    assert turned is not None
    labelled = [
        Labelled(f"k{n}", text, "", TASKS[n % 5], question, f"Ah, {question}", 3.0, None)
        for n, text in enumerate(PERSONAS)
        for question in QUESTIONS
    ]
    shown = {"padded": (prompts, pad_answers(labelled)), "turned": (turned, labelled)}
    made = {}
    for name, (asked, rows) in shown.items():
        planned = plan_calibration("recipe", rows)
        inputs = planned.select([field.name for field in fields(JudgementInput)])
        judge = Judge(asked, "judge", structured=False, max_justification_chars=200)
        given = [JudgementInput(**row) for row in inputs.iter_rows(named=True)]
        made[name] = make_rows(judge, given, both_fates=False)
    return hash_json(made)


def attribute_answers() -> str:
    plan = attribution.plan_attribution(
        list_examples(), list_characters(), SYSTEM, recipe="recipe", candidates=3, per_character=2
    )
    assert plan.trials and plan.left_out

    def score(model: object, texts: Sequence[Any], **_: object) -> list[float]:
        return [-float(sum(text.ids) % 97) for text in texts]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attribution, "score_texts", score)
        patch.setattr(attribution, "load_model", lambda model, revision: None)
        patch.setattr(attribution, "find_context", lambda model: 120)
        found = attribution.score_plan(plan, BASE, name="base")
    assert {type(row).__name__ for row in found} >= {"Attribution"}
    return hash_json([asdict(plan), [round_floats(to_plain(row)) for row in found]])


def encode_examples() -> str:
    tokenizer = load_tokenizer(BASE)
    encoder = ExampleEncoder(tokenizer, choose_format(tokenizer), max_length=60)
    encoded = encoder.encode(list_examples())
    good = [item for item in encoded if isinstance(item, EncodedExample)]
    assert 0 < len(good) < len(encoded)
    documents = [Document(item.key, len(item.input_ids), place) for place, item in enumerate(good)]
    packed = pack_documents(documents, max_length=100, seed=5)
    return hash_json(
        [
            [[item.key, item.input_ids.tolist(), item.trained.tolist()] for item in good],
            [to_plain(item.rejection) for item in encoded if not isinstance(item, EncodedExample)],
            [[asdict(document) for document in row] for row in packed.rows],
        ]
    )


def export_rows() -> str:
    dialogues = [
        Dialogue(
            key=content_key("dialogue", example.key),
            strategy="rewrite",
            character_key=example.character_key,
            persona_key=f"p{example.character_key[1:]}",
            instruction_key="q1",
            corpus="lima",
            question_id="1",
            context_turns=0,
            turns=example.messages[1:],
            user_turns_restored=False,
            truncated=False,
            teacher="scripted",
        )
        for example in list_examples()
    ]
    characters = make_character_rows(make_frame(Character, list_characters()))
    known = list_cast(characters)
    examples = make_frame(Example, list_examples())
    return digest_records(
        characters.values(),
        revive(DialogueRow, make_dialogue_rows(make_frame(Dialogue, dialogues), known)),
        *(
            revive(SftRow, make_sft_rows(examples.filter(split=split), known))
            for split in ("train", "validation")
        ),
    )


KINDS: dict[str, Callable[[], str]] = {
    "export": export_rows,
    "encoding": encode_examples,
    "question_settings": choose_settings,
    "question_texts": write_questions,
    "questions": gather_questions,
    "answers": answer_questions,
    "examples": write_score_examples,
    "judgements": judge_answers,
    "anchors": judge_own_examples,
    "calibration": calibrate,
    "probe": probe_judge,
    "attribution": attribute_answers,
}


@pytest.mark.parametrize("kind", KINDS)
def test_output_moves_only_with_the_version(kind: str) -> None:
    hold_to_version(kind, GOLDEN[kind], find_version(kind), KINDS[kind]())


def gather_evidence() -> Evidence:
    """Make all that two models can be measured by: two judges, likelihoods, abilities."""
    models, judges = ("base", "tuned"), ("judge", "second")
    answers: dict[str, list[Answer]] = {model: [] for model in models}
    judgements = []
    said = ("Ah, the tide!", "As an AI language model, I cannot say.", "I'm sorry, I cannot help.")
    for number, persona in enumerate(PERSONAS):
        for place, question in enumerate(QUESTIONS):
            for step, model in enumerate(models):
                draw = (7 * number + 3 * place + 5 * step) % 11
                task, unit = TASKS[place], f"q{number}-{place}"
                answers[model].append(
                    Answer(
                        f"a{model}{unit}", unit, f"p{number}", persona, task, model, question,
                        f"{said[draw % 3]} It is {draw} and {draw * place}.", draw == 10,
                    )
                )  # fmt: skip
                judgements += [
                    Judgement(
                        f"j{judge}{model}{unit}", f"a{model}{unit}", unit, f"p{number}", task,
                        model, judge,
                        None if draw == 0 else float(1 + (draw + shift) % 5), "",
                    )
                    for shift, judge in enumerate(judges)
                ]  # fmt: skip
    attributions = {
        model: [
            Attribution(
                f"t{model}{n}", f"e{n}", f"c{n % 4}", f"p{n % 4}", model, 10 + n, -20.0 - n - step,
                -30.0, ("c8",), (-25.0,), float((n + step) % 2), ("c9",), (-24.0,),
                float((n * 3 + step) % 2), 0.1 * (n % 5 + step), 0.05 * n,
            )
            for n in range(12)
        ]
        for step, model in enumerate(models)
    }  # fmt: skip
    abilities = tuple(
        Ability(f"b{model}", model, "arithmetic", "acc", 0.4 + 0.1 * step, 0.05, 100)
        for step, model in enumerate(models)
    )
    return Evidence(models, judges, tuple(judgements), answers, attributions, abilities)


def round_floats(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS) + 0.0
    if isinstance(value, Mapping):
        return {key: round_floats(item) for key, item in value.items()}
    return [round_floats(item) for item in value] if isinstance(value, list | tuple) else value


def digest_by_name(rows: Sequence[Any]) -> dict[str, str]:
    """Return a digest of the rows of each measure, whatever models and judges they are of."""
    groups: dict[str, list[Any]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(round_floats(to_plain(row)))
    return {name: hash_json(group)[:12] for name, group in sorted(groups.items())}


def test_every_measure_counts_as_it_did() -> None:
    """Raise the version of ``Scores`` with what is written here: old tables lie in stores."""
    assert find_version("scores") == 3
    evidence = gather_evidence()
    measures = measure_models(evidence, seed=5)
    comparisons = compare_models(evidence)
    assert digest_by_name(sorted(measures, key=lambda item: item.key)) == MEASURES
    assert digest_by_name(sorted(comparisons, key=lambda item: item.key)) == COMPARISONS
    headline = choose_headline(measures, comparisons)
    assert {name.rsplit("_", 1)[0] for name in headline} >= {
        "persona_score", "attribution", "profile_gain",
    }  # fmt: skip
