"""Sends faults over the demo: real vLLM engines on real Ray, with a Prefect server of the run's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from tests.chaos.course import Course
from tests.chaos.faults import Fault, freeze, kill, kill_early, starve
from tests.chaos.scene import Scene
from tests.chaos.stores import LocalFiles
from tests.e2e.prefect_homes import make_home

_SETTINGS = (
    "personas.sample=120",
    "instructions.limit=60",
    "instructions.synthesis.count=20",
    "evaluation=null",
    "training=null",
    "runner.chunk_rows=4",
    "runner.max_engine_restarts=50",
    "models.teacher.stall_timeout_s=8",
)
"""A cut of the demo without its training, in small parts: a fault comes after every few."""


@contextmanager
def open_demo(folder: Path, dice: Random) -> Iterator[Scene]:
    """Have the demo's store on the local disk."""
    store = folder / "store"
    settings = (f"storage.root={store}", *_SETTINGS)
    words = [word for setting in settings for word in ("--set", setting)]
    env = {
        "PREFECT_HOME": str(make_home(folder / "prefect")),
        "HF_HUB_OFFLINE": "1",
        "SPT_NOENV": "1",
    }
    yield Scene(folder, ["run", "configs/demo.yaml", *words], env, LocalFiles(store), dice)


def list_faults() -> tuple[Fault, ...]:
    """Return the faults; those that a run survives come first, while it has most to do."""
    both = ("engine core", "stage worker")
    return (
        kill("engine core", kind="engine core: SIGKILL"),
        kill("engine actor", kind="engine actor: SIGKILL"),
        kill("stage worker", kind="stage worker: SIGKILL"),
        freeze("engine core"),
        kill("engine frontend", kind="engine frontend: SIGKILL"),
        kill(*both, kind="two at once: engine core + stage worker"),
        freeze("engine frontend"),
        kill("zygote", kind="zygote of the engines: SIGKILL"),
        starve("engine core"),
        kill("driver", kind="driver: SIGKILL"),
        kill_early(2, 8),
        kill("driver", "engine core", kind="two at once: driver + engine core"),
        kill("Prefect server", kind="Prefect server: SIGKILL", ends=True),
        kill("driver", "zygote", kind="two at once: driver + zygote"),
    )


def list_courses() -> tuple[Course, ...]:
    """Return the one course."""
    return (Course("vllm", "vLLM", open_demo, list_faults()),)
