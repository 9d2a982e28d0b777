"""Proves that a card is of the judge that was asked for, and says of a bad one that it is bad."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.look.judge_card.facts import JudgeCard, JudgeFacts, RowFacts, VerdictCost, measure_cost
from flows.look.judge_card.page import render_card
from flows.look.judge_card.preparing import (
    SHIPPED_ROWS,
    build_card_nodes,
    name_folder,
    prepare_card,
)
from flows.look.judge_card.running import choose_headline, write_card
from flows.look.judge_card.words import find_worth, list_findings, list_unmeasured
from flows.recipe.opening import open_context
from infra.context import Quiet
from infra.errors import ConfigError
from infra.paths import packaged_configs
from infra.store.manifests import Counts, Manifest, Usage
from infra.store.storage import Storage
from tasks.evaluation.judging.calibration import read_labelled
from tasks.evaluation.judging.card import CardFigures, Rated, count_figures
from tests.unit.flows.worlds import make_config, write_config

GUESSED = (3.0, 5.0, 1.0, 4.0, 2.0, 2.0, 4.0)
ROW = {"persona": "A baker.", "question": "How?", "answer": "With flour.", "score": 4}


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    config = make_config(tmp_path)
    config["models"] |= {
        "judge": {"engine": "scripted", "model": "one"},
        "other": {"engine": "scripted", "model": "two"},
    }
    config["evaluation"] = {
        "models": ["teacher"],
        "questions": {"writing": {"model": "teacher"}, "settings": None},
        "judges": [{"model": "judge"}, {"model": "other", "temperature": 0.5}],
    }
    return config


def rate(*scores: float | None, rows: int = 60) -> list[Rated]:
    """Give the shipped rows these scores, over and over."""
    labelled = read_labelled(packaged_configs() / SHIPPED_ROWS)[:rows]
    return [Rated(item, scores[place % len(scores)]) for place, item in enumerate(labelled)]


def rate_well(rows: int = 60) -> list[Rated]:
    return [Rated(row.item, row.item.score) for row in rate(1.0, rows=rows)]


def make_card(figures: CardFigures) -> JudgeCard:
    return JudgeCard(
        judge=JudgeFacts(
            role="a/judge", model="<script>", engine="scripted", identity="1f", knobs={"top_p": 1},
            prompts={"expected_action": "2e"},
        ),
        rows=RowFacts(source="rows.jsonl", digest="3d"),
        worth=find_worth(figures),
        findings=tuple(list_findings(figures)),
        unmeasured=tuple(list_unmeasured(figures, has_reference=False)),
        reference="",
        figures=figures,
        cost=VerdictCost(
            prompt_tokens=612000, completion_tokens=48000, requests=1010, engine_hours=0.25,
            usd=None,
        ),
        nodes={"calibration_a/judge": "4c"},
        demo=True,
        made_at="2026-11-27T12:00:00+00:00",
        versions={"vllm": "0.32.0"},
    )  # fmt: skip


def read_texts(figures: CardFigures) -> str:
    return " ".join(f"{finding.good} {finding.text}" for finding in list_findings(figures))


def test_the_first_judge_is_measured_and_the_second_is_its_reference(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    settings = prepare_card(write_config(tmp_path, config))
    with open_context(settings, Quiet()) as context:
        nodes = build_card_nodes(settings, context)
    assert [node.name for node in nodes.graph] == [
        "calibration_judge", "calibration_other", "probe_judge_padded", "probe_judge_turned",
    ]  # fmt: skip
    assert nodes.reference is not None and nodes.reference.config.temperature == 0.5
    assert len({node.spec.recipe for node in nodes.own}) == 3
    assert len(nodes.plain.read_labelled()) == 60
    assert settings.run.name == "small-card-judge"


def test_any_model_can_be_the_judge_on_any_rows(tmp_path: Path, config: dict[str, Any]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps(ROW) + "\n")
    del config["evaluation"]
    path = write_config(tmp_path, config)
    settings = prepare_card(path, "teacher", str(rows), ["models.teacher.model=third"])
    with open_context(settings, Quiet()) as context:
        nodes = build_card_nodes(settings, context)
    assert nodes.plain.model.model == "third"
    assert nodes.reference is None
    assert len(nodes.plain.read_labelled()) == 1


def test_a_judge_s_own_rows_come_before_the_shipped_ones(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    # Its example replies, and how many are shown to it, are no part of a card.
    config["evaluation"]["judges"][1] |= {
        "calibration": "demo/calibration.jsonl", "check_examples": 3,
    }  # fmt: skip
    settings = prepare_card(write_config(tmp_path, config), "other")
    assert settings.evaluation is not None
    assert [Path(str(one.calibration)).name for one in settings.evaluation.judges] == [
        "calibration.jsonl"
    ] * 2
    assert [one.model for one in settings.evaluation.judges] == ["other", "judge"]
    assert [one.check_examples for one in settings.evaluation.judges] == [0, 0]
    assert name_folder("other/one") == "other-one"


def test_what_cannot_be_measured_is_told_before_an_engine_starts(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    path = write_config(tmp_path, config)
    with pytest.raises(ConfigError, match=r"--judge: 'nobody' is no model.*known: judge, other"):
        prepare_card(path, "nobody")
    with pytest.raises(ConfigError, match="no such file"):
        prepare_card(path, rows="absent.jsonl")
    config["evaluation"]["judges"] = []
    with pytest.raises(ConfigError, match=r"no judge.*name one of its models"):
        prepare_card(write_config(tmp_path, config))


def test_a_run_s_own_calibration_is_not_made_again(tmp_path: Path, config: dict[str, Any]) -> None:
    """Verdicts of the card on the judge's own rows are those that a run has made."""
    from flows.recipe.graph import build_graph
    from flows.recipe.settings import load_settings

    config["evaluation"]["judges"][0]["calibration"] = "demo/calibration.jsonl"
    path = write_config(tmp_path, config)
    settings = prepare_card(path)
    with open_context(settings, Quiet()) as context:
        own = build_card_nodes(settings, context).plain.spec
    run = load_settings(path)
    with open_context(run, Quiet()) as context:
        assert build_graph(run, context)["calibration_judge"].spec == own


