"""Serves a model behind an OpenAI-compatible address until it is told to stop."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass

from flows.recipe.settings import Settings
from flows.talk.character_prompt import render_system_prompt
from flows.talk.tuned_model import choose_model
from infra.engines.vllm.openai_server import OpenAiServer, ServerPlan, stopping_on_signals
from infra.errors import ConfigError, Problem
from infra.secrets.secrets import read_secret

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PERSONA = "A retired lighthouse keeper who writes letters to the sea."


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What to serve, where, and where the key is (``env:NAME``), if one is asked for."""

    model: str | None = None
    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str | None = None


def serve(settings: Settings, options: ServeOptions) -> None:
    """Start the server, say where it is once it answers, and stop it in order at the end."""
    if not 0 < options.port < 65536:
        raise ConfigError(Problem("--port", f"{options.port} is no port", "give 1 to 65535"))
    chosen = choose_model(settings, options.model)
    if chosen.config.engine != "vllm":
        raise ConfigError(
            Problem(
                f"--model {chosen.name}",
                f"is a {chosen.config.engine}, not weights that can be served",
                "choose a model folder or a role with engine: vllm",
            )
        )
    key = read_secret(options.api_key) if options.api_key else None
    plan = ServerPlan(chosen.config, options.name or chosen.name, options.host, options.port)
    if key is None and options.host not in _LOOPBACK:
        _note(f"{options.host} lets other machines in, and there is no --api-key")
    _note(f"loading {chosen.config.model}; the server's own log follows")
    with OpenAiServer(plan, key) as server, stopping_on_signals(server):
        if server.await_ready():
            print(describe_server(plan, settings, options.api_key), flush=True)
            server.await_end()
        _note("stopping")


def describe_server(plan: ServerPlan, settings: Settings, key_reference: str | None) -> str:
    """Return the address and a request to try, which a shell takes as it is."""
    system = render_system_prompt(settings, _PERSONA, "")
    body = {
        "model": plan.name,
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": "Good evening! Who are you?"},
        ],
        "max_tokens": 200,
    }
    reference = key_reference or ""
    variable = reference.removeprefix("env:") if reference.startswith("env:") else "YOUR_KEY"
    lines = [
        f"curl {plan.address}/chat/completions",
        "-H 'Content-Type: application/json'",
        *([f'-H "Authorization: Bearer ${variable}"'] if key_reference else []),
        f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}",
    ]
    return f"{plan.name} is served at {plan.address}; Ctrl-C stops it. Try:\n\n" + " \\\n  ".join(
        lines
    )


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
