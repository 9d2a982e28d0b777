"""Is a program that holds a Ray of three nodes and loses one when it is told to; and starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from signal import SIGKILL

from tests.chaos.faults import Fault, choose
from tests.chaos.scene import Scene
from tests.chaos.victims import strike
from tests.e2e.local_nodes import local_nodes

_GRACE_S = 60.0


@contextmanager
def run_nodes(env: Mapping[str, str]) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Have a Ray of three nodes beside the block; yield its address, and who holds it.

    ``env`` is what its workers find in their environment: that of a run does not reach them.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.chaos.ray_nodes"],
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.stdin.close()
        process.wait(_GRACE_S)


def lose_node(*also: str) -> Fault:
    """Have a whole node gone at once, and with it other victims."""

    def lose(scene: Scene) -> None:
        scene.await_parts(scene.dice.randint(2, 4))
        others = choose(scene, also)
        holder = scene.nodes
        assert holder is not None and holder.stdin is not None and holder.stdout is not None
        holder.stdin.write("lose\n")
        holder.stdin.flush()
        for process in others:
            strike(process, SIGKILL)
        assert holder.stdout.readline().strip() == "lost"

    return Fault(" + ".join(("Ray node: lost", *also)), "2 to 4 parts on, any stage", lose)


def main() -> None:
    """Hold the nodes; lose one at each line that comes, and end with the last."""
    with local_nodes(1, [{"num_cpus": 1}] * 2) as (cluster, nodes):
        print(cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
            print("lost", flush=True)


if __name__ == "__main__":
    main()