@pytest.mark.parametrize(
    ("rated", "worth", "words"),
    [
        (rate_well(), "reliable", "True It agrees well with the labels: alpha 1.00"),
        (rate(*GUESSED), "unreliable", "False It cannot be told from a judge that guesses"),
        (rate(3.0), "unreliable", "False It agrees too little with the labels"),
        (rate(3.0), "unreliable", "False It says 3 to 100.0 % of all rows"),
        (rate(None), "unreliable", "False It gave no verdict that could be read on any row."),
        (rate_well(30) + rate(None, rows=60)[30:], "reliable", "False 50.0 % of its verdicts"),
    ],
)
def test_a_bad_judge_is_said_to_be_bad(rated: Sequence[Rated], worth: str, words: str) -> None:
    figures = count_figures(rated)
    assert find_worth(figures) == worth
    assert words in read_texts(figures)


def test_between_the_thresholds_conclusions_are_tentative() -> None:
    rows = rate_well()
    # Every third row of the middle labels is off by one: alpha falls between the two thresholds.
    off = [
        Rated(row.item, 3.0 if place % 5 in (0, 2) else row.score) for place, row in enumerate(rows)
    ]
    figures = count_figures(off)
    alpha = figures.people[0].alpha.value
    assert alpha is not None
    expected = "reliable" if alpha >= 0.8 else "tentative" if alpha >= 0.667 else "unreliable"
    assert find_worth(figures) == expected == "tentative"
    assert "True It agrees with the labels enough for tentative conclusions" in read_texts(figures)


def test_biases_are_told_with_their_size() -> None:
    rows = rate(1.0, 2.0, 3.0, 4.0)
    longer = [Rated(row.item, (row.score or 0) + 1) for row in rows]
    told = read_texts(count_figures(rows, padded=longer, turned=longer))
    assert "False Empty words raise its scores: +1.00 points" in told
    assert "100.0 % of the answers score higher" in told
    assert "False The order of the anchors moves its scores" in told
    same = read_texts(count_figures(rows, padded=rows, turned=rows))
    assert "True Empty words do not raise its scores: 0.00 points" in same
    assert "True The order of the anchors does not move its scores" in same
    shorter = [Rated(row.item, (row.score or 0) - 1) for row in rows]
    assert "True Empty words lower its scores" in read_texts(count_figures(rows, padded=shorter))


