"""Gathers all that the page says from the nodes of a run; what is absent is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.records import Ability
from tasks.reporting.charts import (
    draw_attribution,
    draw_funnel,
    draw_lengths,
    draw_scores,
    draw_shares,
)
from tasks.reporting.config import ReportConfig
from tasks.reporting.page import (
    PAIRS_FILE,
    CompositionFacts,
    MakingFacts,
    PairFacts,
    ReportFacts,
    ScoreFacts,
    SharePicture,
)
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.browser import Limits, choose_rows, encode_rows
from tasks.reporting.sections.claims import correct_claims
from tasks.reporting.sections.composition import (
    build_length_table,
    list_languages,
    list_lengths,
    list_profile_shares,
    list_topics,
    sample_texts,
)
from tasks.reporting.sections.contamination import (
    build_contamination_table,
    count_contamination,
    describe_contamination,
)
from tasks.reporting.sections.headline import list_figures, list_verdicts
from tasks.reporting.sections.judges import (
    JudgeLine,
    build_agreement_table,
    build_calibration_table,
    build_habit_table,
    find_single_rubrics,
    list_anchor_notes,
    list_habit_notes,
    list_judge_notes,
    list_self_notes,
)
from tasks.reporting.sections.learning import TrainingLine, describe_control, describe_training
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
    build_published_table,
    build_score_table,
    build_style_table,
    drop_task_scores,
    list_judges,
    split_comparisons,
    tell_prompts,
)
from tasks.reporting.sections.side_by_side import choose_pairs
from tasks.reporting.sections.win_rates import build_win_rate_tables
from tasks.reporting.tables import Table
from tasks.scores import (
    AgreementLine,
    AnchorOrder,
    Calibration,
    Comparison,
    JudgeHabit,
    Measure,
    PublishedScore,
    WinRate,
)


def assemble_report(
    nodes: RunNodes, config: ReportConfig, run: RunFacts, *, paired: bool = False
) -> ReportFacts:
    """Read the nodes and say in tables, charts and sentences what they hold.

    ``paired`` says that a page of pairs stands beside the report.
    """
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
        composition=_assemble_composition(nodes),
        training=training,
        rows=encode_rows(rows) if rows else None,
        answers_shown=bool(rows.questions),
        pairs=PAIRS_FILE if paired else "",
    )


def assemble_pairs(nodes: RunNodes, config: ReportConfig, report: str) -> PairFacts | None:
    """Choose the pairs of answers that people can compare; none without two models' answers."""
    rows = choose_pairs(nodes, config.pairs, config.pairs_seed, report)
    if not rows:
        return None
    return PairFacts(config.title, len(rows.pairs), rows.total, encode_rows(rows))


def _assemble_scores(
    nodes: RunNodes, training: TrainingLine | None, lines: Sequence[JudgeLine]
) -> ScoreFacts:
    rubrics = find_single_rubrics(lines)
    measures = drop_task_scores(nodes.read_part("scores", "measures", Measure), rubrics)
    comparisons = drop_task_scores(nodes.read_part("scores", "comparisons", Comparison), rubrics)
    calibrations = nodes.read_part("scores", "calibrations", Calibration)
    habits = nodes.read_part("scores", "habits", JudgeHabit)
    published = nodes.read_part("scores", "published", PublishedScore)
    judges = list_judges(measures)
    main, other = split_comparisons(comparisons)
    table = nodes.find("scores")
    facts = table.facts if table is not None else {}
    prompts = tell_prompts(facts)
    claims = correct_claims(comparisons)
    return ScoreFacts(
        figures=list_figures(nodes, training, measures, comparisons, rubrics),
        verdicts=list_verdicts(comparisons, rubrics),
        scores=_build_score_tables(measures, published, facts, rubrics),
        score_chart=draw_scores(measures, judges[0], rubrics) if judges else None,
        differences=build_difference_table(main, claims, prompts, rubrics),
        other_differences=build_difference_table(other, claims, prompts, rubrics),
        attribution=build_attribution_table(measures),
        attribution_chart=draw_attribution(measures),
        style=build_style_table(measures),
        abilities=build_ability_table(nodes.read_rows(Ability, "abilities_")),
        calibration=build_calibration_table(calibrations),
        judge_notes=(*list_self_notes(lines), *list_judge_notes(calibrations)),
        control=describe_control(nodes),
        one_rubric=bool(judges) and all(judge in rubrics for judge in judges),
        habits=build_habit_table(habits),
        habit_notes=(
            *list_habit_notes(habits),
            *list_anchor_notes(nodes.read_part("scores", "anchors", AnchorOrder)),
        ),
        agreement=build_agreement_table(nodes.read_part("scores", "agreements", AgreementLine)),
        win_rates=build_win_rate_tables(nodes.read_part("scores", "win_rates", WinRate)),
    )


def _build_score_tables(
    measures: Sequence[Measure],
    published: Sequence[PublishedScore],
    facts: Mapping[str, Any],
    rubrics: Mapping[str, str],
) -> tuple[Table, ...]:
    """Return a table a judge; the paper's rows stand once, beside tasks as the paper has them."""
    judges = list_judges(measures)
    if not judges:
        return ()
    prompts, set_up = tell_prompts(facts), facts.get("set_up", "")
    suite = published[0].suite if published else ""
    ours = [item for item in published if item.suite == suite]
    apart = [item for item in published if item.suite != suite]
    beside = next((judge for judge in judges if judge not in rubrics), None)
    tables = [
        build_score_table(
            measures,
            judge,
            ours if judge == beside else (),
            prompts=prompts,
            set_up=set_up,
            rubrics=rubrics,
        )
        for judge in judges
    ]
    if beside is None and ours:
        tables.append(build_score_table((), "", ours, set_up=set_up))
    return (*tables, build_published_table(apart)) if apart else tuple(tables)


def _assemble_composition(nodes: RunNodes) -> CompositionFacts:
    lines = list_lengths(nodes)
    samples = sample_texts(nodes)
    groups = (*list_profile_shares(nodes), *list_languages(samples), *list_topics(samples))
    return CompositionFacts(
        lengths=build_length_table(lines),
        length_chart=draw_lengths(lines),
        pictures=tuple(
            SharePicture(
                group.title,
                group.note,
                draw_shares(group.bars, f"shares-{place}", f"{group.title}, {group.note}"),
            )
            for place, group in enumerate(groups)
        ),
    )


def _assemble_making(nodes: RunNodes, config: ReportConfig) -> MakingFacts:
    contamination = count_contamination(nodes)
    return MakingFacts(
        funnel=build_count_table(nodes, FUNNEL),
        funnel_chart=draw_funnel(list_bars(nodes)),
        scored=build_count_table(nodes, SCORED),
        contamination=build_contamination_table(contamination),
        contamination_lines=describe_contamination(contamination),
        costs=build_cost_table(nodes, config.usd_per_engine_hour),
        priced=config.usd_per_engine_hour is not None,
        rejects=tuple(list_rejects(nodes, config.rejects)),
    )
