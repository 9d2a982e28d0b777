"""Sends faults over runs with the scripted engine: on a disk, on one that fills, on a cluster."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from random import Random
from signal import SIGINT, SIGTERM
from tempfile import TemporaryDirectory

from tests.chaos.course import Calm, Course
from tests.chaos.faults import Fault, die_at, freeze, kill, kill_early, starve
from tests.chaos.ray_nodes import lose_node, run_nodes
from tests.chaos.scene import Scene, TooLate
from tests.chaos.stores import LocalFiles, read_exported
from tests.e2e.prefect_homes import make_home
from tests.e2e.scripted import LEDGER, ScriptedWorld

WINDOW, CHUNK = 8, 4
OPEN_STAGES = 2
"""Characters and guesses, then both strategies, run side by side."""
MOST_AGAIN = OPEN_STAGES * (WINDOW + 2 * CHUNK)
"""Requests that the death of one engine or run costs; retries of bad answers come on top."""
REPLICAS = 2
_LATENCY_S, _BAD_SHARE = 0.2, 0.03
_STALL_S = 6.0
_BALLAST = "ballast"
_DISK_BYTES = 40 << 20


def make_scene(folder: Path, dice: Random, root: str = "", *more: str) -> Scene:
    """Make a small world below a folder, whose run is slow enough to be struck."""
    world = ScriptedWorld.make(folder / "w", personas=60, questions=40)
    ledger = folder / "ledger"
    script = (
        f"{{latency_s: {_LATENCY_S}, bad_output_share: {_BAD_SHARE},"
        " respond: tests.chaos.fatal_moments.respond}"
    )
    settings = (
        f"models.teacher.script={script}",
        f"models.teacher.stall_timeout_s={_STALL_S}",
        "runner.max_engine_restarts=50",
        *([f"storage.root={root}"] if root else ()),
        *more,
    )
    arguments = ["run", str(world.config), *(word for one in settings for word in ("--set", one))]
    env = {LEDGER: str(ledger), "HF_HUB_OFFLINE": "1", "SPT_NOENV": "1"}
    return Scene(folder, arguments, env, LocalFiles(Path(root or world.root)), dice, ledger)


@contextmanager
def open_local(folder: Path, dice: Random) -> Iterator[Scene]:
    """Have a store on the local disk, and one engine."""
    yield make_scene(folder, dice)


@contextmanager
def open_alone(folder: Path, dice: Random) -> Iterator[Scene]:
    """Have two engines, and a Prefect server that belongs to the run."""
    scene = make_scene(folder, dice, "", f"models.teacher.replicas={REPLICAS}")
    scene.env["PREFECT_HOME"] = str(make_home(folder / "prefect"))
    yield scene


@contextmanager
def open_small_disk(folder: Path, dice: Random) -> Iterator[Scene]:
    """Have a store on a file system of its own, which is small."""
    disk = folder / "d"
    disk.mkdir()
    with ExitStack() as ends:
        size = f"size={_DISK_BYTES}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], check=True)
        ends.callback(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        yield make_scene(folder, dice, str(disk / "store"))


@contextmanager
def open_cluster(folder: Path, dice: Random) -> Iterator[Scene]:
    """Have a Ray of three nodes, with an engine on each."""
    with run_nodes({LEDGER: str(folder / "ledger")}) as (address, holder):
        more = (f"ray.address={address}", "models.teacher.replicas=3")
        scene = make_scene(folder, dice, "", *more)
        scene.nodes = holder
        yield scene


def fill_disk(parts: tuple[int, int]) -> Fault:
    """Leave no room where the store is, until the run has ended for it."""

    def fill(scene: Scene) -> None:
        scene.await_parts(scene.dice.randint(*parts))
        ballast = scene.folder / "d" / _BALLAST
        try:
            with ballast.open("wb") as file:
                while True:
                    file.write(bytes(1 << 16))
                    file.flush()
        except OSError:
            pass
        try:
            scene.await_that(lambda: False, "the end of a run without room")
        except TooLate:
            ballast.unlink()

    return Fault("disk: full", f"{parts[0]} to {parts[1]} parts on, until the run ends", fill)


def calm_run(server: str) -> Callable[[], Calm]:
    """Return what gives what a run leaves that nothing happens to; it is made once."""

    @cache
    def run() -> Calm:
        with TemporaryDirectory(prefix="oc-chaos-", dir="/tmp") as folder:
            scene = make_scene(Path(folder), Random(0))
            scene.env["PREFECT_API_URL"] = server
            scene.start()
            assert scene.await_end() == 0, scene.read_words()
            return Calm(scene.read_rows(), read_exported(scene.files))

    return run


def served(
    open_scene: Callable[[Path, Random], AbstractContextManager[Scene]], server: str
) -> Callable[[Path, Random], AbstractContextManager[Scene]]:
    """Return a scene's opening whose runs use a Prefect server that is there."""

    @contextmanager
    def open_served(folder: Path, dice: Random) -> Iterator[Scene]:
        with open_scene(folder, dice) as scene:
            scene.env["PREFECT_API_URL"] = server
            yield scene

    return open_served


