"""Writes small finished runs, with every node from personas to attribution, as stages do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import polars as pl
import yaml

from infra.store.fingerprints import content_key, row_key
from infra.store.manifests import (
    Counts,
    Manifest,
    NodeRef,
    NodeSpec,
    Usage,
    write_manifest,
    write_table,
)
from infra.store.row_store import (
    Envelope,
    MadeRow,
    commit_chunk,
    compact_chunks,
    encode_rows,
    write_members,
)
from infra.store.schema import to_table
from infra.store.set_store import write_set
from infra.store.storage import Storage
from tasks.records import (
    Answer,
    Attribution,
    Character,
    Dialogue,
    EvalQuestion,
    EvalTask,
    Example,
    HeldOutAnswer,
    Instruction,
    Judgement,
    Persona,
    Rejection,
    ScoreExamples,
    Turn,
)

R = TypeVar("R")

BAKER, SAILOR, COOK = (
    Persona(content_key("persona", text), text, "people.jsonl:1")
    for text in ("A baker from Cork.", "A sailor from Hull.", "A cook from Lyon.")
)
ASKED = Instruction(
    content_key("instruction", "Why is bread brown?"),
    "lima",
    "1",
    0,
    (Turn("user", "Why is bread brown?"), Turn("assistant", "Heat.")),
)
PLAYED = (Turn("user", "Why is bread brown?"), Turn("assistant", "'Tis the oven, lad."))


def name_node(stage: str, *upstream: NodeSpec, identity: dict[str, Any] | None = None) -> NodeSpec:
    return NodeSpec.build(stage, 1, identity=identity or {}, selection={}, upstream=upstream)


def write_whole(
    storage: Storage,
    node: NodeSpec,
    record: type[R],
    rows: Iterable[R],
    rejected: Iterable[Rejection] = (),
    references: Sequence[HeldOutAnswer] = (),
) -> NodeRef:
    path = f"{node.folder}/part-{node.fingerprint}-references.parquet"
    table = to_table(HeldOutAnswer, references)
    files = [write_table(storage, path, table, "references")] if references else []
    return write_set(
        storage,
        node,
        rows,
        rejected,
        record=record,
        provenance={},
        seconds=0.0,
        files=files,
        may_be_empty=True,
    )


def read_parents(row: object) -> tuple[str, ...]:
    """Return the keys of the nearest rows that a row's columns name."""
    for columns in (("character_key", "instruction_key"), ("answer_key",), ("question_key",)):
        if all(hasattr(row, column) for column in columns):
            return tuple(getattr(row, column) for column in columns)
    return (getattr(row, "persona_key", ""),)


def write_rows(
    storage: Storage,
    node: NodeSpec,
    record: type[Any],
    rows: Sequence[Any],
    rejected: Sequence[str] = (),
    parents: Mapping[str, tuple[str, ...]] | None = None,
) -> NodeRef:
    """Write a row stage's node; ``parents`` by row key, where a row's own columns do not tell."""
    of = parents or {}
    made = [
        MadeRow(
            Envelope(
                row.key, "d", "accepted", "", "", 1, 1, 0, 0, 0, of.get(row.key, read_parents(row))
            ),
            row,
        )
        for row in rows
    ]
    made += [
        MadeRow(
            Envelope(key, "d", "rejected", "empty", "nothing said", 1, 1, 0, 0, 0, of.get(key, ())),
            None,
        )
        for key in rejected
    ]
    commit_chunk(storage, node.folder, encode_rows(record, made))
    keys = [row.envelope.key for row in made]
    members = write_members(
        storage,
        f"{node.folder}/{node.fingerprint}.members.parquet",
        pl.DataFrame(
            {"key": keys, "parents_digest": ["d"] * len(keys)},
            schema={"key": pl.String, "parents_digest": pl.String},
        ),
    )
    manifest = Manifest(
        stage=node.stage,
        recipe=node.recipe,
        fingerprint=node.fingerprint,
        upstream=dict(node.upstream),
        identity=dict(node.identity),
        selection=dict(node.selection),
        parts=tuple(compact_chunks(storage, node.folder)),
        members=members,
        counts=Counts(
            planned=len(made), accepted=len(rows), rejected=len(rejected), made=len(made), reused=0
        ),
        reasons={},
        usage=Usage(),
        provenance={},
    )
    return write_manifest(storage, manifest)


def make_character(recipe: str, persona: Persona, name: str) -> Character:
    return Character(
        key=row_key(recipe, [persona.key]),
        persona_key=persona.key,
        persona=persona.persona,
        name=name,
        age="44",
        gender="Female",
        race="White",
        birth_place="Cork",
        appearance="Tall",
        general_experience="Ovens",
        personality="Dry",
    )


