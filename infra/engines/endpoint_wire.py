"""Translates requests and replies between this project and the OpenAI chat-completions dialect.

Nothing here opens a connection. A reply becomes a :class:`Completion`, or a :class:`Trouble`
that says what the engine has to do about it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from infra.engines.neutralisation import neutralise_special_tokens
from infra.engines.protocol import Completion, Request
from infra.errors import ConfigError, Problem

_SEED_MASK = 0x7FFFFFFF  # The widest seed that every server takes.
_EXCERPT = 300
_TRANSIENT = frozenset({408, 409, 425, 429})
_OVERLOADED = frozenset({429, 503, 529})
_TOO_LONG = re.compile(
    r"context.?(?:length|window|size)|maximum model length|prompt is too long|too many (?:input )?"
    r"tokens|input (?:length|is too long)|reduce the length|token limit",
    re.IGNORECASE,
)
_UNKNOWN_MODEL = re.compile(r"model\b.{0,200}\b(?:does not exist|not found)", re.IGNORECASE)
_FINISHED = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "refusal",
}

Remedy = Literal["retry", "back_off", "give_up_prompt", "give_up_row", "give_up_all"]


@dataclass(frozen=True, slots=True)
class EndpointSettings:
    """Says which endpoint to speak to, and how; holds no secret, so it may be shown and pickled.

    Attributes:
        base_url: Address up to and with the version, such as ``http://127.0.0.1:8000/v1``.
        model: The model's name as the endpoint knows it.
        key_reference: Where the key is kept (``env:NAME``, ``prefect:BLOCK``), for messages; the
            key itself is handed to the engine as a :class:`infra.secrets.Secret`.
        timeout_s: Time one attempt may take as a whole.
        max_concurrency: Ceiling of the adaptive limit.
        max_retries: Further attempts of one request after the first.
        backoff_s: First wait before a retry; it doubles, with jitter, up to ``max_backoff_s``.
        max_pause_s: Longest ``Retry-After`` that is obeyed.
        send_seed: Whether the server knows ``seed``.
        structured: ``auto`` sends ``response_format`` and goes on without it where the server
            refuses; ``always`` makes a refusal an error; ``never`` leaves it out.
        max_tokens_field: What the server calls the bound on new tokens.
        thinking_fields: Fields of each request that say how much to think.
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
    send_seed: bool = True
    structured: Literal["auto", "always", "never"] = "auto"
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    thinking_fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        # The address itself is not repeated: it may hold the very secret that is refused here.
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(
                Problem("base_url", "is no http(s) address", "write http://127.0.0.1:8000/v1")
            )
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                Problem(
                    "base_url",
                    "holds a user, a password or a query, which would show in logs",
                    "leave the bare address, and name the key in api_key as env:NAME",
                )
            )

    @property
    def completions_url(self) -> str:
        """Return the address that requests are posted to."""
        return f"{self.base_url.rstrip('/')}/chat/completions"


@dataclass(frozen=True, slots=True)
class Trouble:
    """Is a reply that holds no completion: what to do, what to tell, how long to wait.

    ``retry`` asks again after a backoff. ``back_off`` also lowers the concurrency. The three
    ``give_up`` remedies end this request: because its prompt cannot fit, because the server
    refuses what it holds, or because it would refuse every other request as well.
    """

    remedy: Remedy
    message: str
    retry_after_s: float | None = None


def write_payload(
    settings: EndpointSettings, request: Request, *, structured: bool
) -> dict[str, Any]:
    """Return the JSON body of a request; control tokens inside messages are broken."""
    sampling = request.sampling
    payload: dict[str, Any] = {
        "model": settings.model,
        "messages": [
            {"role": message.role, "content": neutralise_special_tokens(message.content)}
            for message in request.messages
        ],
        settings.max_tokens_field: sampling.max_new_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stream": False,
        **settings.thinking_fields,
    }
    if settings.send_seed and sampling.seed is not None:
        payload["seed"] = sampling.seed & _SEED_MASK
    if structured and request.schema is not None:
        payload["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": request.schema},
        }
    return payload


