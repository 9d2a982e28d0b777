"""Gathers all that the page says from the nodes of a run; what is absent is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.records import Ability
from tasks.reporting.charts import draw_attribution, draw_funnel, draw_scores
from tasks.reporting.config import ReportConfig
from tasks.reporting.page import MakingFacts, ReportFacts, ScoreFacts
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.browser import Limits, choose_rows, encode_rows
from tasks.reporting.sections.headline import list_figures, list_verdicts
from tasks.reporting.sections.judges import (
    JudgeLine,
    build_agreement_table,
    build_calibration_table,
    find_single_rubrics,
    list_judge_notes,
    list_self_notes,
)
from tasks.reporting.sections.learning import TrainingLine, describe_training
from tasks.reporting.sections.making import (
    FUNNEL,
    SCORED,
    build_cost_table,
    build_count_table,
    list_bars,
    list_rejects,
)
from tasks.reporting.sections.overview import (
    RunFacts,
    build_model_table,
    build_node_table,
    list_licences,
)
from tasks.reporting.sections.scoring import (
    build_ability_table,
    build_attribution_table,
    build_difference_table,
    build_score_table,
    build_style_table,
    drop_task_scores,
    list_judges,
    split_comparisons,
)
from tasks.reporting.tables import Table
from tasks.scores import (
    AgreementLine,
    Calibration,
    Comparison,
    Measure,
    PublishedScore,
)


def assemble_report(nodes: RunNodes, config: ReportConfig, run: RunFacts) -> ReportFacts:
    """Read the nodes and say in tables, charts and sentences what they hold."""
    training = describe_training(nodes)
    limits = Limits(config.characters, config.dialogues, config.answers)
    rows = choose_rows(nodes, limits)
    return ReportFacts(
        title=config.title,
        run=run,
        models=build_model_table(nodes, run.models),
        nodes=build_node_table(nodes),
        licences=list_licences(nodes),
        scores=_assemble_scores(nodes, training, run.judges),
        making=_assemble_making(nodes, config),
        training=training,
        rows=encode_rows(rows) if rows else None,
    )


def _assemble_scores(
    nodes: RunNodes, training: TrainingLine | None, lines: Sequence[JudgeLine]
) -> ScoreFacts:
    rubrics = find_single_rubrics(lines)
    measures = drop_task_scores(nodes.read_part("scores", "measures", Measure), rubrics)
    comparisons = drop_task_scores(nodes.read_part("scores", "comparisons", Comparison), rubrics)
    calibrations = nodes.read_part("scores", "calibrations", Calibration)
    published = nodes.read_part("scores", "published", PublishedScore)
    judges = list_judges(measures)
    main, other = split_comparisons(comparisons)
    return ScoreFacts(
        figures=list_figures(nodes, training, measures, comparisons, rubrics),
        verdicts=list_verdicts(comparisons, rubrics),
        scores=_build_score_tables(measures, published, rubrics),
        score_chart=draw_scores(measures, judges[0], rubrics) if judges else None,
        differences=build_difference_table(main, rubrics),
        other_differences=build_difference_table(other, rubrics),
        attribution=build_attribution_table(measures),
        attribution_chart=draw_attribution(measures),
        style=build_style_table(measures),
        abilities=build_ability_table(nodes.read_rows(Ability, "abilities_")),
        calibration=build_calibration_table(calibrations),
        judge_notes=(*list_self_notes(lines), *list_judge_notes(calibrations)),
        one_rubric=bool(judges) and all(judge in rubrics for judge in judges),
        agreement=build_agreement_table(nodes.read_part("scores", "agreements", AgreementLine)),
    )


def _build_score_tables(
    measures: Sequence[Measure], published: Sequence[PublishedScore], rubrics: Mapping[str, str]
) -> tuple[Table, ...]:
    """Return a table a judge; the paper's rows stand once, beside tasks as the paper has them."""
    judges = list_judges(measures)
    beside = next((judge for judge in judges if judge not in rubrics), None)
    tables = [
        build_score_table(measures, judge, published if judge == beside else (), rubrics)
        for judge in judges
    ]
    if judges and beside is None and published:
        tables.append(build_score_table((), "", published))
    return tuple(tables)


def _assemble_making(nodes: RunNodes, config: ReportConfig) -> MakingFacts:
    return MakingFacts(
        funnel=build_count_table(nodes, FUNNEL),
        funnel_chart=draw_funnel(list_bars(nodes)),
        scored=build_count_table(nodes, SCORED),
        costs=build_cost_table(nodes, config.usd_per_engine_hour),
        priced=config.usd_per_engine_hour is not None,
        rejects=tuple(list_rejects(nodes, config.rejects)),
    )