def make_question(
    persona: Persona, text: str, task: EvalTask = "linguistic_habits", suite: str = "generated"
) -> EvalQuestion:
    key = content_key("evaluation question", persona.key, task, text)
    return EvalQuestion(key, suite, persona.key, persona.persona, task, text, "", (persona.key,))


def make_answer(recipe: str, question: EvalQuestion, model: str, text: str) -> Answer:
    return Answer(
        key=row_key(recipe, [question.key]),
        question_key=question.key,
        persona_key=question.persona_key,
        persona=question.persona,
        task=question.task,
        model=model,
        question=question.question,
        answer=text,
        truncated=False,
    )


def make_judgement(recipe: str, answer: Answer, judge: str, score: float | None) -> Judgement:
    return Judgement(
        key=row_key(recipe, [answer.key]),
        answer_key=answer.key,
        question_key=answer.question_key,
        persona_key=answer.persona_key,
        task=answer.task,
        model=answer.model,
        judge=judge,
        score=score,
        justification="in voice",
    )


def make_attribution(
    recipe: str,
    example_key: str,
    persona_key: str,
    model: str,
    credit: float,
    others: tuple[str, ...] = ("other",),
) -> Attribution:
    return Attribution(
        key=row_key(recipe, [example_key]),
        example_key=example_key,
        character_key="",
        persona_key=persona_key,
        model=model,
        tokens=5,
        loglikelihood=-1.0,
        without_profile=-2.0,
        random_keys=others,
        random_loglikelihoods=tuple(-3.0 for _ in others),
        random_credit=credit,
        hard_keys=(),
        hard_loglikelihoods=(),
        hard_credit=1.0,
        gain=0.2,
        margin=0.4,
    )


