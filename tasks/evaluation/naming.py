"""Names the nodes of evaluation from what changes their rows, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.context import RunContext, model_identity
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import hash_json, hash_parts
from infra.store.manifests import NodeSpec
from tasks.evaluation.config import (
    TUNED,
    AttributionConfig,
    EvaluationConfig,
    JudgeConfig,
    QuestionConfig,
    ScoreExampleConfig,
    SettingsConfig,
    WritingConfig,
)
from tasks.evaluation.judging.calibration import digest_labelled
from tasks.evaluation.judging.people import digest_sheets
from tasks.evaluation.judging.rubrics import JudgingPrompts, bind_rubrics, load_rubrics
from tasks.evaluation.measures.abilities import AbilitiesConfig, digest_tasks
from tasks.evaluation.questions.personagym import digest_checkout, read_prompts

VERSIONS = {
    "question_settings": 2,
    "question_texts": 2,
    "questions": 2,
    "answers": 2,
    "examples": 2,
    "judgements": 3,
    "calibration": 3,
    "attribution": 1,
    "abilities": 1,
    "scores": 1,
}


@dataclass(frozen=True, slots=True)
class TunedModel:
    """What the tuned model is before it exists: the node that makes it, and its base.

    ``base`` is the role whose configuration it is run with, for it has the same shape.
    """

    training: NodeSpec
    base: str


def describe_settings(
    config: SettingsConfig,
    questions: QuestionConfig,
    context: RunContext,
    upstream: Sequence[NodeSpec],
) -> NodeSpec:
    """Name the choice of settings, one row a persona."""
    listed = require_path(config.settings, "evaluation.questions.settings.settings")
    return context.name_row_stage(
        "question_settings",
        VERSIONS["question_settings"],
        config,
        hash_parts(read_prompt(config.prompt).source, listed.read_text(encoding="utf-8")),
        upstream,
        **_choose_who(questions),
    )


def describe_texts(
    config: WritingConfig,
    questions: QuestionConfig,
    context: RunContext,
    upstream: Sequence[NodeSpec],
) -> NodeSpec:
    """Name the writing of questions, one row a persona and task."""
    return context.name_row_stage(
        "question_texts",
        VERSIONS["question_texts"],
        config,
        read_prompt(config.prompt).source,
        upstream,
        **_choose_who(questions),
    )


def describe_questions(config: QuestionConfig, upstream: Sequence[NodeSpec]) -> NodeSpec:
    """Name the set of questions that every model answers."""
    gym = config.suite == "personagym"
    return NodeSpec.build(
        "questions",
        VERSIONS["questions"],
        identity={"suite": config.suite},
        selection={
            **_choose_who(config),
            **({"light": config.light} if gym else {}),
            **({"per_persona": config.per_persona} if config.suite == "held_out" else {}),
        },
        upstream=upstream,
        sources=digest_checkout(Path(str(config.path))) if gym else (),
    )


def describe_answers(
    role: str,
    config: EvaluationConfig,
    context: RunContext,
    upstream: Sequence[NodeSpec],
    tuned: TunedModel | None,
) -> NodeSpec:
    """Name one model's answers; the tuned one is what its training node says."""
    own = context.models[tuned.base if tuned and role == TUNED else role]
    return NodeSpec.build(
        f"answers_{role}",
        VERSIONS["answers"],
        identity={
            **config.answers.knob_values("identity"),
            "prompt": read_prompt(config.answers.prompt).source,
            "model": identify_role(role, context, tuned),
        },
        selection={
            **config.answers.knob_values("selection"),
            **own.knob_values("selection"),
        },
        upstream=[*upstream, *([tuned.training] if tuned and role == TUNED else [])],
    )


def describe_examples(
    judge: JudgeConfig, questions: QuestionConfig, context: RunContext, upstream: Sequence[NodeSpec]
) -> NodeSpec:
    """Name one judge's score examples, which all models share."""
    config = judge.examples or ScoreExampleConfig()
    model = context.models[judge.model]
    return NodeSpec.build(
        f"examples_{judge.model}",
        VERSIONS["examples"],
        identity={
            **config.knob_values("identity"),
            "with_profile": judge.with_profile,
            "prompt": load_judging(judge, questions).example_source,
            "model": model_identity(model),
        },
        selection={**config.knob_values("selection"), **model.knob_values("selection")},
        upstream=upstream,
    )


def name_judgements(judge: str, role: str) -> str:
    """Return the name of the node that holds a judge's verdicts about a model."""
    return f"judgements_{judge}_{role}"


