"""Offers the nodes of evaluation: questions, answers, verdicts, likelihoods, the score table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from infra.context import RunContext, read_chat_template
from infra.generation.cluster_jobs import run_on_cluster
from infra.generation.stage_runner import run_row_stage
from infra.orchestration.tasks import node_task
from infra.paths import require_path
from infra.store.manifests import NodeRef, NodeSpec, PartRef, write_table
from infra.store.reading import read_accepted
from infra.store.schema import to_table
from infra.store.set_store import write_set, write_set_manifest
from tasks.evaluation.answering import Answerer, require_system_prompt
from tasks.evaluation.config import (
    AnswerConfig,
    AttributionConfig,
    EvaluationConfig,
    JudgeConfig,
    QuestionConfig,
    ScoreExampleConfig,
    SettingsConfig,
    WritingConfig,
)
from tasks.evaluation.judging.calibration import plan_calibration, read_labelled
from tasks.evaluation.judging.judging import ExampleWriter, Judge
from tasks.evaluation.measures.abilities import AbilitiesConfig
from tasks.evaluation.measures.attribution import plan_attribution, score_plan
from tasks.evaluation.measures.general_tasks import measure_model
from tasks.evaluation.measures.score_table import Inputs, make_score_table
from tasks.evaluation.naming import load_judging, read_prompt
from tasks.evaluation.planning import (
    plan_answers,
    plan_examples,
    plan_judgements,
    plan_question_rows,
)
from tasks.evaluation.questions.sets import Sources, collect_questions
from tasks.evaluation.questions.writing import (
    ChosenSettings,
    QuestionWriter,
    SettingsChooser,
    WrittenQuestions,
    load_settings,
)
from tasks.evaluation.subjects import choose_subjects, find_profiles, open_model
from tasks.persona_rows import plan_persona_rows
from tasks.records import (
    Ability,
    Answer,
    Attribution,
    Character,
    EvalQuestion,
    Example,
    HeldOutAnswer,
    Rejection,
    ScoreExamples,
)


@node_task("question_settings")
def choose_settings(
    context: RunContext,
    node: NodeSpec,
    config: QuestionConfig,
    settings: SettingsConfig,
    examples: NodeRef,
    characters: NodeRef,
) -> NodeRef:
    """Choose the everyday settings in which each persona is to be tested."""
    listed = load_settings(require_path(settings.settings, "evaluation.questions.settings"))
    maker = SettingsChooser(
        read_prompt(settings.prompt), listed, settings.count, settings.structured
    )
    planned = plan_persona_rows(
        node.recipe, choose_subjects(context.storage, config, examples, characters)
    )
    stage = context.row_stage(
        node, model=settings.model, maker=maker, planned=planned, sampling=settings
    )
    return run_row_stage(stage, context.runner_context())


@node_task("question_texts")
def write_questions(
    context: RunContext,
    node: NodeSpec,
    config: QuestionConfig,
    writing: WritingConfig,
    settings: NodeRef | None,
    examples: NodeRef,
    characters: NodeRef,
) -> NodeRef:
    """Write each task's questions for each persona, in its settings where it has any."""
    if settings is None:
        subjects = choose_subjects(context.storage, config, examples, characters)
        rows = subjects.select("key", "persona").rows()
        chosen = [ChosenSettings(key, key, text, ()) for key, text in rows]
    else:
        chosen = read_accepted(context.storage, settings, ChosenSettings)
    maker = QuestionWriter(
        prompt=read_prompt(writing.prompt),
        count=writing.count,
        rounds=writing.rounds,
        structured=writing.structured and writing.format == "json",
        language=writing.language,
        as_lines=writing.format == "lines",
        must_ask=writing.must_ask,
    )
    planned = plan_question_rows(node.recipe, chosen)
    stage = context.row_stage(
        node, model=writing.model, maker=maker, planned=planned, sampling=writing
    )
    return run_row_stage(stage, context.runner_context())


@node_task("questions")
def gather_questions(
    context: RunContext,
    node: NodeSpec,
    config: QuestionConfig,
    texts: NodeRef | None,
    examples: NodeRef | None,
    characters: NodeRef | None,
) -> NodeRef:
    """Gather the questions that every model answers, whatever suite they are of."""
    began, storage = time.monotonic(), context.storage
    found = collect_questions(
        config,
        Sources(
            written=tuple(read_accepted(storage, texts, WrittenQuestions)) if texts else (),
            examples=tuple(read_accepted(storage, examples, Example)) if examples else (),
            characters=tuple(read_accepted(storage, characters, Character)) if characters else (),
        ),
    )
    files: list[PartRef] = []
    if found.references:
        path = f"{node.folder}/part-{node.fingerprint}-references.parquet"
        table = to_table(HeldOutAnswer, found.references)
        files.append(write_table(storage, path, table, holds="references"))
    return write_set(
        storage,
        node,
        found.questions,
        found.rejected,
        records=(EvalQuestion, Rejection),
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        files=files,
    )


@node_task("answers")
def answer_questions(
    context: RunContext,
    node: NodeSpec,
    role: str,
    config: AnswerConfig,
    questions: NodeRef,
    characters: NodeRef | None,
    training: NodeRef | None,
    like: str | None,
) -> NodeRef:
    """Let one model answer every question in character."""
    open_model(context, role, training, like)
    maker = Answerer(require_system_prompt(read_prompt(config.prompt)), role)
    shown = characters if config.with_profile else None
    planned = plan_answers(
        node.recipe,
        read_accepted(context.storage, questions, EvalQuestion),
        find_profiles(context.storage, shown),
    )
    stage = context.row_stage(node, model=role, maker=maker, planned=planned, sampling=config)
    return run_row_stage(stage, context.runner_context())


