"""Sends faults over runs whose store lies on S3, behind a network that fails in every way."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from signal import SIGKILL

from tests.chaos.course import Calm, Course
from tests.chaos.faults import Fault
from tests.chaos.scene import Scene
from tests.chaos.scripted_courses import MOST_AGAIN, make_scene
from tests.chaos.stores import BucketFiles
from tests.chaos.victims import strike
from tests.e2e.stumbling_s3 import FAIR, StumblingS3, Weather, run_s3

BUCKET = "bucket"
VARIABLES = (
    "AWS_ENDPOINT_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_DEFAULT_REGION",
)
_SPOILT = 6
"""So many requests are spoilt before the weather is fair again."""


@contextmanager
def open_bucket(server: str, folder: Path, dice: Random) -> Iterator[Scene]:
    """Have a store on S3, and one engine."""
    with run_s3() as s3:
        # All servers of a process have the same objects, so a prefix is taken but once.
        scene = make_scene(folder, dice, f"s3://{BUCKET}/{folder.name}")
        scene.files = BucketFiles(s3.client(), BUCKET, folder.name)
        scene.s3 = s3
        cache = str(folder / "cache")
        scene.env |= {name: os.environ[name] for name in VARIABLES}
        scene.env |= {"PREFECT_API_URL": server, "XDG_CACHE_HOME": cache}
        yield scene


def spoil(kind: str, weather: Weather, most_again: int = 0) -> Fault:
    """Have a weather come over the requests until some are spoilt, and let it clear."""

    def send(scene: Scene) -> None:
        s3 = _server(scene)
        scene.await_parts(1)
        s3.chance.seed(scene.dice.random())
        s3.weather, before = weather, s3.spoilt
        try:
            if weather.latency_s:
                scene.await_parts(4)
            else:
                scene.await_that(lambda: s3.spoilt - before >= _SPOILT, "spoilt requests")
        finally:
            s3.weather = FAIR

    until = "4 parts" if weather.latency_s else f"{_SPOILT} spoilt requests"
    return Fault(f"S3: {kind}", f"a part on, for {until}", send, most_again=most_again)


def kill_at_request(kind: str, moment: str, method: str, path: str, victim: str) -> Fault:
    """Kill a process at the moment at which a request comes that is like this."""
    pattern = re.compile(path)

    def send(scene: Scene) -> None:
        s3, struck = _server(scene), list[str]()

        def watch(asked: str, address: str) -> None:
            if asked == method and not struck and pattern.search(address):
                struck.append(address)
                for process in scene.await_victims(victim):
                    strike(process, SIGKILL)

        s3.watch = watch
        try:
            scene.await_that(lambda: bool(struck), moment)
        finally:
            s3.watch = lambda asked, address: None

    return Fault(kind, moment, send)


def _server(scene: Scene) -> StumblingS3:
    assert scene.s3 is not None
    return scene.s3


def list_courses(server: str, calm: Callable[[], Calm]) -> tuple[Course, ...]:
    """Return the courses on S3, the runs served by a Prefect server."""
    faults = (
        spoil("drops", Weather(dropped=0.25)),
        spoil("delays", Weather(latency_s=0.25)),
        spoil("503s", Weather(refused=0.25)),
        spoil("a lost answer after a write", Weather(lost=0.25)),
        spoil("a listing that is late", Weather(lag_s=2.0), MOST_AGAIN),
        spoil("answers cut off", Weather(cut=0.25)),
        kill_at_request(
            "manifest: SIGKILL",
            "its PUT is on the way",
            "PUT",
            r"/(dialogues_\w+|characters)/\w+/\w+\.json",
            "driver",
        ),
        kill_at_request("export: SIGKILL", "a PUT is on the way", "PUT", r"/export/", "driver"),
    )

    @contextmanager
    def open_scene(folder: Path, dice: Random) -> Iterator[Scene]:
        with open_bucket(server, folder, dice) as scene:
            yield scene

    return (Course("s3", "scripted on S3", open_scene, faults, calm, MOST_AGAIN),)
