"""Proves that the tuned model is found through its manifest, and its absence told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import flows.talk.tuned_model
from flows.recipe.opening import open_context, resolve_settings
from flows.recipe.settings import Settings, load_settings
from flows.talk.tuned_model import choose_model, find_tuned_model
from infra.context import Quiet, RunContext
from infra.errors import ConfigError
from infra.models.exported import publish_export
from infra.store.manifests import NodeSpec
from infra.store.set_store import write_set_manifest
from infra.store.storage import Storage
from tests.unit.flows.worlds import make_config, write_config, write_model
from tests.unit.given_nodes import give_node
from tests.unit.infra.models.test_exported_models import build_export

NODE = NodeSpec.build("training", 1, identity={}, selection={})


def build(spec: NodeSpec | None) -> Callable[[Settings, RunContext], SimpleNamespace]:
    """Return what stands in for the builder of a graph whose model is that of a spec."""
    return lambda _, context: SimpleNamespace(training=spec and give_node(spec, context))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    config = make_config(tmp_path)
    config["models"]["base"] = {
        "model": str(write_model(tmp_path / "base")),
        "dtype": "float32",
        "revision": "abc",
    }
    config["training"] = {}
    found = resolve_settings(load_settings(write_config(tmp_path, config)))
    monkeypatch.setattr(flows.talk.tuned_model, "GraphBuilder", build(NODE))
    return found


def train(settings: Settings, scratch: Path) -> Storage:
    storage = Storage(settings.storage.root)
    parts = publish_export(storage, f"{NODE.folder}/export", build_export(scratch))
    write_set_manifest(
        storage,
        NODE,
        parts,
        accepted=1,
        reasons={},
        provenance={},
        seconds=0.0,
        facts={"export": f"{NODE.folder}/export"},
    )
    return storage


def test_the_tuned_model_is_run_as_the_base_model_is(settings: Settings, tmp_path: Path) -> None:
    storage = train(settings, tmp_path / "scratch")
    chosen = choose_model(settings, None)
    assert chosen.name == "small"
    assert chosen.config.model == storage.url(f"{NODE.folder}/export")
    assert (chosen.config.dtype, chosen.config.revision) == ("float32", None)


def test_a_model_that_is_not_there_or_was_changed_is_not_found(
    settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"was trained with it yet.*`opencharacter run` it first"):
        find_tuned_model(settings)
    storage = train(settings, tmp_path / "scratch")
    assert find_tuned_model(settings).is_dir()
    storage.write_bytes(f"{NODE.folder}/export/model.safetensors", b"weighty")
    with pytest.raises(ConfigError, match="was trained with it yet"):
        find_tuned_model(settings)


def test_a_configuration_without_training_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows.talk.tuned_model, "GraphBuilder", build(None))
    with pytest.raises(ConfigError, match="trains no model"):
        find_tuned_model(settings)


def test_roles_and_folders_are_chosen_by_name(settings: Settings, tmp_path: Path) -> None:
    assert choose_model(settings, "teacher").config == settings.models["teacher"]
    other = write_model(tmp_path / "other")
    chosen = choose_model(settings, str(other))
    assert (chosen.name, chosen.config.model) == ("other", str(other))
    with pytest.raises(ConfigError, match="roles: base, teacher"):
        choose_model(settings, "nobody")


def test_the_store_is_opened_as_a_run_would(settings: Settings) -> None:
    with pytest.raises(ConfigError):
        find_tuned_model(settings)
    with open_context(settings, Quiet()) as context:
        assert context.storage.stat("opencharacter-store.json") is not None