@node_task("examples")
def write_score_examples(
    context: RunContext,
    node: NodeSpec,
    judge: JudgeConfig,
    config: QuestionConfig,
    questions: NodeRef,
    characters: NodeRef | None,
) -> NodeRef:
    """Let one judge write a reply for each score to every question, once for all models."""
    wanted = judge.examples or ScoreExampleConfig()
    maker = ExampleWriter(
        prompts=load_judging(judge, config),
        judge=judge.model,
        structured=wanted.structured and not wanted.one_by_one,
        one_by_one=wanted.one_by_one,
        max_chars=wanted.max_chars,
    )
    planned = plan_examples(
        node.recipe,
        read_accepted(context.storage, questions, EvalQuestion),
        find_profiles(context.storage, characters if judge.with_profile else None),
    )
    stage = context.row_stage(
        node, model=judge.model, maker=maker, planned=planned, sampling=wanted
    )
    return run_row_stage(stage, context.runner_context())


@node_task("judgements")
def judge_answers(
    context: RunContext,
    node: NodeSpec,
    judge: JudgeConfig,
    config: QuestionConfig,
    answers: NodeRef,
    examples: NodeRef | None,
    characters: NodeRef | None,
) -> NodeRef:
    """Let one judge rate one model's answers; what failed to be answered is not judged."""
    planned = plan_judgements(
        node.recipe,
        read_accepted(context.storage, answers, Answer),
        read_accepted(context.storage, examples, ScoreExamples) if examples else (),
        find_profiles(context.storage, characters if judge.with_profile else None),
    )
    stage = context.row_stage(
        node, model=judge.model, maker=_make_judge(judge, config), planned=planned, sampling=judge
    )
    return run_row_stage(stage, context.runner_context())


@node_task("calibration")
def calibrate_judge(
    context: RunContext, node: NodeSpec, judge: JudgeConfig, config: QuestionConfig
) -> NodeRef:
    """Let one judge rate rows whose score is known, without example replies."""
    labelled = read_labelled(str(judge.calibration))
    stage = context.row_stage(
        node,
        model=judge.model,
        maker=_make_judge(judge, config),
        planned=plan_calibration(node.recipe, labelled),
        sampling=judge,
    )
    return run_row_stage(stage, context.runner_context())


@node_task("attribution")
def attribute_answers(
    context: RunContext,
    node: NodeSpec,
    role: str,
    config: AttributionConfig,
    prompt: str,
    examples: NodeRef,
    characters: NodeRef,
    training: NodeRef | None,
    like: str | None,
) -> NodeRef:
    """Attribute held-out answers to characters by one model's likelihoods."""
    began, storage = time.monotonic(), context.storage
    model = open_model(context, role, training, like)
    plan = plan_attribution(
        read_accepted(storage, examples, Example),
        read_accepted(storage, characters, Character),
        read_prompt(prompt),
        recipe=node.recipe,
        candidates=config.candidates,
        per_character=config.per_character,
        max_examples=config.max_examples,
        seed=config.seed,
    )
    found = run_on_cluster(
        context.pool,
        partial(score_plan, name=role, template=read_chat_template(model)),
        plan,
        model.model,
        model.revision,
        stage=node.stage,
        listener=context.listener,
        stop=context.stop,
    )
    return write_set(
        storage,
        node,
        [row for row in found if isinstance(row, Attribution)],
        [*plan.left_out, *(row for row in found if isinstance(row, Rejection))],
        records=(Attribution, Rejection),
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
    )


@node_task("abilities")
def measure_general_abilities(
    context: RunContext,
    node: NodeSpec,
    role: str,
    config: AbilitiesConfig,
    training: NodeRef | None,
    like: str | None,
) -> NodeRef:
    """Run general tasks on one model."""
    began = time.monotonic()
    model = open_model(context, role, training, like)
    found = run_on_cluster(
        context.pool,
        measure_model,
        model.model,
        model.revision,
        config,
        role,
        stage=node.stage,
        listener=context.listener,
        stop=context.stop,
    )
    return write_set(
        context.storage,
        node,
        found,
        (),
        records=(Ability, Rejection),
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
    )


@node_task("scores")
def score_models(
    context: RunContext, node: NodeSpec, config: EvaluationConfig, found: Sequence[NodeRef]
) -> NodeRef:
    """Measure and compare the models, and say how good their judges are."""
    began, storage = time.monotonic(), context.storage
    table = make_score_table(config, Inputs.read(storage, config, found))
    base = f"{node.folder}/part-{node.fingerprint}"
    parts = [
        write_table(storage, f"{base}-{holds}.parquet", to_table(record, rows), holds=holds)
        for holds, record, rows in table.list_parts()
    ]
    return write_set_manifest(
        storage,
        node,
        parts,
        accepted=len(table.measures),
        reasons={},
        provenance=context.provenance(),
        seconds=time.monotonic() - began,
        facts={"headline": table.headline, "models": list(config.models)},
    )


def _make_judge(judge: JudgeConfig, config: QuestionConfig) -> Judge:
    return Judge(
        prompts=load_judging(judge, config),
        judge=judge.model,
        structured=judge.structured,
        max_justification_chars=judge.max_justification_chars,
    )
