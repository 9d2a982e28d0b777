"""Says where on the page the rows stand that a number was reckoned from."""

from __future__ import annotations

from urllib.parse import quote, urlencode

from tasks.reporting.measure_names import name_task
from tasks.scores import Comparison, Measure

_OF_ATTRIBUTION = ("attribution", "attribution_hard", "profile_gain", "profile_margin")


def anchor_node(stage: str) -> str:
    """Return what links call a node's line in the table of what ran."""
    return f"node-{stage}"


def link_node(stage: str) -> str:
    """Return the link to a node: its rows, and the folder where they lie."""
    return f"#{quote(anchor_node(stage))}"


def anchor_rejects(stage: str) -> str:
    """Return what links call the rejected rows of a node."""
    return f"rejects-{stage}"


def link_rejects(stage: str) -> str:
    """Return the link to the rejected rows of a node, reason by reason."""
    return f"#{quote(anchor_rejects(stage))}"


def link_answers(model: str = "", task: str = "") -> str:
    """Return the link to the browser's answers: those of a model, to questions of a task."""
    wanted = {"task": task and name_task(task), "model": model}
    chosen = urlencode({name: value for name, value in wanted.items() if value}, quote_via=quote)
    return f"#browse/answers/filter/{quote(chosen)}"


def link_measure(item: Measure | Comparison) -> str:
    """Return the link to what was measured: a model's answers, or its trials of attribution."""
    if item.name in _OF_ATTRIBUTION:
        return link_node(f"attribution_{item.model}")
    return link_answers(item.model, item.task)
