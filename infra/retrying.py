"""Carries out storage operations again that failed by what may pass, with bounded backoff."""

from __future__ import annotations

import errno
import random
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from infra.errors import ConfigError, Problem, StorageError

T = TypeVar("T")

_ATTEMPTS = 5
_FIRST_WAIT_S = 0.2
_FINAL = (
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)
_FINAL_NUMBERS = (errno.EROFS, errno.ENAMETOOLONG, errno.EFBIG, errno.ELOOP, errno.ENOSYS)
"""What waiting does not fix."""


def retry(operation: Callable[[], T]) -> T:
    """Carry out an operation, again with growing waits while what it fails by may pass.

    Raises :class:`StorageError` for what stays broken, :class:`ConfigError` for lacking keys.
    """
    wait_s = _FIRST_WAIT_S
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return operation()
        except Exception as error:
            if _lacks_credentials(error):
                raise ConfigError(_ask_for_credentials(error)) from error
            if not _may_pass(error):
                raise
            if attempt == _ATTEMPTS:
                raise StorageError(f"storage failed {attempt} times: {error}") from error
            time.sleep(wait_s * (0.5 + random.random()))  # noqa: S311 - jitter, not data
            wait_s *= 2
    raise AssertionError("unreachable")


def _may_pass(error: Exception) -> bool:
    """Tell failing disks and answers, and connections that break, from what is wrong for good.

    Neither botocore's nor aiohttp's errors of a broken connection are :class:`OSError`.
    """
    if isinstance(error, OSError):
        return not isinstance(error, _FINAL) and error.errno not in _FINAL_NUMBERS
    if "botocore" not in sys.modules:
        return False
    import aiohttp
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    broken = (
        aiohttp.ClientError,
        exceptions.HTTPClientError,
        exceptions.ConnectionError,
        exceptions.IncompleteReadError,
        ResponseParserError,
    )
    return isinstance(error, broken)


def _lacks_credentials(error: Exception) -> bool:
    if "botocore" not in sys.modules:
        return False
    from botocore import exceptions

    missing = (
        exceptions.NoCredentialsError,
        exceptions.PartialCredentialsError,
        exceptions.CredentialRetrievalError,
    )
    return isinstance(error, missing)


def _ask_for_credentials(error: Exception) -> Problem:
    return Problem(
        "S3",
        f"there are no credentials: {error}",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or storage.credentials",
    )
