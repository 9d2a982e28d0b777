"""Proves that secrets are found where they are said to be, and shown nowhere."""

import copy
import dataclasses
import json
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from infra.errors import ConfigError
from infra.secrets.secrets import Secret, read_secret

VALUE = "sk-very-secret-0123456789"


def test_environment_variable_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OC_TEST_KEY", f" {VALUE}\n")
    assert read_secret("env:OC_TEST_KEY").reveal() == VALUE


@pytest.mark.parametrize("value", [None, "", "  ", "two\nlines", "schlüssel"])
def test_unusable_variable_says_what_to_set(
    value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OC_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("OC_TEST_KEY", value)
    with pytest.raises(ConfigError, match="export OC_TEST_KEY=") as caught:
        read_secret("env:OC_TEST_KEY")
    assert not value or not value.strip() or value not in str(caught.value)


@pytest.mark.parametrize("reference", [VALUE, "env:", "prefect:", "", f"file:{VALUE}"])
def test_malformed_reference_is_not_repeated(reference: str) -> None:
    with pytest.raises(ConfigError, match="env:NAME") as caught:
        read_secret(reference)
    assert VALUE not in str(caught.value)


def install_fake_prefect(monkeypatch: pytest.MonkeyPatch, load: Any) -> None:
    fake = type("Secret", (), {"load": staticmethod(load)})
    block = SimpleNamespace(Secret=fake)
    monkeypatch.setitem(sys.modules, "prefect", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "prefect.blocks", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "prefect.blocks.system", block)


def test_missing_prefect_block_says_what_to_save(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, _sync: bool) -> object:
        raise ValueError(f"Unable to find block document named {name}")

    install_fake_prefect(monkeypatch, load)
    with pytest.raises(ConfigError, match="save a Secret block named 'api-key'"):
        read_secret("prefect:api-key")


def test_prefect_block_of_digits_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    value = SimpleNamespace(get_secret_value=lambda: "123456")
    install_fake_prefect(monkeypatch, lambda name, _sync: SimpleNamespace(value=value))
    assert read_secret("prefect:api-key").reveal() == "123456"


def test_secret_shows_itself_nowhere_and_travels_by_pickle() -> None:
    @dataclasses.dataclass(frozen=True)
    class Holder:
        key: Secret

    secret = Secret(VALUE)
    holder = Holder(secret)
    shown = [repr(secret), str(secret), f"{secret} {secret:>40} {secret!r}", "%s" % secret]  # noqa: UP031
    shown += [repr(holder), str(dataclasses.asdict(holder)), repr([secret]), repr({secret: 1})]
    assert not any(VALUE in text for text in shown)
    with pytest.raises(TypeError):
        json.dumps({"key": secret})
    assert pickle.loads(pickle.dumps(secret)) == copy.deepcopy(secret) == secret
    assert secret.hide_in(f"Incorrect key {VALUE}.") == "Incorrect key ***."