class World:
    """Holds one run with every node, and the rows that tests look for.

    The baker is held out: her dialogue gave a question and its reference. The sailor's profile was
    rejected, and so was the cook's dialogue.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.done: dict[str, NodeRef] = {}
        personas = name_node("personas")
        self._keep(write_whole(storage, personas, Persona, [BAKER, SAILOR, COOK]))
        instructions = name_node("instructions")
        self._keep(write_whole(storage, instructions, Instruction, [ASKED]))
        characters = name_node("characters", personas)
        self.baker = make_character(characters.recipe, BAKER, "Ada")
        self.cook = make_character(characters.recipe, COOK, "Luc")
        self.lost_profile = row_key(characters.recipe, [SAILOR.key])
        cast = [self.baker, self.cook]
        lost: dict[str, tuple[str, ...]] = {self.lost_profile: (SAILOR.key,)}
        self._keep(write_rows(storage, characters, Character, cast, list(lost), lost))
        dialogues = name_node("dialogues_generate", characters, instructions)
        self.dialogue = self._make_dialogue(dialogues.recipe)
        self.lost_dialogue = row_key(dialogues.recipe, [self.cook.key, ASKED.key])
        lost = {self.lost_dialogue: (self.cook.key, ASKED.key)}
        self._keep(write_rows(storage, dialogues, Dialogue, [self.dialogue], list(lost), lost))
        curation = name_node("curation", dialogues, characters)
        self.example = Example(
            key=row_key(curation.recipe, [self.dialogue.key]),
            dialogue_key=self.dialogue.key,
            character_key=self.baker.key,
            split="validation",
            with_profile=True,
            context_turns=0,
            messages=(Turn("system", "You are Ada."), *PLAYED),
        )
        self._keep(write_whole(storage, curation, Example, [self.example]))
        self._evaluate(personas, curation)

    def _evaluate(self, personas: NodeSpec, curation: NodeSpec) -> None:
        questions = name_node("questions", personas, curation)
        self.held_out = replace(
            make_question(BAKER, "Why is bread brown?", suite="held_out"),
            parents=(self.dialogue.key,),
        )
        self.written = make_question(COOK, "What do you say to a <b>guest</b>?")
        self.reference = HeldOutAnswer(
            key=row_key("reference", [self.held_out.key]),
            question_key=self.held_out.key,
            dialogue_key=self.dialogue.key,
            character_key=self.baker.key,
            persona_key=BAKER.key,
            profile=self.baker.profile,
            reference="'Tis the oven, lad.",
        )
        asked = [self.held_out, self.written]
        twin = Rejection(self.example.key, "duplicate", "asked twice", self.dialogue.key)
        self._keep(
            write_whole(self.storage, questions, EvalQuestion, asked, [twin], [self.reference])
        )
        examples = name_node("examples_judge", questions)
        self.score_examples = ScoreExamples(
            row_key(examples.recipe, [self.held_out.key]),
            self.held_out.key,
            self.held_out.task,
            "judge",
            ("Dunno.", "Heat.", "Heat, sir.", "The oven.", "'Tis the oven."),
        )
        self._keep(write_rows(self.storage, examples, ScoreExamples, [self.score_examples]))
        self.answers: dict[str, list[Answer]] = {}
        self.judgements: dict[str, list[Judgement]] = {}
        for model in ("base", "tuned"):
            node = name_node(f"answers_{model}", questions)
            self.answers[model] = [
                make_answer(node.recipe, question, model, f"{model} says {question.question}")
                for question in asked
            ]
            self._keep(write_rows(self.storage, node, Answer, self.answers[model]))
            judged = name_node(f"judgements_judge_{model}", node, examples)
            self.judgements[model] = [
                make_judgement(judged.recipe, answer, "judge", 4.5 if place else None)
                for place, answer in enumerate(self.answers[model])
            ]
            shown = self.judgements[model][0]
            seen = {shown.key: (shown.answer_key, self.score_examples.key)}
            self._keep(
                write_rows(self.storage, judged, Judgement, self.judgements[model], parents=seen)
            )
        scored = name_node("attribution_tuned", curation)
        self.attribution = make_attribution(
            scored.recipe, self.example.key, BAKER.key, "tuned", 0.5
        )
        self._keep(write_whole(self.storage, scored, Attribution, [self.attribution]))

    def _make_dialogue(self, recipe: str) -> Dialogue:
        return Dialogue(
            key=row_key(recipe, [self.baker.key, ASKED.key]),
            strategy="generate",
            character_key=self.baker.key,
            persona_key=BAKER.key,
            instruction_key=ASKED.key,
            corpus="lima",
            question_id="1",
            context_turns=0,
            turns=PLAYED,
            user_turns_restored=False,
            truncated=False,
            teacher="scripted",
        )

    def _keep(self, reference: NodeRef) -> None:
        self.done[reference.stage] = reference


def write_run(
    storage: Storage,
    name: str,
    references: Iterable[NodeRef],
    models: dict[str, str] | None = None,
) -> str:
    """Write a run's folder as the pipeline does, and return its address."""
    manifests = {reference.stage: reference.manifest for reference in references}
    summary = {"run": name, "model": "the export", "manifests": manifests, "scores": {}}
    storage.write_bytes(f"runs/{name}/summary.json", json.dumps(summary).encode())
    config = {"models": {role: {"model": path} for role, path in (models or {}).items()}}
    storage.write_bytes(f"runs/{name}/config.yaml", yaml.safe_dump(config).encode())
    return storage.url(f"runs/{name}")


def evaluate_run(
    storage: Storage,
    name: str,
    scores: dict[str, list[float | None]],
    *,
    prompt: str = "Rate it.",
    examples: str | None = None,
    others: tuple[str, ...] = ("other",),
    first: int = 0,
) -> str:
    """Write a run of answers, verdicts and attribution; model by model, question by question.

    Each question is about a persona of its own, numbered from ``first``.
    """
    references = []
    upstream = []
    if examples is not None:
        upstream.append(name_node("examples_judge", identity={"prompt": examples}))
        references.append(write_rows(storage, upstream[0], ScoreExamples, []))
    for model, values in scores.items():
        people = [
            Persona(content_key("p", str(n)), f"Person {n}", "")
            for n in range(first, first + len(values))
        ]
        asked = [make_question(person, "Who are you?") for person in people]
        node = name_node(f"answers_{model}", identity={"run": name})
        answers = [make_answer(node.recipe, item, model, "It is me.") for item in asked]
        references.append(write_rows(storage, node, Answer, answers))
        judged = name_node(
            f"judgements_judge_{model}", node, *upstream, identity={"prompt": prompt}
        )
        verdicts = [
            make_judgement(judged.recipe, answer, "judge", value)
            for answer, value in zip(answers, values, strict=True)
        ]
        references.append(write_rows(storage, judged, Judgement, verdicts))
        scored = name_node(f"attribution_{model}", identity={"run": name})
        credits = [
            make_attribution(scored.recipe, item.key, item.key, model, (value or 0) / 5, others)
            for item, value in zip(people, values, strict=True)
        ]
        references.append(write_whole(storage, scored, Attribution, credits))
    return write_run(storage, name, references, {"base": "meta/base-model"})