def list_moments() -> Sequence[Fault]:
    """Return faults at moments of the driver's own: the run dies between two file operations."""
    return (
        kill("driver", stages=("characters",), parts=(2, 4)),
        kill_early(1, 6),
        die_at(
            "compaction: SIGKILL", "merged part begun", "open", r"/characters/.*/\.part-[0-9a-f]{9}"
        ),
        die_at(
            "compaction: SIGKILL",
            "merged part whole, chunks not removed",
            "os.remove",
            r"/(characters|guesses)/.*/part-c-",
            2,
        ),
        die_at(
            "manifest: SIGKILL",
            "written, not in its place",
            "os.rename",
            r"/(characters|guesses)/[0-9a-f]+/[0-9a-f]+\.json$",
        ),
        kill("driver", stages=("dialogues_generate", "dialogues_rewrite"), parts=(6, 12)),
        kill("driver", number=SIGTERM, kind="driver: SIGTERM"),
        kill("driver", number=SIGINT, kind="driver: SIGINT"),
        die_at(
            "compaction: SIGKILL",
            "merged part written, not in its place",
            "os.rename",
            r"/dialogues_\w+/.*/part-[0-9a-f]{9}",
        ),
        die_at(
            "manifest: SIGKILL",
            "about to be written",
            "open",
            r"/dialogues_\w+/[0-9a-f]+/\.[0-9a-f]+\.json",
        ),
        die_at("export: SIGKILL", "third file not in its place", "os.rename", r"/export/", 3),
        die_at("export: SIGKILL", "its manifest begun", "open", r"/export/[0-9a-f]+/\.\w+\.json"),
        die_at("summary: SIGKILL", "not in its place", "os.rename", r"/runs/.*summary\.json$"),
    )


def list_courses(server: str, calm: Callable[[], Calm]) -> tuple[Course, ...]:
    """Return the courses on disks and on a cluster, the runs served by a Prefect server."""
    moments = list_moments()
    alone = (
        kill("stage worker", kind="stage worker: SIGKILL"),
        freeze("stage worker"),
        kill("stage worker", "stage worker", kind="two at once: both stage workers"),
        starve("stage worker"),
        kill("stage worker", "driver", kind="two at once: stage worker + driver"),
        kill("Prefect server", kind="Prefect server: SIGKILL", ends=True),
        kill("raylet", kind="Ray node: the run's only one", ends=True),
        kill("GCS", kind="Ray's GCS: SIGKILL", ends=True),
    )
    nodes = (lose_node(), lose_node("driver"))
    disks = (fill_disk((1, 3)), fill_disk((4, 8)))
    return (
        Course("moments", "scripted", served(open_local, server), moments, calm, MOST_AGAIN),
        Course("processes", "scripted", open_alone, alone, calm, 2 * REPLICAS * MOST_AGAIN),
        Course("disk", "scripted", served(open_small_disk, server), disks, calm, MOST_AGAIN),
        Course("nodes", "scripted", served(open_cluster, server), nodes, calm, 3 * MOST_AGAIN),
    )
