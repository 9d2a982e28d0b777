"""Proves what names the node of publishing, and what is refused before a run begins."""

from __future__ import annotations

import pytest

from infra.errors import ConfigError
from infra.generation.reruns import Reruns
from infra.store.manifests import NodeSpec
from infra.store.storage import Storage
from tasks.publishing.config import PublishConfig
from tasks.publishing.nodes import Publication, check_publishing
from tests.unit.given_nodes import give_node, open_quiet

from .worlds import EXPORT, TRAINING

VARIABLE = "OC_TEST_HUB_TOKEN"
BOTH = PublishConfig(enabled=True, dataset="me/data", model="me/model", token=f"env:{VARIABLE}")


def publish(config: PublishConfig) -> Publication:
    context = open_quiet(Storage("/nowhere"))
    return Publication(
        context=context,
        reruns=Reruns(),
        config=config,
        export=give_node(EXPORT, context),
        training=give_node(TRAINING, context),
        run_name="run",
    )


def describe(config: PublishConfig) -> NodeSpec:
    return publish(config).spec


def name(config: PublishConfig, **changed: object) -> str:
    return describe(config.model_copy(update=changed)).fingerprint


def test_another_place_is_another_push_and_another_way_is_not() -> None:
    assert name(BOTH) == name(BOTH, private=False, timeout_s=5.0, token="env:OTHER")
    others = [
        name(BOTH, endpoint="http://hub.test"),
        name(BOTH, dataset="me/other"),
        name(BOTH, model=None),
        name(BOTH, dry_run=True),
    ]
    assert len({name(BOTH), *others}) == 5


def test_a_push_of_the_data_set_alone_is_the_same_whatever_the_model() -> None:
    only = BOTH.model_copy(update={"model": None})
    assert set(describe(only).upstream) == {"export"}
    assert set(describe(BOTH).upstream) == {"export", "training"}


def test_nothing_is_pushed_before_the_model_is_trained() -> None:
    only = publish(BOTH.model_copy(update={"model": None}))
    assert [node.name for node in only.reads()] == ["export", "training"]


def test_a_missing_token_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=f"export {VARIABLE}="):
        check_publishing(BOTH, trains=True)
    check_publishing(BOTH.model_copy(update={"dry_run": True}), trains=True)
    check_publishing(BOTH.model_copy(update={"enabled": False}), trains=False)
    monkeypatch.setenv(VARIABLE, "token")
    check_publishing(BOTH, trains=True)


def test_a_run_that_trains_nothing_has_no_model_to_push() -> None:
    with pytest.raises(ConfigError, match=r"publish\.model"):
        check_publishing(BOTH, trains=False)
