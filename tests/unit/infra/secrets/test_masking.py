"""Plants secrets in text in every spelling and looks for them afterwards."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from infra.secrets.masking import Masker

PLANTED = 'pl4nted/s3cret+"value"'
EMPTY = Masker((), "")


def test_a_secret_is_masked_in_every_spelling() -> None:
    masker = Masker.collect(environment={"STORE_PASSWORD": PLANTED})
    spellings = (
        PLANTED,
        json.dumps({"key": PLANTED}),
        f"https://host.test/?x={quote_plus(PLANTED)}",
        base64.b64encode(PLANTED.encode()).decode(),
    )

    for text in spellings:
        masked = masker.mask(f"before {text} after")
        assert "pl4nted" not in masked and "cGw0" not in masked
        assert masked.startswith("before") and masked.endswith("after")


def test_secrets_that_a_configuration_refers_to_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TEACHER", "harmless-looking")
    config = "models: {teacher: {api_key: env:MY_TEACHER}, judge: {api_key: env:NOT_SET_HERE}}"

    masker = Masker.collect(config, environment={})

    assert masker.mask("it said harmless-looking") == "it said ***"
    assert masker.mask(config) == config, "references are no secrets"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://me:hunter22@host.test/v1", "https://***@host.test/v1"),
        ("Authorization: Bearer abcdef0123456789", "Authorization: Bearer ***"),
        ('"authorization": "Basic dXNlcjpwYXNz"', '"authorization": "Basic ***"'),
        ("key sk-proj-0123456789abcdefXYZ used", "key *** used"),
        ("hf_abcdefghijklmnopqrst", "***"),
        ("id AKIAABCDEFGHIJKLMNOP", "id ***"),
        (
            "get https://b.test/x?X-Amz-Signature=00ff&n=1",
            "get https://b.test/x?X-Amz-Signature=***&n=1",
        ),
        ("get https://b.test/x?n=1&key=abcdef", "get https://b.test/x?n=1&key=***"),
        ("api_key: 'abcd1234'", "api_key: '***'"),
        ("aws_secret_access_key = abcd1234", "aws_secret_access_key = ***"),
    ],
)
def test_what_looks_like_a_key_is_masked(text: str, kept: str) -> None:
    assert EMPTY.mask(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        '"prompt_tokens": 123, "token": "1795579452.97"',
        "max_new_tokens: 512",
        "api_key: null",
        '"api_key": "env:TEACHER_KEY"',
        "api_key: prefect:teacher-key",
        "the key: persona keys follow lineage",
        "basic questions of bearer certificates",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert EMPTY.mask(text) == text


def test_short_and_unnamed_values_of_the_environment_stay() -> None:
    masker = Masker.collect(environment={"LANG": "C.UTF-8", "TOKENIZERS_PARALLELISM": "true"})

    assert masker.mask("C.UTF-8 is true") == "C.UTF-8 is true"


def test_folders_are_no_secrets_whatever_their_variables_are_called(tmp_path: Path) -> None:
    environment = {"PWD": "/work", "SSH_AUTH_SOCK": str(tmp_path), "AWS_KEY": "/begins+like/a+path"}
    masker = Masker.collect(environment=environment)

    assert masker.mask(f"/work {tmp_path} /begins+like/a+path") == f"/work {tmp_path} ***"


def test_the_home_folder_becomes_a_tilde_and_its_neighbours_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    masker = Masker.collect(environment={})

    assert masker.mask("/home/ada/models and /home/adam/x") == "~/models and /home/adam/x"
