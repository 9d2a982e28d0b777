"""Translates requests and replies between this project and the OpenAI chat-completions dialect.

A server of ours is asked for completions of token ids instead. Nothing here opens a connection. A
reply becomes a :class:`Completion`, or a :class:`Trouble` that says what the engine has to do about
it; no bytes that a server sends raise anything else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit, urlunsplit

import httpx

from infra.engines.endpoint.dialect import Dialect, DialectConfig, Structure, begin_dialect
from infra.engines.endpoint.dialect_learning import Complaint, read_complaint
from infra.engines.endpoint.replies import (
    Counter,
    Unreadable,
    decode_text,
    parse_json,
    read_completion,
    read_error,
    read_retry_after,
    shorten,
)
from infra.errors import ConfigError, Problem
from infra.protocol import Completion, Message, Request
from infra.rendering.neutralisation import neutralise_special_tokens
from infra.text.text_cleaning import remove_unreadable

_SEED_MASK = 0x7FFFFFFF  # The widest seed that every server takes.
_TRANSIENT = frozenset({408, 409, 425, 429})
_OVERLOADED = frozenset({429, 503, 529})
_HARMLESS_QUERY = frozenset({"api-version", "api_version"})
_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|maximum model length|prompt is too long|too many (?:input )?"
    r"tokens|input (?:length|is too long)|reduce the length|token limit",
    re.IGNORECASE,
)
_UNKNOWN_MODEL = re.compile(r"model\b.{0,200}\b(?:does not exist|not found)", re.IGNORECASE)

Remedy = Literal["retry", "back_off", "give_up_prompt", "give_up_row", "give_up_all"]


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Which endpoint to speak to, and how; holds no secret, so it may be shown and pickled.

    Attributes:
        base_url: Address up to and with the version, such as ``http://127.0.0.1:8000/v1``.
        model: The model's name as the endpoint knows it.
        key_reference: Where the key is kept (``env:NAME``, ``prefect:BLOCK``), for messages; the
            key itself is handed to the engine as a :class:`infra.secrets.secrets.Secret`.
        timeout_s: Time one attempt may take as a whole.
        max_concurrency: Ceiling of the adaptive limit.
        max_retries: Further attempts of one request after the first.
        backoff_s: First wait before a retry; it doubles, with jitter, up to ``max_backoff_s``.
        max_pause_s: Longest ``Retry-After`` that is obeyed.
        patience_s: How long an endpoint that never answered may fail before all is given up.
        dialect: How the endpoint is spoken to.
        thinking_fields: Fields of each request that say how much to think.
        takes_tokens: It is a vLLM server, and gets prompts as token ids and no messages.
    """

    base_url: str
    model: str
    key_reference: str | None = None
    timeout_s: float = 300.0
    max_concurrency: int = 64
    max_retries: int = 6
    backoff_s: float = 0.5
    max_backoff_s: float = 30.0
    max_pause_s: float = 120.0
    patience_s: float = 30.0
    dialect: DialectConfig = field(default_factory=DialectConfig)
    thinking_fields: Mapping[str, Any] = field(default_factory=dict)
    takes_tokens: bool = False

    def __post_init__(self) -> None:
        # The address itself is not repeated: it may hold the very secret that is refused here.
        try:
            parts = urlsplit(self.base_url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname)
            _ = parts.port
        except ValueError:
            sound = False
        if not sound or re.search(r"[\s\x00-\x20\x7f]", self.base_url):
            raise ConfigError(
                Problem("base_url", "is no http(s) address", "write http://127.0.0.1:8000/v1")
            )
        names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        if parts.username or parts.password or parts.fragment or not names <= _HARMLESS_QUERY:
            raise ConfigError(
                Problem(
                    "base_url",
                    "holds a user, a password or a query, which would show in logs",
                    "leave the bare address, name the key in api_key as env:NAME, and put what is"
                    " no secret into dialect.query",
                )
            )

    @property
    def address(self) -> str:
        """Return the address of the API without a query, for people and for what lies below it."""
        parts = urlsplit(self.base_url)
        path = parts.path.rstrip("/").removesuffix(self.dialect.path.rstrip("/"))
        return urlunsplit((parts.scheme, parts.netloc, path.rstrip("/"), "", ""))

    @property
    def completions_url(self) -> str:
        """Return the address that requests are posted to, without its query."""
        return f"{self.address}{'/completions' if self.takes_tokens else self.dialect.path}"

    @property
    def query(self) -> dict[str, str]:
        """Return the query of every request, such as Azure's ``api-version``."""
        return {**dict(parse_qsl(urlsplit(self.base_url).query)), **self.dialect.query}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Reply that holds no completion: what to do, what to tell, how long to wait.

    ``retry`` asks again after a backoff. ``back_off`` also lowers the concurrency. The three
    ``give_up`` remedies end this request: because its prompt cannot fit, because the server
    refuses what it holds, or because it would refuse every other request as well. ``kind`` groups
    troubles of one cause; ``complaint`` is what may be a matter of dialect.
    """

    remedy: Remedy
    message: str
    retry_after_s: float | None = None
    kind: str = "server"
    complaint: Complaint | None = None


def write_payload(
    settings: EndpointSettings,
    request: Request,
    *,
    structure: Structure = "none",
    dialect: Dialect | None = None,
) -> dict[str, Any]:
    """Return the JSON body of a request; control tokens inside messages are broken."""
    dialect = dialect or begin_dialect(settings.dialect)
    sampling = request.sampling
    payload: dict[str, Any] = {
        "model": settings.model,
        **_write_prompt(request, dialect, tokens=settings.takes_tokens),
        dialect.token_limit: sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stream": False,
        **settings.thinking_fields,
    }
    if sampling.seed is not None:
        payload["seed"] = sampling.seed & _SEED_MASK
    if request.schema is not None and structure == "json_schema":
        payload["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": request.schema},
        }
    elif request.schema is not None and structure == "json_object":
        payload["response_format"] = {"type": "json_object"}
    for name in dialect.omitted:
        payload.pop(name, None)
    for name, value in settings.dialect.extra_body.items():
        if value is None:
            payload.pop(name, None)
        else:
            payload[name] = value
    return payload


def read_reply(
    settings: EndpointSettings,
    response: httpx.Response,
    *,
    hide: Callable[[str], str] = str,
    now: datetime | None = None,
    count: Counter | None = None,
) -> Completion | Trouble:
    """Turn an HTTP reply into a completion, or into what to do about it.

    ``hide`` takes secrets out of what the server says: a refused key comes back in the message
    of a 401. It sees the whole text, as an excerpt could keep half a key. ``count`` counts the
    tokens of a reply without ``usage``.
    """
    wait_s = read_retry_after(response.headers, now or datetime.now(UTC))
    kind = response.headers.get("content-type", "")
    return read_body(
        settings, response.status_code, response.content, kind, wait_s, hide=hide, count=count
    )


def read_body(
    settings: EndpointSettings,
    status: int,
    content: bytes,
    content_type: str = "",
    wait_s: float | None = None,
    *,
    hide: Callable[[str], str] = str,
    count: Counter | None = None,
) -> Completion | Trouble:
    """Turn a status and a body into a completion, or into what to do about it."""
    body = parse_json(content)
    error = read_error(body)
    where = f"from {settings.completions_url}"
    if error is None and 200 <= status < 300:
        found = read_completion(body, count)
        if isinstance(found, Completion):
            return found
        shown = shorten(hide(decode_text(content)))
        what = content_type.partition(";")[0].strip() or "no content type"
        if isinstance(found, Unreadable) and found.broke_off:
            return Trouble("retry", f"the server broke off the answer ({found.why}) {where}")
        return Trouble(
            "retry",
            f"HTTP {status} {where} is no chat completion, {found.why} ({what}): "
            f"{shown or 'an empty body'} → check that base_url ends where the API begins, mostly"
            " in /v1",
            wait_s,
            kind="unreadable",
        )
    text, code = (error.text, error.code) if error else ("", "")
    if error is not None and 200 <= status < 300:
        status = error.status or 502  # Some gateways pass an upstream's failure on inside a 200.
    text = text or decode_text(content)
    if status == 400 and code == "content_filter":
        return Completion("", "refusal", 0, 0)
    said = shorten(hide(text))
    return _explain(
        settings, status, code, said, wait_s, read_complaint(body, decode_text(content))
    )


def _write_prompt(request: Request, dialect: Dialect, *, tokens: bool) -> dict[str, Any]:
    """Write the turns; or token ids, with what only vLLM follows."""
    if not tokens:
        return {"messages": _write_messages(request.messages, dialect)}
    return {
        "prompt": list(request.token_ids or ()),
        "repetition_penalty": request.sampling.repetition_penalty,
        "skip_special_tokens": not request.keep_special,
        "spaces_between_special_tokens": not request.keep_special,
    }


def _write_messages(messages: Sequence[Message], dialect: Dialect) -> list[dict[str, str]]:
    """Write the turns in the roles that the server takes; a folded system prompt loses nothing."""
    turns = [
        {
            "role": item.role,
            "content": neutralise_special_tokens(remove_unreadable(item.content)),
        }
        for item in messages
    ]
    if dialect.system_role != "user":
        for turn in turns:
            if turn["role"] == "system":
                turn["role"] = dialect.system_role
        return turns
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system")
    rest = [turn for turn in turns if turn["role"] != "system"]
    if not system:
        return rest
    if rest and rest[0]["role"] == "user":
        return [{"role": "user", "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": system}, *rest]


def _explain(
    settings: EndpointSettings,
    status: int,
    code: str,
    text: str,
    wait_s: float | None,
    complaint: Complaint,
) -> Trouble:
    said = f"HTTP {status} from {settings.completions_url}: {text or 'no text'}"
    if code == "insufficient_quota" or status == 402:
        return Trouble("give_up_all", f"{said} → the account has no credit left: top it up")
    if status == 413 or (status in (400, 422) and _TOO_LONG.search(code + " " + text)):
        return Trouble(
            "give_up_prompt",
            f"{said} → shorten the prompt or max_new_tokens",
            complaint=complaint if status != 413 else None,
        )
    if status in _TRANSIENT or status >= 500:
        if status in _OVERLOADED:
            return Trouble("back_off", said, wait_s, kind="overloaded")
        return Trouble("retry", said, wait_s, complaint=complaint)
    if status in (401, 403):
        names = ", ".join(settings.dialect.headers)
        nowhere = "nowhere: name it in api_key as env:NAME"
        where = settings.key_reference or (f"the headers {names}" if names else nowhere)
        return Trouble("give_up_all", f"{said} → check the key (it comes from {where})")
    if status == 404 or code == "model_not_found":
        return Trouble(
            "give_up_all",
            f"{said} → check that the endpoint serves the model {settings.model!r}"
            f" (GET {settings.address}/models lists what it serves) and that"
            " base_url ends where its API begins, mostly in /v1",
            complaint=complaint,
        )
    if status in (400, 422) and not _UNKNOWN_MODEL.search(text):
        return Trouble(
            "give_up_row",
            f"{said} → see what the server says about this request; dialect has a knob for each"
            " field that some servers refuse",
            complaint=complaint,
        )
    return Trouble(
        "give_up_all",
        f"{said} → check base_url and model ({settings.model!r})",
        complaint=complaint,
    )
