"""Proves that publishing is off, private and by reference unless somebody says otherwise."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.publishing.config import PublishConfig


def test_nothing_is_pushed_by_default_and_nothing_in_public() -> None:
    config = PublishConfig()
    assert (config.enabled, config.private, config.dry_run) == (False, True, False)


@pytest.mark.parametrize("name", ["me/data", "my-org/role.play_v1", "_x/0"])
def test_a_repository_is_a_namespace_and_a_name(name: str) -> None:
    assert PublishConfig(dataset=name).dataset == name


@pytest.mark.parametrize("name", ["data", "a/b/c", "me/da ta", "me/-x", "me/x-", "me/a--b", "/x"])
def test_what_no_hub_takes_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValidationError, match="namespace/name"):
        PublishConfig(model=name)


def test_switched_on_it_needs_somewhere_to_push_to() -> None:
    with pytest.raises(ValidationError, match="needs a repository"):
        PublishConfig(enabled=True)


def test_a_token_itself_is_no_reference() -> None:
    with pytest.raises(ValidationError, match="names where the token is"):
        PublishConfig(token="hf_0123456789")


def test_where_to_push_names_the_node_and_how_does_not() -> None:
    config = PublishConfig(enabled=True, dataset="me/data")
    assert set(config.knob_values("identity")) == {"dataset", "model", "endpoint"}
    assert set(config.knob_values("selection")) == {"dry_run"}
