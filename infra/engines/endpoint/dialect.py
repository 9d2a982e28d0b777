"""Says in which dialect an endpoint is spoken to: what a person sets, and what is sent now."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import field_validator

from infra.knobs import Knobs, execution, identity

TokenLimit = Literal["max_tokens", "max_completion_tokens"]
SystemRole = Literal["system", "developer", "user"]
Structure = Literal["json_schema", "json_object", "none"]

_TELLING = re.compile(
    r"key|token|secret|passw|auth|cookie|credential|signature|^sig$|^code$", re.IGNORECASE
)
_LOOKS_SECRET = re.compile(r"^(?:bearer|basic)\s|^(?:sk|pk|rk)-|^hf_|^eyJ", re.IGNORECASE)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS = frozenset({"content-length", "content-type", "transfer-encoding", "connection"})
_OWN_FIELDS = frozenset({"messages", "stream"})
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~-]+")


class DialectConfig(Knobs):
    """Ways in which an endpoint's API differs from OpenAI's chat completions.

    What is left open is sent as most servers take it, and changed once when the endpoint refuses
    it. Only what differs from the default enters recipe keys.
    """

    token_limit: Literal["auto", "max_tokens", "max_completion_tokens"] = execution(
        "auto", description="What the bound on new tokens is called"
    )
    seed: bool | None = execution(
        None, description="Send each request's seed; null sends it until it is refused"
    )
    temperature: bool | None = identity(
        None, later=True, description="Send the temperature; null sends it until it is refused"
    )
    top_p: bool | None = identity(
        None, later=True, description="Send top_p; null sends it until it is refused"
    )
    system_role: Literal["auto", "system", "developer", "user"] = identity(
        "auto",
        later=True,
        description="Role of the system prompt; user folds it into the first user turn",
    )
    structured_output: Literal["auto", "json_schema", "json_object", "none"] = identity(
        "auto",
        later=True,
        description="How an answer's JSON schema is asked for; none leaves it to the prompt",
    )
    extra_body: dict[str, Any] = identity(
        {}, later=True, description="Further fields of each request; null takes out one of our own"
    )
    headers: dict[str, str] = execution(
        {}, description="Further headers; env:NAME and prefect:block say where a secret value is"
    )
    query: dict[str, str] = execution(
        {}, description="Query of the address, such as api-version; no place for secrets"
    )
    path: str = execution(
        "/chat/completions", description="Where below base_url chat completions are asked for"
    )

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        # Values are not repeated: one of them may be the very secret that is refused here.
        for name, value in headers.items():
            if not _HEADER_NAME.fullmatch(name) or name.lower() in _OWN_HEADERS:
                raise ValueError(f"{name!r} cannot be set as a header")
            if is_reference(value):
                continue
            if _TELLING.search(name) or _LOOKS_SECRET.search(value):
                raise ValueError(
                    f"the header {name} looks like a secret: write env:NAME or prefect:block,"
                    " which say where its value is"
                )
            if not (value.isascii() and value.isprintable()):
                raise ValueError(f"the header {name} holds a line break or a non-ASCII character")
        return headers

    @field_validator("query")
    @classmethod
    def _check_query(cls, query: dict[str, str]) -> dict[str, str]:
        for name, value in query.items():
            if not _QUERY_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a query's value")
            if _TELLING.search(name) or is_reference(value) or _LOOKS_SECRET.search(value):
                raise ValueError(
                    f"{name} looks like a secret, and addresses show in logs: send it as a header"
                    " (dialect.headers) or as api_key"
                )
        return query

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        if not path.startswith("/") or re.search(r"[?#\s]|[^\x21-\x7e]|/\.\.?(?:/|$)", path):
            raise ValueError("begins with / and holds no query, as in /chat/completions")
        return path

    @field_validator("extra_body")
    @classmethod
    def _check_extra_body(cls, body: dict[str, Any]) -> dict[str, Any]:
        if own := sorted(_OWN_FIELDS & set(body)):
            raise ValueError(f"{', '.join(own)} cannot be set, as the run writes it itself")
        return body


@dataclass(frozen=True, slots=True)
class Dialect:
    """What is sent now. ``omitted`` holds fields that the server does not take."""

    token_limit: TokenLimit = "max_tokens"
    system_role: SystemRole = "system"
    omitted: frozenset[str] = frozenset()


def begin_dialect(config: DialectConfig) -> Dialect:
    """Return what is sent before the endpoint has refused anything."""
    chosen = {"seed": config.seed, "temperature": config.temperature, "top_p": config.top_p}
    return Dialect(
        token_limit="max_tokens" if config.token_limit == "auto" else config.token_limit,
        system_role="system" if config.system_role == "auto" else config.system_role,
        omitted=frozenset(name for name, value in chosen.items() if value is False),
    )


def is_reference(value: str) -> bool:
    """Tell whether a value says where a secret is."""
    return value.startswith(("env:", "prefect:"))
