"""Is a program: runs the demo, store and models on S3, on a Ray node with a home and no keys.

The driver's node takes no work. Prints one JSON line: the run's result, and by machine what its
cache holds of models and token files.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from flows.pipeline import opencharacter
from tests.e2e.local_nodes import local_nodes


def list_cache(home: Path) -> dict[str, list[str]]:
    """Return the files of the models in a cache by kind and folder, and of the token files."""
    root = home / "opencharacter"
    return {
        kind: sorted(
            str(path.relative_to(root / kind))
            for path in (root / kind).rglob("*")
            if path.is_file() and not path.name.endswith((".lock", ".use"))
        )
        for kind in ("models", "tokens")
    }


def main(given: str) -> None:
    """Start the cluster, run twice, and tell what came of it."""
    told = run(json.loads(given))
    print(json.dumps(told))


def run(given: dict[str, Any]) -> dict[str, Any]:
    """Run with these overrides; ``given`` also names the other machine's folder."""
    other = Path(given["other"])
    for name in ("home", "tmp"):
        (other / name).mkdir(parents=True)
    own = {"HOME": str(other / "home"), "TMPDIR": str(other / "tmp")}
    own["XDG_CACHE_HOME"] = str(other / "cache")
    token = Path.home() / ".ray" / "auth_token"
    if token.exists():
        # Ray makes one at its first local start, and from then on wants it on every machine.
        own["RAY_AUTH_TOKEN_PATH"] = str(token)
    with local_nodes(0, [{"num_cpus": 4, "env_vars": own, "lacks": "AWS_"}]) as (cluster, _):
        overrides = [*given["overrides"], f"ray.address={cluster.address}"]
        result = opencharacter("configs/demo.yaml", overrides)
        again = opencharacter("configs/demo.yaml", overrides)
    return {
        "result": result.model_dump(),
        "again": again.engines_started,
        "driver": list_cache(Path(os.environ["XDG_CACHE_HOME"])),
        "other": list_cache(other / "cache"),
    }


if __name__ == "__main__":
    main(sys.argv[1])
