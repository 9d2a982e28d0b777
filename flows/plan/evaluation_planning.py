"""Plans the rows of evaluation as far as they are known before its questions are written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from flows.recipe.evaluation_graph import EvaluationGraph
from flows.recipe.settings import Settings
from infra.context import RunContext
from infra.store.fingerprints import row_key
from infra.store.manifests import Manifest, refer_to
from infra.store.reading import read_accepted
from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.judging.calibration import read_labelled
from tasks.evaluation.questions.sets import Sources, collect_questions
from tasks.records import EvalQuestion

LATER = "known once its questions are written"


def plan_evaluation_rows(
    settings: Settings,
    context: RunContext,
    graph: EvaluationGraph | None,
    found: Mapping[str, Manifest | None],
) -> dict[str, pl.DataFrame]:
    """Return the planned keys of every row node of evaluation that are known already.

    All parents are taken as accepted. PersonaGym's questions are read from the checkout; written
    ones are known once their node is done.
    """
    config = settings.evaluation
    if config is None or graph is None:
        return {}
    planned = {
        node.stage: _frame(
            row_key(node.recipe, [item.key]) for item in read_labelled(str(judge.calibration))
        )
        for judge in config.judges
        if (node := graph.calibrations.get(judge.model)) is not None
    }
    questions = _list_questions(config, context, found.get(graph.questions.stage))
    return planned if questions is None else {**planned, **_plan_asking(graph, questions)}


def list_asking(graph: EvaluationGraph | None) -> Iterator[str]:
    """Yield the names of the row nodes of evaluation."""
    if graph is None:
        return
    chosen = [node for node in (graph.settings, graph.texts) if node is not None]
    groups = (graph.answers, graph.examples, graph.calibrations, graph.judgements)
    yield from (node.stage for node in chosen)
    for group in groups:
        yield from (node.stage for node in group.values())


def _list_questions(
    config: EvaluationConfig, context: RunContext, manifest: Manifest | None
) -> Sequence[EvalQuestion] | None:
    if manifest is not None:
        return read_accepted(context.storage, refer_to(manifest), EvalQuestion)
    if config.questions.suite == "personagym":
        return collect_questions(config.questions, Sources()).questions
    return None


def _plan_asking(
    graph: EvaluationGraph, questions: Sequence[EvalQuestion]
) -> dict[str, pl.DataFrame]:
    def name(recipe: str) -> list[str]:
        return [row_key(recipe, [item.key]) for item in questions]

    answers = {role: name(node.recipe) for role, node in graph.answers.items()}
    examples = {judge: name(node.recipe) for judge, node in graph.examples.items()}
    planned = {graph.answers[role].stage: _frame(keys) for role, keys in answers.items()}
    planned |= {graph.examples[judge].stage: _frame(keys) for judge, keys in examples.items()}
    for (judge, role), node in graph.judgements.items():
        parents = zip(answers[role], *([examples[judge]] if judge in examples else []), strict=True)
        planned[node.stage] = _frame(row_key(node.recipe, list(keys)) for keys in parents)
    return planned


def _frame(keys: Iterable[str]) -> pl.DataFrame:
    return pl.DataFrame({"key": list(keys)}, schema={"key": pl.String})
