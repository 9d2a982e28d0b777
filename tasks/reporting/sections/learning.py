"""Describes a finished training for the page: what it took, what it brought, what it says now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from tasks.records import CONTROL, TUNED
from tasks.reporting.figures import write_number, write_share
from tasks.reporting.pictures import embed_svg
from tasks.reporting.run_nodes import RunNodes


@dataclass(frozen=True, slots=True)
class ShownSample:
    """What the trained model said to a held-out character's question."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class TrainingLine:
    """Finished training: losses in nats a trained token, the curves as an SVG of our own."""

    base: str
    model: str
    steps: int
    epochs: float
    tokens: int
    seconds: float
    ranks: int
    loss_before: float | None
    loss_after: float | None
    answers_ended: float | None
    answers_asked: int
    curves: Markup
    samples: tuple[ShownSample, ...]

    @property
    def gain(self) -> float | None:
        """Return by which share the held-out loss fell."""
        if self.loss_before is None or self.loss_after is None:
            return None
        return 1.0 - self.loss_after / self.loss_before


def describe_training(nodes: RunNodes) -> TrainingLine | None:
    """Return the run's training, or ``None`` if it has none."""
    manifest = nodes.find("training")
    if manifest is None:
        return None
    facts = manifest.facts
    curves = nodes.storage.read_bytes(str(facts["curves"])).decode()
    return TrainingLine(
        base=str(facts["base"]),
        model=nodes.storage.url(str(facts["export"])),
        steps=int(facts["steps"]),
        epochs=float(facts["epochs"]),
        tokens=int(facts["tokens"]),
        seconds=float(facts["seconds"]),
        ranks=int(facts["ranks"]),
        loss_before=facts["eval_loss_before"],
        loss_after=facts["eval_loss_after"],
        answers_ended=facts["answers_ended"],
        answers_asked=int(facts["answers_asked"]),
        curves=embed_svg(curves, "curves", "Loss, learning rate, gradient norm and speed by step"),
        samples=tuple(_read_samples(nodes, facts.get("samples"), int(facts["steps"]))),
    )


def describe_control(nodes: RunNodes) -> str:
    """Say what the run's control is for and what it lost; empty if the run trains none."""
    control, training = nodes.find(f"training_{CONTROL}"), nodes.find("training")
    if control is None or training is None:
        return ""
    text = (
        f"{CONTROL} learned the same answers as {TUNED}, each under another character's profile:"
        f" what {TUNED} has over it is the profile's share, what it has over the base is style and"
        " topic."
    )
    before = training.facts["eval_loss_before"]
    tuned, spoiled = training.facts["eval_loss_after"], control.facts["eval_loss_after"]
    if None in (before, tuned, spoiled):
        return text
    losses = ", ".join(
        f"{write_number(loss, 3)} {name}"
        for loss, name in ((before, "before"), (spoiled, CONTROL), (tuned, TUNED))
    )
    told = ""
    if before > tuned:
        share = write_share((spoiled - tuned) / (before - tuned), 0) if spoiled > tuned else "none"
        told = f": {share} of the gain is the profile's"
    return f"{text} Held-out loss in nats a token: {losses}{told}."


def _read_samples(nodes: RunNodes, path: str | None, step: int) -> Iterator[ShownSample]:
    if path is None:
        return
    for line in nodes.storage.read_bytes(path).decode().split("\n"):
        if line and (sample := json.loads(line))["step"] == step:
            yield ShownSample(sample["question"], sample["answer"])
