"""Holds the paper's PersonaGym figures, to stand beside ours in the report.

Source: arXiv 2501.15427v2, tables 3 to 5. Everything was judged by gpt-4o-2024-08-06 on answers
sampled at temperature 0.9; scores run from 1 to 5 and higher is better. The full set has ten
questions a persona and task, Light the first of each, and the two are not comparable with one
another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.store.fingerprints import content_key, hash_json
from tasks.evaluation.config import OWN_LINE, EvaluationConfig
from tasks.measures.statistics import Score
from tasks.records import TASKS, EvalTask
from tasks.scores import PublishedScore

PublishedSuite = Literal["full", "light"]

JUDGE = "gpt-4o-2024-08-06"
PERSONAS = 200
FULL_QUESTIONS = 10_000
LIGHT_QUESTIONS = 1_000
TEMPERATURE = 0.9
LONGEST = 1024
"""How answers were sampled, and how many tokens they may have."""

EVERY = "all"
"""Stands for the rows of all recipes, of which none is the run's own."""

_INSTRUCT, _BASE = "LLaMA-3-8B-Instruct", "LLaMA-3-8B"
_FROM_BASE = "-base"
"""What our names of recipes end in that train from LLaMA-3-8B."""

_FULL = """
gpt-4o-2024-05-13      4.59 .24  4.97 .17  3.48 .53  4.75 .17  4.61 .17  4.48 .13
gpt-4o-mini-2024-07-18 4.56 .19  4.97 .21  3.70 .49  4.67 .25  4.64 .15  4.51 .14
gpt-4o-2024-08-06      4.55 .20  4.97 .19  3.80 .47  4.72 .23  4.64 .15  4.53 .12
LLaMA-3-8B-Instruct    4.52 .21  4.58 .60  4.05 .36  4.54 .20  4.57 .15  4.45 .14
LLaMA-3-70B-Instruct   4.59 .16  4.59 .62  4.33 .27  4.72 .18  4.64 .13  4.58 .14
ablation-5-base        4.45 .24  4.78 .45  4.19 .28  4.44 .27  4.55 .14  4.48 .14
opencharacter-base     4.42 .27  4.69 .53  4.20 .29  4.45 .21  4.53 .14  4.46 .15
ablation-5             4.45 .24  4.81 .43  4.27 .29  4.44 .28  4.56 .13  4.50 .15
opencharacter          4.47 .24  4.78 .47  4.27 .25  4.51 .20  4.58 .12  4.52 .13
"""
_LIGHT = """
gpt-3.5-turbo-1106     4.67 .50  4.99 .21  3.12 .60  4.42 .58  4.37 .57  4.31 .24
gpt-4o-2024-05-13      4.74 .44  4.96 .33  3.69 .82  4.75 .54  4.87 .34  4.60 .24
gpt-4o-mini-2024-07-18 4.74 .44  4.99 .21  3.58 .80  4.72 .45  4.89 .40  4.58 .23
gpt-4o-2024-08-06      4.81 .40  4.95 .46  3.75 .81  4.68 .47  4.85 .45  4.60 .24
LLaMA-3-8B-Instruct    4.80 .40  4.76 .82  4.05 .71  4.64 .52  4.85 .38  4.62 .25
LLaMA-3-70B-Instruct   4.73 .45  4.75 .85  4.38 .59  4.79 .41  4.97 .18  4.72 .24
ablation-1-base        4.45 .70  4.94 .54  3.58 .79  4.16 .65  4.04 .64  4.23 .31
ablation-2-base        4.26 .79  4.88 .52  3.81 .84  4.12 .59  3.98 .57  4.21 .32
ablation-3-base        4.71 .52  4.98 .22  3.68 .74  4.52 .63  4.79 .49  4.53 .26
ablation-4-base        4.69 .53  4.86 .61  4.18 .60  4.52 .52  4.84 .37  4.62 .24
ablation-5-base        4.74 .46  4.86 .66  4.17 .65  4.52 .51  4.89 .33  4.64 .27
opencharacter-base     4.70 .49  4.90 .58  4.16 .65  4.50 .57  4.80 .40  4.61 .25
ablation-1             4.53 .60  4.96 .30  3.77 .80  4.22 .57  4.26 .64  4.35 .30
ablation-2             4.46 .70  4.92 .46  4.05 .80  4.21 .55  4.22 .52  4.37 .30
ablation-3             4.74 .45  4.97 .30  3.89 .71  4.59 .49  4.80 .51  4.60 .26
ablation-4             4.71 .48  4.88 .59  4.31 .62  4.51 .58  4.86 .35  4.65 .23
ablation-5             4.72 .49  4.93 .47  4.28 .64  4.54 .51  4.86 .36  4.66 .25
opencharacter          4.70 .53  4.92 .50  4.32 .60  4.54 .56  4.85 .38  4.66 .27
"""
"""A model a line: mean and deviation over personas of each task, in the order of
:data:`tasks.records.TASKS`, then of the PersonaScore."""


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One model's published result.

    Attributes:
        recipe: The paper's recipe that trained it, under our name; ``None`` for models that the
            paper only compares with.
        base: The model it was trained from; ``None`` if it was not trained by the paper.
        by_task: Mean score a task.
        deviations: Standard deviation over personas a task.
        score: Published PersonaScore, rounded by the paper.
        deviation: Its standard deviation over personas.
    """

    model: str
    suite: PublishedSuite
    recipe: str | None
    base: str | None
    by_task: tuple[tuple[EvalTask, float], ...]
    deviations: tuple[tuple[EvalTask, float], ...]
    score: float
    deviation: float


def list_published(suite: PublishedSuite) -> tuple[PublishedRow, ...]:
    """Return the published rows of a suite, in the paper's order."""
    lines = (_FULL if suite == "full" else _LIGHT).strip().splitlines()
    return tuple(_read_row(suite, *line.split()) for line in lines)


