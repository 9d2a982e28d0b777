"""Checks that a trained model is exported, described, and withdrawn again if a check fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from infra.engines.config import ModelConfig
from infra.models.exported import EXPORT_MANIFEST
from infra.store.manifests import NodeSpec
from infra.store.storage import Storage
from tasks.training.config import SampleConfig, TrainingConfig
from tasks.training.model import finishing
from tasks.training.model.export_checks import EndingFacts, LossFacts
from tasks.training.model.export_errors import MovedLoss
from tasks.training.model.finishing import Finishing, finish_model, read_licence
from tasks.training.origins import Origins
from tasks.training.ranks.samples import Probe
from tests.unit.infra.nodes import make_manifest

from .exports import build_base, read_weights, write_weights
from .test_job import make_job, make_outcome

NODE = NodeSpec.build("training", 1, identity={}, selection={})
PATH = f"{NODE.folder}/{NODE.fingerprint}"


class Context:
    """A run as far as finishing knows it; no engine is asked."""

    def __init__(self, storage: Storage, base: Path) -> None:
        self.storage = storage
        self.models: dict[str, ModelConfig] = {"base": ModelConfig(model=str(base))}
        self.pool = SimpleNamespace(get_ready=lambda _: None)
        self.listener = self.stop = None

    def add_model(self, role: str, model: ModelConfig) -> None:
        self.models[role] = model

    def model_label(self, role: str) -> str:
        return f"tiny {role}"

    def uses_demo_models(self) -> bool:
        return False


@pytest.fixture
def over(tmp_path: Path) -> Iterator[Finishing]:
    """A training that is over: its weights are the base's."""
    base = build_base(tmp_path / "base")
    storage = Storage(str(tmp_path / "store"))
    config = TrainingConfig(model="base", workers=1, samples=SampleConfig(characters=0))
    job = make_job(tmp_path / "store", base=str(base), config=config, folder=NODE.folder)
    outcome = make_outcome(job)
    final = Path(storage.url(outcome.final))
    final.mkdir(parents=True)
    write_weights(final, read_weights(base))
    yield Finishing(
        context=cast("Any", Context(storage, base)),
        role="tuned",
        node=NODE,
        job=job,
        outcome=outcome,
        funnel=(),
        origins=Origins("opencharacter", ()),
    )


def make_encoded() -> Any:
    counts = {"examples": 9, "tokens": 90, "trained_tokens": 40, "rows": 3}
    return make_manifest([], facts={"train": counts, "validation": counts})


@pytest.mark.torch
def test_an_export_that_holds_is_sealed_and_described(over: Finishing) -> None:
    finished = finish_model(over, make_encoded(), ())
    storage = over.context.storage
    names = {path.removeprefix(f"{PATH}/") for path in storage.walk(PATH)}
    assert {EXPORT_MANIFEST, "README.md", "curves.png", "config.json"} <= names
    assert "tiny base" in storage.read_bytes(f"{PATH}/README.md").decode()
    assert finished.facts["export"] == PATH and finished.facts["base"] == "tiny base"
    assert finished.facts["steps"] == over.outcome.steps
    assert {part.path.rpartition("/")[2] for part in finished.parts} >= {"model.safetensors"}
    assert over.context.models["tuned"].model == storage.url(PATH)
    scratch = [path for path in Path(storage.url(NODE.folder)).iterdir() if "tmp" in path.name]
    assert scratch == []


@pytest.mark.torch
def test_an_export_whose_loss_moved_is_withdrawn(
    over: Finishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = over.job.train.model_copy(update={"path": "validation.arrow"})
    moved = replace(over, job=replace(over.job, validation=part))
    found = LossFacts(loss=over.outcome.eval_loss_after or 0.0, tokens=10, rows=5)
    monkeypatch.setattr(finishing, "run_on_cluster", lambda *_, **__: replace(found, loss=9.0))
    with pytest.raises(MovedLoss):
        finish_model(moved, make_encoded(), ())
    assert list(over.context.storage.walk(PATH)) == []


@pytest.mark.torch
def test_the_loss_that_training_ended_with_passes(
    over: Finishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = over.job.train.model_copy(update={"path": "validation.arrow"})
    sound = replace(over, job=replace(over.job, validation=part))
    found = LossFacts(loss=over.outcome.eval_loss_after or 0.0, tokens=10, rows=5)
    asked: list[Any] = []

    def reload(pool: Any, measure: Any, *given: Any, **named: Any) -> LossFacts:
        asked.extend(given)
        return found

    monkeypatch.setattr(finishing, "run_on_cluster", reload)
    finished = finish_model(sound, make_encoded(), ())
    assert finished.facts["loss_reloaded"] == over.outcome.eval_loss_after
    assert asked == [over.context.storage.url(PATH), over.context.storage, part]


@pytest.mark.parametrize(
    ("card", "found"),
    [
        ("---\nlicense: apache-2.0\n---\n# Model", "apache-2.0"),
        ("---\nlicense: [a, b]\n---\n", None),
        ("---\n: broken: [\n---\n", None),
        ("# No front matter", None),
    ],
)
def test_a_licence_is_what_the_card_names(card: str, found: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "README.md").write_text(card)
    assert read_licence(folder) == found


def test_a_licence_beside_the_folder_counts_and_none_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "inner" / "model"
    folder.mkdir(parents=True)
    assert read_licence(folder) is None
    (folder.parent / "README.md").write_text("---\nlicense: mit\n---\n")
    assert read_licence(folder) == "mit"


def test_the_served_export_is_asked_as_the_samples_are_drawn(
    over: Finishing, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    async def measure(engine: object, prompts: object, **how: Any) -> EndingFacts:
        asked.update(how, engine=engine, prompts=prompts)
        return EndingFacts(1, 1, ())

    monkeypatch.setattr(finishing, "measure_endings", measure)
    context = cast("Any", over.context)
    context.pool = SimpleNamespace(use=nullcontext, engine=lambda role: f"engine of {role}")
    samples = SampleConfig(max_new_tokens=7, temperature=0.7)
    config = over.job.config.model_copy(update={"samples": samples})
    drawn = replace(over, job=replace(over.job, config=config))
    probe = Probe("key", "character", "", "", (1, 2))
    assert finishing._check_serving(drawn, [probe]) == EndingFacts(1, 1, ())
    assert asked == {
        "engine": "engine of tuned",
        "prompts": [(1, 2)],
        "max_new_tokens": 7,
        "temperature": 0.7,
        "seed": config.seed,
    }
