"""Sends secrets with a request, reads replies within bounds, and says why none came."""

from __future__ import annotations

from collections.abc import Generator, Mapping

import httpx

from infra.engines.endpoint.dialect import is_reference
from infra.engines.endpoint.wire import EndpointSettings, Trouble
from infra.secrets.secrets import Secret


class SecretHeaders(httpx.Auth):
    """Secrets that are added to each request when it is sent, so that no default holds them."""

    def __init__(self, key: Secret | None, headers: Mapping[str, Secret]) -> None:
        self._key, self._headers = key, headers

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add them to one request."""
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        for name, value in self._headers.items():
            request.headers[name] = value.reveal()
        yield request

    def hide_in(self, text: str) -> str:
        """Return a foreign text without the secrets."""
        for secret in (self._key, *self._headers.values()):
            text = secret.hide_in(text) if secret is not None else text
        return text


def list_plain_headers(settings: EndpointSettings) -> dict[str, str]:
    """Return the configured headers that hold no secret."""
    headers = settings.dialect.headers
    return {name: value for name, value in headers.items() if not is_reference(value)}


def describe_transport_error(settings: EndpointSettings, error: httpx.HTTPError) -> Trouble:
    """Say that no reply came, and what to look at."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol):
        what = f"nobody answers at {settings.address} ({said})"
        return Trouble("retry", f"{what} → check that the server there is up", kind="connect")
    if isinstance(error, httpx.DecodingError):
        said = f"the reply from {settings.address} cannot be decoded ({error})"
        return Trouble("retry", said, kind="unreadable")
    return Trouble("retry", f"the connection to {settings.address} was lost ({said})", kind="lost")


async def read_bounded(response: httpx.Response, most: int) -> bytes:
    """Return a body, or only its beginning if it is longer than any answer."""
    read = bytearray()
    async for block in response.aiter_bytes():
        read += block
        if len(read) > most:
            break
    return bytes(read[:most])
