"""Checks where links from figures lead."""

from __future__ import annotations

from tasks.reporting.links import anchor_node, link_answers, link_measure, link_node

from .worlds import make_measure


def test_a_measure_leads_to_the_answers_of_its_model_and_task() -> None:
    score = make_measure("score", "base", 3.0, task="linguistic_habits", judge="j")
    assert link_measure(score) == link_answers("base", "linguistic_habits")
    assert "Linguistic%2520habits" in link_measure(score) and "model" in link_measure(score)
    assert "task" not in link_measure(make_measure("persona_score", "tuned", 3.0, judge="j"))


def test_attribution_leads_to_its_node() -> None:
    assert link_measure(make_measure("attribution_hard", "tuned", 0.8)) == link_node(
        "attribution_tuned"
    )
    assert link_node("dialogues_a") == f"#{anchor_node('dialogues_a')}"
