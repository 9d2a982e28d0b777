"""Pushes a data set and a model to a hub on the loopback that speaks the real one's protocol."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect import flow

from infra.errors import ConfigError, StorageError, TransientError
from infra.generation.reruns import Reruns
from infra.orchestration.retries import RetryConfig
from infra.orchestration.tasks import await_node, submit_node
from infra.store.manifests import Manifest, NodeSpec, read_manifest, write_manifest
from infra.store.storage import Storage
from tasks.publishing.config import PublishConfig
from tasks.publishing.nodes import Publication, check_hub
from tests.e2e.hub import TOKEN, SmallHub, run_hub
from tests.e2e.stumbling_s3 import run_s3
from tests.unit.given_nodes import give_node, open_quiet
from tests.unit.publishing.worlds import EXPORT, TRAINING, WEIGHTS, Exported, make_exported

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

DATASET, MODEL = "tester/dialogues", "tester/tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    """A hub, its token in the environment, and nothing said to any other."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("OC_TEST_HUB_TOKEN", TOKEN)
    with run_hub() as running:
        yield running


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Do not sleep between retries of one request."""
    slept: list[float] = []
    clock = SimpleNamespace(sleep=slept.append)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    return slept


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    return make_exported(Storage(str(tmp_path / "store")), tmp_path)


@pytest.fixture
def s3() -> Iterator[Storage]:
    """A root on S3."""
    with run_s3() as running:
        yield running.storage("store")


def configure(hub: SmallHub, **knobs: object) -> PublishConfig:
    values = {
        "enabled": True,
        "dataset": DATASET,
        "model": MODEL,
        "endpoint": hub.url,
        "token": "env:OC_TEST_HUB_TOKEN",
    }
    return PublishConfig.model_validate({**values, **knobs})


def push(exported: Exported, config: PublishConfig, *, export: NodeSpec = EXPORT) -> Manifest:
    """Run the node as the pipeline does, in a Prefect flow."""
    context = open_quiet(exported.storage)
    node = Publication(
        context=context,
        reruns=Reruns(),
        config=config,
        export=give_node(export, context),
        training=give_node(TRAINING, context),
        run_name="nightly",
    )

    @flow(name="push")
    def run() -> str:
        retry = RetryConfig(retries=2, first_delay_s=0.01)
        return await_node(submit_node(node, retry, ())).manifest

    return read_manifest(exported.storage, run())


def list_folder(exported: Exported, folder: str) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in Path(exported.storage.url(folder)).iterdir()}


def held(hub: SmallHub, name: str) -> dict[str, bytes]:
    return {n: d for n, d in hub.repositories[name].files.items() if n != ".gitattributes"}


def test_a_run_is_pushed_whole_once_and_the_commits_are_kept(
    prefect_server: str, hub: SmallHub, exported: Exported
) -> None:
    manifest = push(exported, configure(hub))
    dataset, model = hub.repositories[DATASET], hub.repositories[MODEL]
    assert (dataset.kind, dataset.private, model.kind, model.private) == (
        "dataset", True, "model", True,
    )  # fmt: skip
    assert held(hub, DATASET) == list_folder(exported, "export/x")
    assert held(hub, MODEL)["model.safetensors"] == WEIGHTS
    assert manifest.facts["model"]["commit"] == model.head
    assert manifest.facts["dataset"]["commit"] == dataset.head
    assert manifest.facts["dataset"]["files"] == len(held(hub, DATASET)) == 7
    assert "nightly" in model.commits[-1][1]
    assert set(manifest.upstream) == {"export", "training"}
    # Both ways were walked: large files by LFS, small ones inside the commit.
    assert hub.count("PUT /contents/") == len(hub.contents) >= 2

    asked = len(hub.requests)
    assert push(exported, configure(hub)) == manifest
    assert len(hub.requests) == asked


def test_the_same_files_pushed_anew_make_no_new_commit(
    prefect_server: str, hub: SmallHub, exported: Exported
) -> None:
    first = push(exported, configure(hub))
    other = NodeSpec.build("export", 1, identity={"name": "y"}, selection={})
    made = read_manifest(exported.storage, exported.export.manifest)
    again = {"recipe": other.recipe, "fingerprint": other.fingerprint, "identity": other.identity}
    write_manifest(exported.storage, made.model_copy(update=again))
    second = push(exported, configure(hub), export=other)
    assert first.fingerprint != second.fingerprint
    assert second.facts["model"]["commit"] == first.facts["model"]["commit"]
    assert len(hub.repositories[MODEL].commits) == 2
    assert hub.count("PUT /contents/") == len(hub.contents)


def test_files_of_an_earlier_export_go_and_those_of_people_stay(
    prefect_server: str, hub: SmallHub, exported: Exported
) -> None:
    old = {"model-00001-of-00002.safetensors": b"old", "LICENSE": b"ours"}
    hub.add("model", MODEL, private=True, **old)
    push(exported, configure(hub, dataset=None))
    names = set(held(hub, MODEL))
    assert "LICENSE" in names
    assert "model-00001-of-00002.safetensors" not in names
    assert "model.safetensors" in names
    assert DATASET not in hub.repositories


def test_a_dry_run_writes_the_list_and_asks_nobody(
    prefect_server: str, hub: SmallHub, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OC_TEST_HUB_TOKEN")
    manifest = push(exported, configure(hub, dry_run=True))
    assert hub.requests == []
    text = exported.storage.read_bytes(manifest.facts["listing"]).decode()
    assert f"## model {MODEL}" in text
    assert f"| model.safetensors | {len(WEIGHTS):,} |" in text
    assert "commit" not in manifest.facts["model"]


def test_a_hub_that_stumbles_is_asked_again(
    prefect_server: str, hub: SmallHub, exported: Exported, waits: list[float]
) -> None:
    hub.failures = {"/preupload/": [503], "/contents/": [500, 502], "/commit/": [503]}
    hub.lose_commits = 1  # made, but the answer is lost: the retry must find it made
    manifest = push(exported, configure(hub))
    assert not any(hub.failures.values())
    assert waits
    assert held(hub, DATASET) == list_folder(exported, "export/x")
    assert manifest.facts["dataset"]["commit"] == hub.repositories[DATASET].head
    for name in (DATASET, MODEL):
        assert len(hub.repositories[name].commits) == 2


def test_a_hub_that_is_not_there_is_transient_and_bounded(
    hub: SmallHub, exported: Exported, waits: list[float]
) -> None:
    with pytest.raises(TransientError, match="does not answer"):
        check_hub(configure(hub, endpoint="http://127.0.0.1:9"))
    hub.failures = {"/whoami": [503] * 9}
    with pytest.raises(TransientError, match="answered 503"):
        check_hub(configure(hub))


def test_a_wrong_token_is_an_error_of_the_configuration_and_is_not_shown(
    prefect_server: str, hub: SmallHub, exported: Exported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OC_TEST_HUB_TOKEN", "hf_wrong-token-0123456789")
    with pytest.raises(ConfigError, match=r"publish\.token") as caught:
        check_hub(configure(hub))
    assert "hf_wrong" not in str(caught.value)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=r"publish\.token"):
        push(exported, configure(hub))
    assert time.monotonic() - began < 20
    assert hub.count("/commit/") == 0


def test_a_namespace_of_others_and_a_bad_card_are_refused_with_what_to_do(
    prefect_server: str, hub: SmallHub, exported: Exported
) -> None:
    with pytest.raises(ConfigError, match="may write there"):
        push(exported, configure(hub, dataset="somebody/else", model=None))
    card = Path(exported.storage.url(f"{TRAINING.folder}/{TRAINING.fingerprint}/README.md"))
    card.write_text("no metadata\n")
    with pytest.raises(ConfigError, match="metadata"):
        push(exported, configure(hub, dataset=None))
    assert hub.repositories[MODEL].commits[1:] == []


def test_nothing_private_goes_into_a_public_repository(
    prefect_server: str, hub: SmallHub, exported: Exported
) -> None:
    hub.add("model", MODEL, private=False)
    with pytest.raises(ConfigError, match="the repository is public"):
        check_hub(configure(hub))
    with pytest.raises(ConfigError, match="the repository is public"):
        push(exported, configure(hub, dataset=None))
    assert hub.count("/preupload/") == 0
    push(exported, configure(hub, dataset=None, private=False))
    assert held(hub, MODEL)["model.safetensors"] == WEIGHTS


def test_files_that_changed_since_they_were_made_are_not_pushed(
    prefect_server: str, hub: SmallHub, exported: Exported
) -> None:
    folder = f"{TRAINING.folder}/{TRAINING.fingerprint}"
    weights = Path(exported.storage.url(f"{folder}/model.safetensors"))
    weights.write_bytes(WEIGHTS[::-1])
    with pytest.raises(StorageError, match="not what its manifest names"):
        push(exported, configure(hub, dataset=None))
    assert len(hub.repositories[MODEL].commits) == 1


def test_a_store_on_s3_is_pushed_file_by_file(
    prefect_server: str, hub: SmallHub, exported: Exported, s3: Storage, tmp_path: Path
) -> None:
    remote = make_exported(s3, tmp_path / "second")
    push(remote, configure(hub))
    assert held(hub, DATASET) == list_folder(exported, "export/x")
    assert held(hub, MODEL)["model.safetensors"] == WEIGHTS
