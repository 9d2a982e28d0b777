"""Calls the commands that operate a store as the command line does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclopts import App

from flows.cli.store_commands import add_commands, find_root
from infra.errors import ConfigError
from infra.store.manifests import open_store, read_manifest
from infra.store.storage import Storage
from tests.unit.flows.evaluated import World, evaluate_run, write_run
from tests.unit.flows.worlds import make_config, write_config


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path / "store"))
    open_store(storage)
    write_run(storage, "demo", World(storage).done.values())
    return storage


def make_app() -> App:
    app = App(result_action="return_value")
    add_commands(app)
    return app


def test_verify_exits_with_1_and_a_list_when_something_is_unsound(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = Storage(str(tmp_path / "whole"))
    open_store(storage)
    evaluate_run(storage, "demo", {"base": [4.0]})
    with pytest.raises(SystemExit, match="0"):
        make_app()(["verify", "--root", storage.root])
    assert capsys.readouterr().out.startswith("sound: ")
    manifest = next(path for path in storage.walk("answers_base", ".json"))
    part = read_manifest(storage, manifest).parts[0].path
    storage.remove(part)

    with pytest.raises(SystemExit, match="1"):
        make_app()(["verify", "--root", storage.root])
    assert f"{part}: is missing" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["runs", "status demo", "diff demo demo", "gc --keep 1"])
def test_every_report_comes_as_text_and_as_json(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    config = str(write_config(tmp_path, make_config(tmp_path)))

    make_app()([*command.split(), config])
    assert "demo" in capsys.readouterr().out
    make_app()([*command.split(), "--root", storage.root, "--json"])
    assert storage.root in json.dumps(json.loads(capsys.readouterr().out))


def test_a_bundle_goes_where_it_is_told(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bug.zip"

    make_app()(["bundle", f"{storage.root}/runs/demo", "--out", str(out)])

    told = json.loads(capsys.readouterr().out)
    assert (told["bundle"], told["bytes"]) == (str(out), out.stat().st_size)


def test_a_name_without_a_store_is_not_looked_up() -> None:
    assert find_root(None, None, None) is None
    with pytest.raises(ConfigError, match="RUN demo: is a name, and no store is given"):
        make_app()(["status", "demo"])
