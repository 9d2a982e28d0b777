"""Puts S3's endpoint and credentials from a secret where every process of a run looks for them.

Without ``storage.credentials`` the standard ``AWS_…`` variables and files count, as they do for
every S3 client. With it, a secret holds them as one JSON object on one line::

    {"endpoint_url": "…", "access_key_id": "…", "secret_access_key": "…", "region": "…"}

They are set as environment variables of this process before Ray starts, so Ray's processes here
inherit them, Arrow's own S3 client in the training ranks included. To the nodes of a cluster that a
run joins they travel (:mod:`infra.secrets.travelling`).
"""

from __future__ import annotations

import json
import os

from infra.errors import ConfigError, Problem
from infra.secrets.secrets import read_secret
from infra.store.storage import forget_connections

VARIABLES = {
    "endpoint_url": "AWS_ENDPOINT_URL",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "region": "AWS_DEFAULT_REGION",
}
_NEEDED = ("access_key_id", "secret_access_key")


def apply_credentials(reference: str) -> None:
    """Resolve ``env:NAME`` or ``prefect:block-name`` and set the variables it holds.

    Raises :class:`ConfigError` where the secret is missing or holds something else; the message
    names keys, never values.
    """
    values = _parse(reference, read_secret(reference).reveal())
    for key, value in values.items():
        os.environ[VARIABLES[key]] = value
    if "session_token" not in values:
        # A token left over from another key would make these credentials invalid.
        os.environ.pop(VARIABLES["session_token"], None)
    forget_connections()


def name_endpoint() -> str:
    """Return where S3 is asked for, as the environment says; empty for the vendor's own."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def _parse(reference: str, text: str) -> dict[str, str]:
    known = ", ".join(VARIABLES)
    todo = f"save a JSON object on one line with keys out of {known}"
    try:
        values = json.loads(text)
    except ValueError:
        raise ConfigError(Problem(reference, "the secret is no JSON", todo)) from None
    if not isinstance(values, dict) or not all(isinstance(item, str) for item in values.values()):
        raise ConfigError(Problem(reference, "the secret is no JSON object of texts", todo))
    unknown = sorted(values.keys() - VARIABLES.keys())
    if unknown:
        raise ConfigError(Problem(reference, f"has unknown keys: {', '.join(unknown)}", todo))
    missing = [key for key in _NEEDED if not values.get(key)]
    if missing:
        raise ConfigError(Problem(reference, f"lacks {', '.join(missing)}", todo))
    return values