def list_recipes() -> list[str]:
    """Return the paper's recipes under our names, sorted."""
    return sorted({row.recipe for row in list_published("light") if row.recipe})


def find_published(suite: PublishedSuite, recipe: str) -> PublishedRow | None:
    """Return the published result of one of the paper's recipes, or ``None``.

    The paper measured ablations 1 to 4 on Light only.
    """
    return next((row for row in list_published(suite) if row.recipe == recipe), None)


def as_scores(row: PublishedRow) -> list[Score]:
    """Return a row's task means as the scores of one persona, for our own statistics."""
    return [Score(f"{row.model}/{task}", row.model, task, value) for task, value in row.by_task]


def list_published_scores(recipe: str, *, light: bool) -> Iterator[PublishedScore]:
    """Yield all figures, those of the suite that was asked first, and mark what is a run's own.

    ``recipe`` is the run's, or :data:`EVERY`.
    """
    asked: PublishedSuite = "light" if light else "full"
    other: PublishedSuite = "full" if light else "light"
    backbone = next((row.base for row in list_published("light") if row.recipe == recipe), None)
    for row in (*list_published(asked), *list_published(other)):
        mark = "recipe" if row.recipe == recipe else "backbone" if row.model == backbone else ""
        figures: list[tuple[str, float, float]] = [("", row.score, row.deviation)]
        figures += [
            (task, mean, deviation)
            for (task, mean), (_, deviation) in zip(row.by_task, row.deviations, strict=True)
        ]
        for task, mean, deviation in figures:
            yield PublishedScore(
                key=content_key("published", row.suite, row.model, task),
                suite=row.suite,
                model=row.model,
                judge=JUDGE,
                task=task,
                value=mean,
                sd=deviation,
                base=row.base or "",
                mark=mark,
            )


def describe_set_up(config: EvaluationConfig, judges: Sequence[str]) -> str:
    """Say in one line how the paper's figures came about, and in what ours differ.

    ``judges`` are the names of our judges' models. Which of our pairs are asked as the paper asks
    is told by their prompts: PersonaGym's line for what is compared with, another for the others.
    """
    asked, named = config.answers, ", ".join(judges) or "nobody"
    ways = {
        f"judged by {named}": list(judges) != [JUDGE],
        "rubrics and judge's prompt in our words": any(
            judge.prompts == "ours" for judge in config.judges
        ),
        "each verdict one JSON object": any(judge.structured for judge in config.judges),
        "no example replies": any(judge.examples is None for judge in config.judges),
        f"answers at temperature {asked.temperature:g}": asked.temperature != TEMPERATURE,
        f"answers of at most {asked.max_new_tokens:,} tokens": asked.max_new_tokens != LONGEST,
        f"{config.questions.personas} personas": config.questions.personas is not None,
        "deviations of a sample, which the paper does not say of its own": True,
    }
    ours = ", ".join(way for way, differs in ways.items() if differs)
    first = config.models[0].role
    gym = {model.name for model in config.models if config.find_prompt(model) == OWN_LINE}
    against = [model.name for model in config.models if model.role == first and model.name in gym]
    own = [model.name for model in config.models if model.role != first and model.name not in gym]
    pairs = ", ".join(f"{name} with {one}" for name in own for one in against)
    return (
        f"The paper's rows: {PERSONAS} personas, judged by {JUDGE}; models that it only compares"
        " with are asked under PersonaGym's line, its own under the prompt of their training"
        f" (here: {pairs or 'no pair'}). Ours differ: {ours}."
    )


def name_published(recipe: str | None) -> str | None:
    """Return what the rows shown with a recipe are called in a fingerprint: their content counts.

    ``None`` where none are shown.
    """
    if recipe is None:
        return None
    return f"{recipe} {hash_json([_FULL.split(), _LIGHT.split()])}"


def _read_row(suite: PublishedSuite, model: str, *figures: str) -> PublishedRow:
    *means, score = map(float, figures[::2])
    *deviations, deviation = map(float, figures[1::2])
    trained = model.startswith(("ablation-", "opencharacter"))
    base = _BASE if model.endswith(_FROM_BASE) else _INSTRUCT
    return PublishedRow(
        model=model,
        suite=suite,
        recipe=model if trained else None,
        base=base if trained else None,
        by_task=tuple(zip(TASKS, means, strict=True)),
        deviations=tuple(zip(TASKS, deviations, strict=True)),
        score=score,
        deviation=deviation,
    )
