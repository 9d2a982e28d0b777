"""Proves that S3 credentials from a secret are set whole, or refused without being shown."""

from __future__ import annotations

import json
import os

import pytest

from infra.errors import ConfigError
from infra.secrets.s3_credentials import VARIABLES, apply_credentials

SECRET = "secret-key-0123456789"
GOOD = {"access_key_id": "id", "secret_access_key": SECRET, "region": "eu-west-1"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES.values():
        monkeypatch.setenv(name, "before")


def apply(monkeypatch: pytest.MonkeyPatch, value: object) -> None:
    monkeypatch.setenv("OC_TEST_S3", value if isinstance(value, str) else json.dumps(value))
    apply_credentials("env:OC_TEST_S3")


def test_the_standard_variables_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(monkeypatch, GOOD)
    assert os.environ["AWS_ACCESS_KEY_ID"] == "id"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == SECRET
    assert os.environ["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert os.environ["AWS_ENDPOINT_URL"] == "before"


def test_a_token_of_other_credentials_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    apply(monkeypatch, GOOD)
    assert "AWS_SESSION_TOKEN" not in os.environ
    apply(monkeypatch, {**GOOD, "session_token": "now"})
    assert os.environ["AWS_SESSION_TOKEN"] == "now"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (SECRET, "no JSON"),
        ([SECRET], "no JSON object"),
        ({**GOOD, "region": 1}, "no JSON object of texts"),
        ({**GOOD, "bucket": SECRET}, "unknown keys: bucket"),
        ({"access_key_id": "id"}, "lacks secret_access_key"),
        ({"access_key_id": "", "secret_access_key": SECRET}, "lacks access_key_id"),
    ],
)
def test_what_is_no_credentials_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, value: object, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        apply(monkeypatch, value)
    assert SECRET not in str(caught.value)
    assert os.environ["AWS_ACCESS_KEY_ID"] == "before"
