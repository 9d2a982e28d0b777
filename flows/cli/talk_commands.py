"""Offers the commands that talk with a model: `chat | serve`.

Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from flows.cli.options import Overrides
from flows.cli.process import quiet_prefect


def add_commands(app: App) -> None:
    """Add the commands to the command line."""
    for command in (chat, serve):
        app.command(command)


def chat(
    config: str,
    /,
    *,
    persona: str,
    profile: str | None = None,
    model: str | None = None,
    temperature: float = 0.7,
    top_p: float = 0.95,
    repetition_penalty: float = 1.05,
    max_new_tokens: int = 512,
    seed: int | None = None,
    system: Literal["show"] | None = None,
    set_: Overrides = None,
) -> None:
    """Talk with a model in character; lines of a pipe are turns.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    persona:
        Who answers, in a sentence.
    profile:
        A file of the eight fields, one "Field: value" a line; "make" has the teacher write it.
    model:
        A role of the configuration or a model folder; the tuned model if left out.
    temperature:
        Sampling temperature; 0 always takes the likeliest token.
    top_p:
        Nucleus sampling mass.
    repetition_penalty:
        Above 1, words that came before are less likely: small models go round in circles without.
        Engines of this machine only; 1 turns it off.
    max_new_tokens:
        Longest answer in tokens.
    seed:
        Seed of the sampling.
    system:
        "show" prints the system prompt first.
    """
    quiet_prefect()
    from flows.recipe.opening import prepare
    from flows.talk.chatting import ChatOptions
    from flows.talk.chatting import chat as hold_chat
    from infra.cluster.reaper import reap_children

    options = ChatOptions(
        persona=persona,
        profile=profile,
        model=model,
        temperature=temperature,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
        max_new_tokens=max_new_tokens,
        seed=seed,
        show_system=system == "show",
    )
    settings = prepare(config, set_ or ())
    with reap_children():
        hold_chat(settings, options)


def serve(
    config: str,
    /,
    *,
    model: str | None = None,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    api_key: str | None = None,
    set_: Overrides = None,
) -> None:
    """Serve a model behind an OpenAI-compatible address until Ctrl-C.

    Parameters
    ----------
    config:
        YAML file, in the working folder or packaged.
    model:
        A role of the configuration or a model folder; the tuned model if left out.
    name:
        What clients call the model.
    host:
        Address to listen at; 0.0.0.0 lets other machines in.
    port:
        Port to listen at.
    api_key:
        Where the key that clients must show is, as env:NAME; none if left out.
    """
    quiet_prefect()
    from flows.recipe.opening import prepare
    from flows.talk.serving import ServeOptions
    from flows.talk.serving import serve as serve_model
    from infra.cluster.reaper import reap_children

    options = ServeOptions(model=model, name=name, host=host, port=port, api_key=api_key)
    settings = prepare(config, set_ or ())
    with reap_children():
        serve_model(settings, options)