def read_reply(
    settings: EndpointSettings,
    response: httpx.Response,
    *,
    hide: Callable[[str], str] = str,
    now: datetime | None = None,
) -> Completion | Trouble:
    """Turn an HTTP reply into a completion, or into what to do about it.

    ``hide`` takes secrets out of what the server says: a refused key comes back in the message
    of a 401. It sees the whole text, as an excerpt could keep half a key.
    """
    try:
        body = response.json()
    except ValueError:
        body = None
    status, text, code = response.status_code, response.text, ""
    if isinstance(body, dict) and body.get("error"):
        error = body["error"]
        if isinstance(error, dict):
            code = str(error.get("code") or error.get("type") or "")
            text = str(error.get("message") or text)
            if status == 200:  # Some gateways pass an upstream's failure on inside a 200.
                inner = error.get("code")
                status = inner if isinstance(inner, int) else 502
        else:
            text = str(error)
            status = 502 if status == 200 else status
    if status == 200:
        return _read_completion(body)
    if status == 400 and code == "content_filter":
        return Completion("", "refusal", 0, 0)
    wait_s = read_retry_after(response.headers, now or datetime.now(UTC))
    said = " ".join(hide(text).split())
    return _explain(settings, status, code, said[:_EXCERPT], wait_s)


def read_retry_after(headers: httpx.Headers, now: datetime) -> float | None:
    """Return how long the server asks us to wait: ``Retry-After`` as seconds or HTTP date."""
    milliseconds = headers.get("retry-after-ms", "")
    value = headers.get("retry-after", "").strip()
    for text, scale in ((milliseconds, 1e-3), (value, 1.0)):
        try:
            seconds = float(text) * scale
        except ValueError:
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())


def _read_completion(body: object) -> Completion | Trouble:
    try:
        choice = body["choices"][0]  # type: ignore[index]
        message = choice["message"]
        usage = body.get("usage") or {}  # type: ignore[attr-defined]
        details = usage.get("prompt_tokens_details") or {}
        counts = (
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            int(details.get("cached_tokens") or 0),
        )
        text, refusal = _read_text(message.get("content")), message.get("refusal")
        reason = str(choice.get("finish_reason") or "stop").lower()
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        return Trouble("retry", f"the reply is no chat completion ({type(error).__name__})")
    if reason in ("abort", "error"):  # vLLM on its way down answers 200 with half a text.
        return Trouble("retry", f"the server broke off the answer ({reason})")
    if refusal:
        return Completion(text or str(refusal), "refusal", *counts)
    return Completion(text, _FINISHED.get(reason, reason), *counts)


def _read_text(content: object) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content)
    return "" if content is None else str(content)


def _explain(
    settings: EndpointSettings, status: int, code: str, text: str, wait_s: float | None
) -> Trouble:
    said = f"HTTP {status} from {settings.completions_url}: {text or 'no text'}"
    if code == "insufficient_quota" or status == 402:
        return Trouble("give_up_all", f"{said} → the account has no credit left: top it up")
    if status in _TRANSIENT or status >= 500:
        remedy: Remedy = "back_off" if status in _OVERLOADED else "retry"
        return Trouble(remedy, said, wait_s)
    if status in (401, 403):
        where = settings.key_reference or "nowhere: name it in api_key as env:NAME"
        return Trouble("give_up_all", f"{said} → check the key (it comes from {where})")
    if status == 404 or code == "model_not_found":
        return Trouble(
            "give_up_all",
            f"{said} → check that the endpoint serves the model {settings.model!r}"
            f" (GET {settings.base_url.rstrip('/')}/models lists what it serves) and that"
            " base_url ends where its API begins, mostly in /v1",
        )
    if status == 413 or (status in (400, 422) and (_TOO_LONG.search(code + " " + text))):
        return Trouble("give_up_prompt", f"{said} → shorten the prompt or max_new_tokens")
    if status in (400, 422) and not _UNKNOWN_MODEL.search(text):
        return Trouble("give_up_row", f"{said} → see what the server says about this request")
    return Trouble("give_up_all", f"{said} → check base_url and model ({settings.model!r})")