def test_a_judge_that_says_one_score_is_praised_for_no_absent_bias() -> None:
    rows = rate(1.0)
    figures = count_figures(rows, padded=rows, turned=rows)
    assert "True" not in read_texts(figures)
    turned = [Rated(row.item, 5.0) for row in rows]
    told = read_texts(count_figures(rows, turned=turned))
    assert "False The order of the anchors moves its scores" in told
    assert "Absence of biases" in " ".join(list_unmeasured(figures, has_reference=True))


def test_what_was_not_measured_is_said_with_what_it_would_need() -> None:
    left = " ".join(list_unmeasured(count_figures(rate_well()), has_reference=False))
    for word in ("no second one", "anchors", "field author", "field in_voice"):
        assert word in left


def test_the_page_shows_the_figures_and_runs_nothing(tmp_path: Path) -> None:
    rows = rate(1.0, 2.0, None, 4.0)
    figures = count_figures(rows, padded=rows, turned=rows)
    page = render_card(make_card(figures))
    assert "&lt;script&gt;" in page and "<script" not in page
    assert not re.search(r"(?:src|href)=", page)
    assert "proves the machinery, not the quality" in " ".join(page.split())
    (people, *tasks) = figures.people
    assert len(tasks) == 5
    assert people.alpha.value is not None
    row = page[page.index("All tasks") :]
    assert f">{people.alpha.value:.2f}".replace("-", "\N{MINUS SIGN}") in row[:400]
    assert "612,000" in page and "0.250" in page
    label = page[page.index("scored 1") :]
    assert re.search(r"<bdi>1</bdi>.*?>12</td>", label, re.DOTALL)


def test_a_card_is_written_beside_its_page_and_named_by_what_it_was_made_from(
    tmp_path: Path,
) -> None:
    card = make_card(count_figures(rate_well()))
    result = write_card(Storage(str(tmp_path)), card, {"judge": 1})
    assert re.search(r"/judge_cards/a-judge-[0-9a-f]{8}/card\.html$", result.page)
    data = json.loads(Path(result.card).read_text())
    assert data["figures"]["people"][0]["alpha"]["value"] == 1.0
    assert JudgeCard.model_validate(data) == card
    assert result.scores == choose_headline(card)
    assert result.scores["alpha"] == 1.0 and result.scores["missing"] == 0.0
    other = card.model_copy(update={"nodes": {"calibration_a/judge": "5c"}})
    assert other.folder != card.folder


def make_manifest(planned: int, made: int, seconds: float) -> Manifest:
    return Manifest(
        stage="calibration_judge", recipe="r", fingerprint="f", upstream={}, identity={},
        selection={}, parts=(), members=None, reasons={}, provenance={},
        counts=Counts(planned=planned, accepted=planned, rejected=0, made=made,
                      reused=planned - made),
        usage=Usage(prompt_tokens=600 * planned, completion_tokens=50 * planned,
                    requests=planned + 10, seconds=seconds),
    )  # fmt: skip


def test_a_thousand_verdicts_cost_what_those_that_were_made_cost(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["models"]["judge"] |= {"replicas": 2}
    config["plan"] = {"usd_per_engine_hour": 3.0}
    settings = prepare_card(write_config(tmp_path, config))
    cost = measure_cost(settings, "judge", [make_manifest(60, 60, 36.0), make_manifest(40, 20, 9)])
    assert (cost.prompt_tokens, cost.completion_tokens) == (600_000, 50_000)
    assert cost.requests == pytest.approx(1_200)
    # 80 verdicts in 36 s on two engines: 1,000 in 450 s, a quarter of an engine's hour.
    assert cost.engine_hours == pytest.approx(0.25)
    assert cost.usd == pytest.approx(0.75)
    reused = measure_cost(settings, "judge", [make_manifest(60, 0, 0.0)])
    assert (reused.engine_hours, reused.usd) == (None, None)


def test_an_endpoint_costs_its_tokens(tmp_path: Path, config: dict[str, Any]) -> None:
    config["models"]["judge"] = {
        "engine": "endpoint", "model": "m", "base_url": "http://127.0.0.1:1/v1",
    }  # fmt: skip
    config["plan"] = {"usd_per_million_tokens": {"judge": {"prompt": 1.0, "output": 4.0}}}
    settings = prepare_card(write_config(tmp_path, config))
    cost = measure_cost(settings, "judge", [make_manifest(60, 60, 36.0)])
    assert cost.engine_hours == 0.0
    assert cost.usd == pytest.approx(0.6 + 0.2)
