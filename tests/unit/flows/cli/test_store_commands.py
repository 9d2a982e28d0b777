"""Calls the commands that operate a store as the command line does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclopts import App

from flows.cli.store_commands import add_commands, find_root
from infra.errors import ConfigError
from infra.paths import CACHE_GIB, user_cache
from infra.store.manifests import open_store, read_manifest
from infra.store.storage import Storage
from tests.unit.flows.evaluated import World, evaluate_run, write_run
from tests.unit.flows.worlds import make_config, write_config


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own: `gc` removes what it may."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(CACHE_GIB, "1")
    return tmp_path / "cache"


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


def test_gc_cleans_this_machines_cache_too(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = user_cache("models") / "teacher"
    kept.mkdir(parents=True)
    (kept / "model.safetensors").write_bytes(b"w" * 4096)
    command = ["gc", "--keep", "1", "--root", storage.root]

    make_app()(command)
    assert "removed 0 B of this machine's cache" in capsys.readouterr().out
    make_app()([*command, "--cache-days", "0", "--dry-run"])
    told = capsys.readouterr().out
    assert "unused: 1 of models and files, 4.0 KiB\nwould remove 4.0 KiB" in told
    assert kept.is_dir()
    with pytest.raises(ConfigError, match="--cache-days: is -1"):
        make_app()([*command, "--cache-days", "-1"])

    config = str(write_config(tmp_path, make_config(tmp_path)))
    bounded = ["--set", "storage.cache_gib=0.000001", "--json"]
    make_app()(["gc", config, "--keep", "1", *bounded])
    cache = json.loads(capsys.readouterr().out)["cache"]
    assert cache["removed"] == [{"why": "beyond the cache's bound", "files": 1, "size": 4096}]
    assert (cache["left"], cache["dry_run"], kept.exists()) == (0, False, False)


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
