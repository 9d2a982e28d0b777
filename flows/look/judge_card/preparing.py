"""Chooses the judge of a card, what it is held against and the rows, and builds their nodes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.recipe.checks import check_judging
from flows.recipe.graph import Graph, GraphBuilder
from flows.recipe.opening import resolve_settings
from flows.recipe.scoring import ABSENT
from flows.recipe.settings import Settings, load_settings
from infra.context import RunContext
from infra.errors import ConfigError, Problem
from tasks.evaluation.config import EvaluationConfig, JudgeConfig
from tasks.evaluation.judging.nodes import JudgeCalibration, JudgeProbe, load_judging
from tasks.evaluation.judging.probes import turn_rubrics

SHIPPED_ROWS = "judge_card/labelled.jsonl"
"""Where neither the judge's configuration nor the command names labelled rows."""


@dataclass(frozen=True)
class CardNodes:
    """Nodes that a card reads; ``turned`` is ``None`` where no anchors are listed."""

    plain: JudgeCalibration
    padded: JudgeProbe
    turned: JudgeProbe | None
    reference: JudgeCalibration | None

    @property
    def graph(self) -> Graph:
        """Return them as what a run makes."""
        found = (self.plain, self.padded, self.turned, self.reference)
        return Graph(node for node in found if node is not None)

    @property
    def own(self) -> list[JudgeCalibration]:
        """Return the nodes of the judge itself."""
        found = (self.plain, self.padded, self.turned)
        return [node for node in found if node is not None]


def prepare_card(
    config: str | Path,
    judge: str | None = None,
    rows: str | None = None,
    overrides: Sequence[str] = (),
) -> Settings:
    """Load, resolve and check a configuration for the card of a judge.

    The judges that it comes back with are the one of the card and, if the configuration has
    another, the one that it is held against; both judge the same rows. ``judge`` is any role of
    `models`, the first of `evaluation.judges` if left out; ``rows`` a labelled file, by default
    the judge's own, else the shipped one. Raises :class:`ConfigError` with every problem at once.
    """
    settings = load_settings(config, overrides, absent=ABSENT)
    evaluation = settings.evaluation or EvaluationConfig()
    measured = _choose_judge(settings, evaluation, judge)
    others = [one for one in evaluation.judges if one.model != measured.model]
    source = rows or measured.calibration or SHIPPED_ROWS
    judges = tuple(
        one.model_copy(update={"calibration": source, "examples": None, "check_examples": 0})
        for one in (measured, *others[:1])
    )
    name = f"{settings.run.name}-card-{name_folder(measured.model)}"
    settings = resolve_settings(
        settings.model_copy(
            update={
                "run": settings.run.model_copy(update={"name": name}),
                "evaluation": evaluation.model_copy(update={"judges": judges}),
            }
        )
    )
    check_judging(settings)
    return settings


def build_card_nodes(settings: Settings, context: RunContext) -> CardNodes:
    """Build the nodes of a card from what :func:`prepare_card` returned."""
    evaluation = settings.evaluation
    assert evaluation is not None
    builder, suite = GraphBuilder(settings, context), evaluation.questions
    measured, *others = evaluation.judges
    asked = {"config": measured, "role": measured.model, "suite": suite}
    can_turn = turn_rubrics(load_judging(measured, suite)) is not None
    return CardNodes(
        plain=builder.node(JudgeCalibration, **asked),
        padded=builder.node(JudgeProbe, probe="padded", **asked),
        turned=builder.node(JudgeProbe, probe="turned", **asked) if can_turn else None,
        reference=builder.node(
            JudgeCalibration, config=others[0], role=others[0].model, suite=suite
        )
        if others
        else None,
    )


def name_folder(judge: str) -> str:
    """Return a role as part of a folder's name."""
    return re.sub("[^A-Za-z0-9.-]+", "-", judge).strip("-.") or "judge"


def _choose_judge(
    settings: Settings, evaluation: EvaluationConfig, wanted: str | None
) -> JudgeConfig:
    known = ", ".join(sorted(settings.models)) or "none"
    if wanted is None:
        if not evaluation.judges:
            what = "this configuration has no judge"
            raise ConfigError(Problem("--judge", what, f"name one of its models: {known}"))
        judge = evaluation.judges[0]
    else:
        configured = (one for one in evaluation.judges if one.model == wanted)
        judge = next(configured, JudgeConfig(model=wanted, examples=None))
    if judge.model not in settings.models:
        what = f"{judge.model!r} is no model of this configuration"
        raise ConfigError(Problem("--judge", what, f"known: {known}"))
    return judge
