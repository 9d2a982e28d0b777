"""Takes along what of the driver's environment the nodes of a cluster need, and nothing else.

Their raylets were started by somebody else: they have neither the run's S3 keys nor its hub token,
proxies or trackers. What a node has of its own stays, but for S3, where half of one's keys and half
of another's open nothing. The values travel as code that Ray keeps for the workers of this run
alone: no command line, no log, and nothing that Ray tells of a runtime environment holds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from infra.paths import CACHE_GIB
from infra.secrets.s3_credentials import VARIABLES

_S3 = frozenset(VARIABLES.values()) | {"AWS_REGION", "AWS_ENDPOINT_URL_S3"}
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_HUB = ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE")
_NAMES = frozenset((*_PROXIES, *map(str.lower, _PROXIES), *_HUB, CACHE_GIB))
_PREFIXES = ("WANDB_", "MLFLOW_", "TRACKIO_")
"""Of what `training.trackers` may name and has an account somewhere."""


def make_carrier(environment: Mapping[str, str]) -> Callable[[], None] | None:
    """Return what every worker process does first, for Ray to pickle; ``None`` if nothing travels.

    It is a closure, which travels by value: a node without this project can still say so itself.
    """
    s3 = {name: value for name, value in environment.items() if name in _S3}
    keys = s3 if VARIABLES["access_key_id"] in s3 else {}
    others = {
        name: value
        for name, value in environment.items()
        if name in _NAMES or name.startswith(_PREFIXES) or (name in s3 and not keys)
    }
    if not keys and not others:
        return None
    replaced = sorted(_S3) if keys else []

    def unpack() -> None:
        for name in replaced:
            os.environ.pop(name, None)
        for name, value in {**others, **os.environ, **keys}.items():
            os.environ[name] = value

    return unpack
