"""Takes secrets out of text that leaves the machine, by their values and by their looks.

Values come from where secrets are kept: the references in a configuration, and environment
variables whose names say that they hold one. Each is looked for as it is, as JSON writes it and
as addresses write it. What only looks like a key is masked as well.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus

from infra.errors import OpenCharacterError
from infra.secrets.secrets import Secret, read_secret

MASK = "***"

_LEAST_CHARS = 6
_TELLING = re.compile(
    r"KEY|TOKEN|SECRET|PASSW|_PWD|CREDENTIAL|AUTH|CONNECTION_URL|CONN_STR|DSN|WEBHOOK|COOKIE",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\b(?:env:[A-Za-z_][A-Za-z0-9_]*|prefect:[A-Za-z0-9_-]+)")
_LOOKS = (
    # user:password@ of an address
    re.compile(r"(?<=://)[^/\s@'\"]+(?=@)"),
    # headers
    re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?(?:basic|bearer)\s+)[^\s'\",]+"),
    re.compile(r"(?i)(\bbearer )(?=\S*\d)[A-Za-z0-9._~+/=-]{6,}"),
    # keys of well-known services
    re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}"),
    re.compile(r"\bhf_[A-Za-z0-9]{16,}"),
    re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    re.compile(r"\bgh[pousr]_[A-Za-z0-9]{20,}"),
    re.compile(r"\bpn[ub]_[A-Za-z0-9]{20,}"),
    re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.S),
    # signatures and keys in query strings
    re.compile(
        r"(?i)([?&](?:x-amz-[a-z-]+|signature|sig|(?:api_?)?key|(?:access_?)?token)=)[^&\s'\"]+"
    ),
    # a value that is given a telling name; references to secrets are none
    re.compile(
        r"(?i)((?<![a-z])(?:api_?key|secret(?:_access_key)?|access_key(?:_id)?|password|passwd"
        r"|auth_?token|access_?token)['\"]?\s*[:=]\s*['\"]?)(?!env:|prefect:|null|None|\*\*\*)"
        r"[^\s'\",}]{4,}"
    ),
)


@dataclass(frozen=True, slots=True)
class Masker:
    """Masker of texts; made once, from everything that is known to be secret here."""

    secrets: tuple[Secret, ...]
    home: str

    @classmethod
    def collect(cls, *texts: str, environment: Mapping[str, str] | None = None) -> Masker:
        """Gather the secrets that texts refer to and that the environment holds.

        A reference that cannot be resolved here is left out: its value is not known.
        """
        environment = os.environ if environment is None else environment
        found = {
            Secret(value.strip())
            for name, value in environment.items()
            if _TELLING.search(name)
            and len(value.strip()) >= _LEAST_CHARS
            # Where a secret or a socket lies is none, and masking a folder hides what is below.
            and not _is_place(value.strip())
        }
        for reference in {item for text in texts for item in _REFERENCE.findall(text)}:
            try:
                found.add(read_secret(reference))
            except OpenCharacterError:
                continue
        longest_first = sorted(found, key=lambda secret: len(secret.reveal()), reverse=True)
        return cls(tuple(longest_first), str(Path.home()))

    def mask(self, text: str) -> str:
        """Return the text without secrets, and with the home folder as ``~``."""
        for secret in self.secrets:
            for spelling in _spell(secret):
                text = spelling.hide_in(text)
        for looks in _LOOKS:
            text = looks.sub(lambda found: (found[1] if found.re.groups else "") + MASK, text)
        if len(self.home) > 1:
            text = re.sub(rf"{re.escape(self.home)}(?![A-Za-z0-9_.-])", "~", text)
        return text


def _is_place(value: str) -> bool:
    # Keys may begin with a slash as well, so the file must be there.
    with suppress(OSError, ValueError):
        return Path(value).is_absolute() and Path(value).exists()
    return False


def _spell(secret: Secret) -> Iterator[Secret]:
    """Yield a secret as it stands in plain text, JSON, addresses and base64."""
    value = secret.reveal()
    spellings = {
        value,
        json.dumps(value)[1:-1],
        quote(value),
        quote(value, safe=""),
        quote_plus(value),
        base64.b64encode(value.encode()).decode().rstrip("="),
    }
    for spelling in sorted(spellings, key=len, reverse=True):
        yield Secret(spelling)