def describe_judgements(
    judge: JudgeConfig,
    role: str,
    questions: QuestionConfig,
    context: RunContext,
    upstream: Sequence[NodeSpec],
) -> NodeSpec:
    """Name one judge's verdicts on one model's answers."""
    return _describe_verdicts(
        name_judgements(judge.model, role), judge, questions, context, upstream
    )


def describe_calibration(
    judge: JudgeConfig, questions: QuestionConfig, context: RunContext
) -> NodeSpec:
    """Name one judge's verdicts on rows whose score is known."""
    path = require_path(str(judge.calibration), f"evaluation.judges.{judge.model}.calibration")
    sources = [digest_labelled(path)]
    return _describe_verdicts(
        f"calibration_{judge.model}", judge, questions, context, (), sources=sources
    )


def describe_attribution(
    role: str,
    config: AttributionConfig,
    prompt: str,
    context: RunContext,
    upstream: Sequence[NodeSpec],
    tuned: TunedModel | None,
) -> NodeSpec:
    """Name the attribution of held-out answers by one model."""
    return NodeSpec.build(
        f"attribution_{role}",
        VERSIONS["attribution"],
        identity={
            **config.knob_values("identity"),
            "prompt": read_prompt(prompt).source,
            "model": identify_role(role, context, tuned),
        },
        selection=config.knob_values("selection"),
        upstream=[*upstream, *([tuned.training] if tuned and role == TUNED else [])],
    )


def describe_abilities(
    role: str, config: AbilitiesConfig, context: RunContext, tuned: TunedModel | None
) -> NodeSpec:
    """Name the general abilities of one model."""
    return NodeSpec.build(
        f"abilities_{role}",
        VERSIONS["abilities"],
        identity={
            **config.knob_values("identity"),
            "model": identify_role(role, context, tuned),
        },
        selection=config.knob_values("selection"),
        upstream=[tuned.training] if tuned and role == TUNED else [],
        sources=digest_tasks(config),
    )


def describe_scores(config: EvaluationConfig, upstream: Sequence[NodeSpec]) -> NodeSpec:
    """Name the score table; models are named in order, as the first is compared with."""
    return NodeSpec.build(
        "scores",
        VERSIONS["scores"],
        identity={
            **config.knob_values("identity"),
            "models": list(config.models),
            "judges": [judge.model for judge in config.judges],
            "published": config.published,
            "suite": config.questions.suite,
            "light": config.questions.light,
        },
        selection={},
        upstream=upstream,
        sources=digest_sheets(config.people),
    )


def identify_role(role: str, context: RunContext, tuned: TunedModel | None) -> str:
    """Return what a model is: for the tuned one, the node that makes it."""
    if tuned is not None and role == TUNED:
        return hash_json(["tuned", tuned.training.fingerprint])
    return model_identity(context.models[role])


def load_judging(judge: JudgeConfig, questions: QuestionConfig) -> JudgingPrompts:
    """Read what a judge is asked: our prompts and rubrics, or the checkout's."""
    if judge.prompts == "personagym":
        return read_prompts(Path(str(questions.path)))
    where = f"evaluation.judges.{judge.model}"
    examples = judge.examples or ScoreExampleConfig()
    return bind_rubrics(
        load_rubrics(require_path(judge.rubrics, f"{where}.rubrics")),
        verdict=read_prompt(judge.prompt),
        examples=read_prompt(examples.prompt),
        structured=judge.structured,
    )


def read_prompt(name: str) -> PromptTemplate:
    """Read a prompt file by its name in the configuration."""
    return PromptTemplate.load(require_path(name, "evaluation"))


def _describe_verdicts(
    stage: str,
    judge: JudgeConfig,
    questions: QuestionConfig,
    context: RunContext,
    upstream: Sequence[NodeSpec],
    sources: Sequence[str] = (),
) -> NodeSpec:
    model = context.models[judge.model]
    kind, _, _ = stage.partition("_")
    # The examples' own knobs count in their node, which is upstream.
    alone = judge.model_copy(update={"examples": None})
    return NodeSpec.build(
        stage,
        VERSIONS[kind],
        identity={
            **alone.knob_values("identity"),
            "prompt": load_judging(judge, questions).verdict_source,
            "model": model_identity(model),
        },
        selection={**alone.knob_values("selection"), **model.knob_values("selection")},
        upstream=upstream,
        sources=sources,
    )


def _choose_who(config: QuestionConfig) -> Mapping[str, int | None]:
    if config.suite == "personagym":
        return {"personas": config.personas, "seed": config.seed}
    return {"unseen": int(config.unseen), "personas": config.personas, "seed": config.seed}
