"""Checks that a run's nodes reach the page, whichever of them there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from infra.store.manifests import NodeRef
from infra.store.storage import Storage
from tasks.reporting.assembly import assemble_report
from tasks.reporting.config import ReportConfig
from tasks.reporting.page import render_report
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.judges import JudgeLine
from tasks.reporting.sections.overview import ModelLine, RunFacts
from tasks.reporting.templates import read_templates

from .test_page import read
from .worlds import (
    NASTY,
    write_evaluation,
    write_run,
    write_scores,
    write_synthesis,
    write_training,
)

RUN = RunFacts("f" * 32, False, (ModelLine("base", "tiny", "vllm"),), (("ray", "1"),), "a: 1\n")


def make_page(
    storage: Storage, references: list[NodeRef], config: ReportConfig, *judges: JudgeLine
) -> str:
    run = replace(RUN, judges=judges)
    facts = assemble_report(RunNodes(storage, references), config, run)
    return render_report(facts, read_templates(config.template))


def test_a_whole_run_shows_every_section(storage: Storage) -> None:
    page = make_page(storage, write_run(storage), ReportConfig(usd_per_engine_hour=2.0))
    for section in (
        "results",
        "judges",
        "training",
        "rows-made",
        "composition",
        "cost",
        "provenance",
        "browser",
    ):
        assert f'id="{section}"' in page
    assert page.count("<svg") == 10
    text = " ".join("".join(read(page).text).split())
    for wanted in (
        "tuned is 1.80 points above base in PersonaScore by judge, "
        "clear of 0 with all 3 comparisons counted.",
        "training rows share 13 words in a row with a question of the held out suite",
        "cannot be told apart in attribution, alike candidates",
        "the paper, full",
        "The paper's rows on PersonaGym Light, not comparable with those above",
        "the paper, light",
        "Judge weak falls short on calibration.jsonl",
        "Judge judge is good enough",
        "Judge weak gives 3 to 97.0 % of 231 answers",
        "judge, Mia",
        "arc_easy",
        "Why is bread brown?",
        "upper bound",
        "cc-by-nc-sa-4.0",
    ):
        assert wanted in text


@pytest.mark.parametrize(
    ("part", "present", "absent"),
    [
        ("synthesis", ["rows-made", "cost", "browser"], ["results", "judges", "training"]),
        ("training", ["training", "cost"], ["results", "judges", "browser"]),
        ("evaluation", ["results", "browser"], ["judges", "training"]),
        ("scores", ["results", "judges"], ["training", "cost", "browser"]),
        ("nothing", ["provenance"], ["results", "judges", "training", "cost", "browser"]),
    ],
)
def test_a_part_of_a_run_gives_a_page_of_that_part(
    storage: Storage, part: str, present: list[str], absent: list[str]
) -> None:
    parts: dict[str, Callable[[], list[NodeRef]]] = {
        "synthesis": lambda: write_synthesis(storage),
        "training": lambda: [write_training(storage)],
        "evaluation": lambda: write_evaluation(storage),
        "scores": lambda: [write_scores(storage)],
        "nothing": lambda: [],
    }
    page = make_page(storage, parts[part](), ReportConfig())
    assert all(f'id="{section}"' in page for section in present)
    assert not any(f'id="{section}"' in page for section in absent)


def test_a_nasty_persona_changes_no_tag(storage: Storage) -> None:
    calm = make_page(storage, write_synthesis(storage, persona="calm"), ReportConfig())
    nasty = make_page(storage, write_synthesis(storage, persona=NASTY), ReportConfig())
    assert read(calm).tags == read(nasty).tags
    assert NASTY in "".join(read(nasty).text)  # among the rejects


def test_one_rubric_for_all_tasks_is_one_column_under_its_own_name(storage: Storage) -> None:
    rubric = "Sounds <right>"
    line = JudgeLine("judge", rubric, ())
    page = make_page(storage, [write_scores(storage)], ReportConfig(), line)
    text = " ".join("".join(read(page).text).split())
    results = text[text.index("Results") : text.index("Style")]
    assert "Scores by one rubric" in results and "its five tasks" not in results
    ours, _, paper = results.partition("the paper")
    assert rubric in ours and f"in {rubric} by judge" in text
    # The paper's own rows stay, in a table of their own, with the tasks that they have.
    assert "Toxicity control" not in ours.partition("PersonaScore")[0]
    assert paper


def test_a_judge_that_wrote_the_training_data_is_told_even_where_nothing_calibrates_it(
    storage: Storage,
) -> None:
    line = JudgeLine("judge", "", ("characters",))
    page = make_page(storage, write_evaluation(storage), ReportConfig(), line)
    assert 'id="judges"' in page and 'href="#judges"' in page
    assert "Judge judge and the teacher are one model" in page


def test_several_judges_have_a_table_each_and_the_paper_stands_once(storage: Storage) -> None:
    page = make_page(storage, [write_scores(storage, ("judge", "weak"))], ReportConfig())
    assert page.count("<caption>Judge:") == 2
    assert page.count("the paper, full") == 1
