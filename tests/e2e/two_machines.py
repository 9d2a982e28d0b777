"""Is a program: runs the pipeline on a Ray whose workers, engines and ranks are on another machine.

The driver's machine takes no work, and serves S3. Prints one JSON line: what a root on its own disk
is refused for, what a run on S3 came to, and what the other machine holds afterwards.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.control.display import watch
from flows.pipeline import opencharacter
from infra.cluster.devices import list_offers
from infra.cluster.node_checks import Question
from infra.cluster.probe import check_nodes
from infra.orchestration.embedded_server import embedded_server
from infra.store.storage import Storage
from tests.e2e.scripted import Silent
from tests.e2e.second_machine import TwoMachines, two_machines
from tests.e2e.unlike_nodes import refuse

BUCKET = "demo"
_KEYS = "KEYS_OF_THE_STORE"
_SECRET = "a-key-that-no-file-may-hold"


class Ear(Silent):
    """Remembers what engines do."""

    def __init__(self) -> None:
        self.engines: list[str] = []

    def engine_event(self, model: str, text: str) -> None:
        """Remember it."""
        self.engines.append(f"{model}: {text}")


@contextmanager
def serve_s3(host: str, models: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Serve a bucket with these folders; yield what ``storage.credentials`` is to hold."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address=host, port=0)
    server.start()
    keys = {
        "endpoint_url": f"http://{host}:{server.get_host_and_port()[1]}",
        "access_key_id": "of-the-store",
        "secret_access_key": _SECRET,
        "region": "us-east-1",
    }
    client = boto3.client(
        "s3",
        endpoint_url=keys["endpoint_url"],
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        region_name=keys["region"],
    )
    try:
        client.create_bucket(Bucket=BUCKET)
        for name, folder in models.items():
            for path in Path(folder).iterdir():
                client.upload_file(str(path), BUCKET, f"models/{name}/{path.name}")
        yield keys
    finally:
        server.stop()


def main(given: str) -> None:
    """Start both machines, run, and tell what came of it."""
    print(json.dumps(run(Given(**json.loads(given)))))


@dataclass(frozen=True)
class Given:
    """What is to be run: a configuration with overrides, and with others, if any, to be refused.

    ``models`` are folders that the bucket holds; ``folder``, ``hidden`` and ``separate`` are said
    of in :func:`two_machines`.
    """

    config: str
    overrides: list[str]
    refused: list[str]
    models: dict[str, str]
    folder: str
    hidden: str
    separate: bool


def run(given: Given) -> dict[str, Any]:
    """Run what is refused, what is not, and that once more; tell of each, and of the files."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    folder, hidden = Path(given.folder), Path(given.hidden)
    with (
        two_machines(folder, hidden, separate=given.separate) as machines,
        serve_s3(machines.host, given.models) as keys,
        embedded_server() as await_server,
    ):
        await_server()
        joined = f"ray.address={machines.address}"
        told = {
            "refused": refuse_run(given.config, [*given.refused, joined]) if given.refused else {},
            "probed": probe_again(machines),
        }
        os.environ[_KEYS] = json.dumps(keys)
        overrides = [*given.overrides, joined, f"storage.credentials=env:{_KEYS}"]
        result = opencharacter(given.config, overrides)
        again = opencharacter(given.config, overrides)
        places = (machines.home, machines.scratch, machines.logs)
        secrets = (keys["access_key_id"], _SECRET, os.environ["RAY_AUTH_TOKEN"])
        return {
            **told,
            "result": result.model_dump(),
            "again": again.engines_started,
            "home": list_files(machines.home),
            "left": [name for name in list_files(machines.scratch) if not name.startswith("ray/")],
            "telling": find_words(places, secrets),
            "speaking": find_words(places, [machines.address]),
        }


def refuse_run(config: str, overrides: list[str]) -> dict[str, Any]:
    """Run what is to be refused; return for what it was, and which engines had started."""
    ear = Ear()
    with watch(ear):
        return {**refuse(opencharacter, config, overrides), "engines": ear.engines}


def probe_again(machines: TwoMachines) -> dict[str, Any]:
    """Look at the cluster after a refusal: what was started there, and what is said of a share.

    That is first one whose folders only their maker writes to, then one where everybody may.
    """
    import ray

    ray.init(address=machines.address, log_to_driver=False)
    try:
        told: dict[str, Any] = {"actors": list_actors()}
        if machines.shared is not None:
            question = Question(Storage(str(machines.shared / "store")), {}, {})
            for name, mask in (("closed", 0o022), ("open", 0)):
                before = os.umask(mask)
                told[name] = refuse(check_nodes, ray, list_offers(ray), question, print)["problems"]
                os.umask(before)
            told["left"] = list_files(machines.shared)
        return told
    finally:
        ray.shutdown()


def list_actors() -> list[str]:
    """Return the classes of all actors that the cluster ever had, the dead ones too."""
    import ray

    actors = ray._private.state.actors().values()
    return sorted(actor["ActorClassName"] for actor in actors)


def find_words(places: Sequence[Path], words: Sequence[str]) -> list[str]:
    """Return the files in these folders that hold any of these words."""
    return [
        f"{place}/{name}"
        for place in places
        for name in list_files(place)
        if any(word.encode() in (place / name).read_bytes() for word in words)
    ]


def list_files(folder: Path) -> list[str]:
    """Return the files below a folder, without links and sockets."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


if __name__ == "__main__":
    main(sys.argv[1])
