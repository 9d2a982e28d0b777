"""Proves that pairs are whole, bounded and stable, and that no order or side tells whose it is."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from infra.store.manifests import NodeRef
from infra.store.storage import Storage
from tasks.records import Answer, Attribution, Judgement
from tasks.reporting.assembly import assemble_pairs
from tasks.reporting.config import ReportConfig
from tasks.reporting.page import render_pairs
from tasks.reporting.run_nodes import RunNodes
from tasks.reporting.sections.side_by_side import PairRows, ShownPair, choose_pairs
from tasks.reporting.templates import read_templates

from .test_page import read
from .worlds import (
    NASTY,
    make_answer,
    make_character,
    make_judgement,
    make_key,
    make_question,
    write_evaluation,
    write_node,
    write_run,
    write_scores,
    write_synthesis,
)


def choose(
    storage: Storage, references: list[NodeRef], limit: int | None = None, seed: int = 0
) -> PairRows:
    return choose_pairs(RunNodes(storage, references), limit, seed, "f" * 32)


def write_attribution(storage: Storage, model: str, count: int, margin: float) -> NodeRef:
    """Attribute the examples that the questions of the world are held out from."""
    rows = [
        Attribution(
            make_key("4", n) + model, make_key("x", n), make_key("c", n), make_key("a", n), model,
            9, -9.0, -9.0, (), (), 1.0, (), (), 1.0, 0.1, margin * n,
        )
        for n in range(count)
    ]  # fmt: skip
    return write_node(storage, f"attribution_{model}", Attribution, rows)


def write_answers(storage: Storage, model: str, numbers: list[int]) -> NodeRef:
    rows = [make_answer(n, make_question(n, make_character(n)), "tuned") for n in numbers]
    named = [replace(row, model=model, key=make_key(model[0], int(row.key[1:]))) for row in rows]
    return write_node(storage, f"answers_{model}", Answer, named)


def test_a_pair_shows_both_answers_with_all_that_belongs_to_them(storage: Storage) -> None:
    rows = choose(storage, write_run(storage))
    assert len(rows.pairs) == rows.total == 24
    for pair in rows.pairs:
        sides = {pair.left.model: pair.left, pair.right.model: pair.right}
        assert sides.keys() == {"base", "tuned"} == {pair.model, pair.against}
        assert (pair.model, pair.against) == ("tuned", "base")
        number = int(pair.id[1:])
        assert (sides["base"].id, sides["tuned"].id) == (
            make_key("0", number),
            make_key("1", number),
        )
        assert len(pair.left.verdicts) == len(pair.right.verdicts) == 1
        assert pair.profile == make_character(number // 2).profile
        assert pair.setting == "market" and pair.persona and pair.question
    assert len({pair.id for pair in rows.pairs}) == 24


def test_sides_and_order_are_drawn_by_the_seed_and_by_nothing_else(storage: Storage) -> None:
    few = write_evaluation(storage, people=30)
    one, again = choose(storage, few), choose(storage, few[::-1])
    assert one.pairs == again.pairs
    other = choose(storage, few, seed=1)
    assert [pair.id for pair in one.pairs] != [pair.id for pair in other.pairs]
    sides = {pair.id: pair.left.model for pair in one.pairs}
    moved = sum(sides[pair.id] != pair.left.model for pair in other.pairs)
    assert 15 < moved < 45
    left = [pair.left.model == "tuned" for pair in one.pairs]
    assert 15 < sum(left) < 45
    assert 10 < sum(a != b for a, b in itertools.pairwise(left)) < 50


def test_a_larger_page_keeps_a_smaller_ones_pairs_sides_and_their_order(storage: Storage) -> None:
    nodes = write_evaluation(storage, people=20)
    rows = [choose(storage, nodes, limit) for limit in (0, 7, 19, None)]
    assert [len(row.pairs) for row in rows] == [0, 7, 19, 40]
    assert {row.total for row in rows} == {40}
    for small, large in itertools.pairwise(rows):
        kept = {pair.id for pair in small.pairs}
        assert [pair for pair in large.pairs if pair.id in kept] == list(small.pairs)


def test_only_questions_that_both_models_answered_are_pairs(storage: Storage) -> None:
    nodes = [
        write_answers(storage, "base", [0, 1, 2, 3]),
        write_answers(storage, "tuned", [2, 3, 4]),
    ]
    rows = choose(storage, nodes)
    assert sorted(int(pair.id[1:]) for pair in rows.pairs) == [2, 3] and rows.total == 2
    assert not choose(storage, nodes[:1]) and not choose(storage, [])


def test_every_model_is_paired_with_the_first_on_the_same_questions(storage: Storage) -> None:
    numbers = list(range(10))
    nodes = [write_answers(storage, name, numbers) for name in ("zoe", "base", "amy")]
    table = write_node(storage, "scores", Answer, [], facts={"models": ["zoe", "amy", "base"]})
    rows = choose(storage, [*nodes, table], limit=8)
    assert rows.total == 20 and len(rows.pairs) == 8
    asked = {
        model: {pair.id for pair in rows.pairs if (pair.model, pair.against) == (model, "zoe")}
        for model in ("amy", "base")
    }
    assert asked["amy"] == asked["base"] and len(asked["amy"]) == 4


def rank(rows: PairRows, order: str) -> dict[int, float | None]:
    place = rows.orders.index(order)
    return {int(pair.id[1:]): pair.ranks[place] for pair in rows.pairs}


def test_orders_say_how_far_answers_differ_and_never_which_way(storage: Storage) -> None:
    nodes = [
        *write_evaluation(storage, people=12, judges=("judge", "weak")),
        *(node for node in write_synthesis(storage) if node.stage == "curation"),
        write_attribution(storage, "base", 9, 0.25),
        write_attribution(storage, "tuned", 8, -0.5),
    ]
    rows = choose(storage, nodes)
    assert rows.orders == (
        "scores differ most, all judges' mean",
        "scores of judge differ most",
        "scores of weak differ most",
        "judges disagree most",
        "attribution differs most",
        "lengths differ most",
        "shortest first",
    )
    scored = rank(rows, "scores of judge differ most")
    assert {scored[n] for n in range(24)} == {None, 2.0} and scored[13] is None and scored[2] == 2
    attributed = rank(rows, "attribution differs most")
    assert [attributed[n] for n in (0, 1, 2, 7, 8, 9)] == [0, 0.75, 1.5, 5.25, None, None]
    words = rank(rows, "lengths differ most")
    assert set(words.values()) == {7.0}
    assert all(value is not None and value < 0 for value in rank(rows, "shortest first").values())


def test_judges_disagree_where_one_sees_the_other_model_ahead(storage: Storage) -> None:
    question = make_question(0, make_character(0))
    answers = {model: make_answer(0, question, model) for model in ("base", "tuned")}
    nodes = [write_node(storage, f"answers_{name}", Answer, [row]) for name, row in answers.items()]
    scores = {"strict": {"base": 4.0, "tuned": 1.0}, "mild": {"base": 4.0, "tuned": 5.0}}
    for judge, by_model in scores.items():
        for model, score in by_model.items():
            verdict = replace(make_judgement(1, answers[model], judge), score=score)
            nodes.append(write_node(storage, f"judgements_{judge}_{model}", Judgement, [verdict]))
    rows = choose(storage, nodes)
    assert rank(rows, "judges disagree most") == {0: 4.0}
    assert rank(rows, "scores differ most, all judges' mean") == {0: 1.0}
    assert rank(rows, "scores of strict differ most") == {0: 3.0}


def test_without_judges_and_attribution_there_are_no_such_orders(storage: Storage) -> None:
    nodes = [write_answers(storage, name, [0, 1]) for name in ("base", "tuned")]
    assert choose(storage, nodes).orders == ("lengths differ most", "shortest first")


def test_the_page_says_how_many_of_how_many_it_holds(storage: Storage) -> None:
    nodes = RunNodes(storage, write_evaluation(storage, people=20))
    facts = assemble_pairs(nodes, ReportConfig(pairs=7), "f" * 32)
    assert facts is not None
    page = render_pairs(facts, read_templates("templates/report"))
    assert "7 of the run's 40 pairs are in this page" in " ".join("".join(read(page).text).split())
    assert "default-src 'none'" in page and page.count("<script") == 2
    assert set(read(page).addresses) == {"report.html"}
    assert assemble_pairs(nodes, ReportConfig(pairs=0), "f" * 32) is None


def test_what_a_persona_holds_is_data(storage: Storage) -> None:
    nodes = RunNodes(storage, write_evaluation(storage, persona=NASTY))
    facts = assemble_pairs(nodes, ReportConfig(title=NASTY), "f" * 32)
    assert facts is not None and not set("<>&\u2028\u2029") & set(facts.rows)
    assert NASTY in [pair["persona"] for pair in json.loads(facts.rows)["pairs"]]
    page = render_pairs(facts, read_templates("templates/report"))
    assert read(page).tags.count("script") == 2


@pytest.mark.parametrize("paired", [True, False])
def test_the_report_names_the_page_if_there_is_one(storage: Storage, paired: bool) -> None:
    from tasks.reporting.assembly import assemble_report
    from tasks.reporting.page import render_report

    from .test_assembly import RUN

    nodes = RunNodes(storage, [write_scores(storage)])
    facts = assemble_report(nodes, ReportConfig(), RUN, paired=paired)
    page = render_report(facts, read_templates("templates/report"))
    assert ('href="side_by_side.html"' in page) == paired


def find(rows: PairRows, number: int) -> ShownPair:
    return next(pair for pair in rows.pairs if int(pair.id[1:]) == number)


def test_margins_stand_on_the_side_of_their_model(storage: Storage) -> None:
    nodes = [
        *write_evaluation(storage),
        *(node for node in write_synthesis(storage) if node.stage == "curation"),
        write_attribution(storage, "base", 9, 0.25),
        write_attribution(storage, "tuned", 9, -0.5),
    ]
    for number in range(2, 9):
        pair = find(choose(storage, nodes), number)
        told = dict(zip((pair.left.model, pair.right.model), pair.margins, strict=True))
        assert told == {"base": 0.25 * number, "tuned": -0.5 * number}
