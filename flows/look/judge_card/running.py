"""Makes the verdicts of a card as one Prefect flow, and writes page and JSON from them."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import flow
from pydantic import BaseModel, ConfigDict

from flows.control.display import current_watcher
from flows.look.judge_card.facts import JudgeCard, gather_card
from flows.look.judge_card.page import render_card, write_markdown
from flows.look.judge_card.preparing import build_card_nodes, prepare_card
from flows.look.judge_card.words import Worth
from flows.pipeline import check_outside, open_run, start_nodes
from flows.runs.history import note_end, record_run
from infra.orchestration.tasks import publish_report
from infra.store.manifests import read_manifest
from infra.store.storage import Storage


class CardResult(BaseModel):
    """What a card came to; printed as the closing JSON line."""

    model_config = ConfigDict(frozen=True)

    judge: str
    page: str
    card: str
    worth: Worth
    scores: dict[str, float]
    engines_started: dict[str, int]


@flow(name="judge-card", flow_run_name="{config}")
def judge_card(
    config: str,
    judge: str | None = None,
    rows: str | None = None,
    overrides: Sequence[str] = (),
) -> CardResult:
    """Measure a judge on labelled rows and write its card.

    The verdicts are rows like all others: a killed card goes on where it stopped, and a second one
    asks nothing. Page and JSON come to ``<root>/judge_cards/<judge>-<what was judged with what>/``.

    Args:
        config: YAML file, in the working folder or packaged.
        judge: Any role of `models`; the first of `evaluation.judges` if left out.
        rows: Labelled file; the judge's own, else the shipped one, if left out.
        overrides: Keys to change, each as ``a.b=c``; the value is YAML.
    """
    settings = prepare_card(config, judge, rows, overrides)
    with open_run(settings, current_watcher()) as (context, guard):
        nodes = build_card_nodes(settings, context)
        graph, kept = nodes.graph, context.storage
        made_with = context.provenance()
        with record_run(kept, settings, graph.specs(), provenance=made_with) as record:
            check_outside(settings, context, graph)
            with guard.explain_stop():
                done = start_nodes(context, settings, graph).collect()
            card = gather_card(settings, context, nodes)
            result = write_card(kept, card, context.count_starts())
            manifests = [read_manifest(kept, found.manifest) for found in done.values()]
            note_end(kept, record, "finished", manifests=manifests, scores=result.scores)
            return result


def write_card(storage: Storage, card: JudgeCard, started: dict[str, int]) -> CardResult:
    """Write page and JSON of a card, and return where they lie with its headline."""
    page, data = f"{card.folder}/card.html", f"{card.folder}/card.json"
    storage.write_bytes(page, render_card(card).encode())
    storage.write_bytes(data, card.model_dump_json(indent=1).encode())
    publish_report(write_markdown(card), storage.url(page))
    return CardResult(
        judge=card.judge.role,
        page=storage.url(page),
        card=storage.url(data),
        worth=card.worth,
        scores=choose_headline(card),
        engines_started=started,
    )


def choose_headline(card: JudgeCard) -> dict[str, float]:
    """Return the figures of the closing line; what is unknown is left out."""
    figures = card.figures
    people = figures.people[0] if figures.people else None
    found = {
        "alpha": people.alpha.value if people else None,
        "alpha_low": people.alpha.low if people else None,
        "alpha_high": people.alpha.high if people else None,
        "within_one": people.within_one.mean if people else None,
        "missing": figures.missing.mean,
        "padding": figures.length.shift.mean if figures.length else None,
    }
    return {name: round(value, 6) for name, value in found.items() if value is not None}
