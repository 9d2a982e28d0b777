"""Lets a person talk with a model in character, on a terminal or through a pipe."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from flows.recipe.settings import Settings
from flows.talk.character_prompt import (
    find_thinking,
    make_encoder,
    make_profile,
    read_profile,
    render_system_prompt,
)
from flows.talk.conversation import LOOPED, Conversation
from flows.talk.tuned_model import choose_model
from infra.engines.config import ModelConfig
from infra.engines.spoken_stream import UNSPOKEN, SpokenStream
from infra.engines.streaming import StreamingThread, open_streaming_engine
from infra.errors import ConfigError, EngineError, Problem, RequestFailed
from infra.protocol import Delta, SamplingParams

MAKE = "make"
_WARMEST = 5.0
_STERNEST = 2.0
_HELP = "/reset forgets what was said, /system shows the system prompt, /quit or Ctrl-D ends"
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_THINKS = "thinking…"
_NAME = re.compile(r"^Name:\s*(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """Options of a conversation: whom to talk with and how.

    ``profile`` is a file of eight fields, ``make``, or ``None``; ``model`` a role, a folder, or
    ``None`` for the tuned model.
    """

    persona: str
    profile: str | None = None
    model: str | None = None
    temperature: float = 0.7
    top_p: float = 0.95
    repetition_penalty: float = 1.05
    max_new_tokens: int = 512
    seed: int | None = None
    show_system: bool = False


def chat(settings: Settings, options: ChatOptions) -> None:
    """Hold a conversation until the person ends it; engines stop in order however it ends."""
    if not options.persona.strip():
        raise ConfigError(Problem("--persona", "is empty", "describe somebody in a sentence"))
    check_sampling(options)
    chosen = choose_model(settings, options.model)
    profile = "" if options.profile in (None, MAKE) else read_profile(Path(str(options.profile)))
    teacher = _find_teacher(settings) if options.profile == MAKE else None
    encode = make_encoder(chosen.config)
    console = ChatConsole()
    if teacher is not None and teacher != chosen.config:
        with _speaking(console, settings.characters.model, teacher) as thread:
            profile = make_profile(settings, options.persona, teacher, thread)
    with _speaking(console, chosen.name, chosen.config) as thread:
        if teacher is not None and not profile:
            profile = make_profile(settings, options.persona, teacher, thread)
        if teacher is not None:
            console.note(f"\n{profile}\n")
        system = render_system_prompt(settings, options.persona.strip(), profile)
        if options.show_system:
            console.note(f"\n{system}\n")
        conversation = Conversation(
            system=system,
            sampling=SamplingParams(
                options.temperature,
                options.top_p,
                options.max_new_tokens + chosen.config.max_thought_tokens,
                options.seed,
                options.repetition_penalty,
            ),
            keep_special=_parts(chosen.config) and find_thinking(chosen.config).keep_special,
            stream=thread.stream,
            encode=encode,
        )
        hold(conversation, console, _find_name(profile))


def check_sampling(options: ChatOptions) -> None:
    """Raise :class:`ConfigError` for sampling that no engine can follow."""
    problems = []
    if not 0 <= options.temperature <= _WARMEST:  # false for NaN as well
        what, todo = f"{options.temperature} is no temperature", f"give 0 to {_WARMEST:g}"
        problems.append(Problem("--temperature", what, f"{todo}; 0 takes the likeliest token"))
    if not 0 < options.top_p <= 1:
        what = f"{options.top_p} is no share of the probability"
        problems.append(Problem("--top-p", what, "give more than 0 and at most 1"))
    if not 0 < options.repetition_penalty <= _STERNEST:
        what = f"{options.repetition_penalty} is no penalty"
        problems.append(
            Problem("--repetition-penalty", what, f"give 1 for none, at most {_STERNEST:g}")
        )
    if options.max_new_tokens < 1:
        what = f"an answer of {options.max_new_tokens} tokens cannot be given"
        problems.append(Problem("--max-new-tokens", what, "give 1 or more"))
    if problems:
        raise ConfigError(*problems)


class ChatConsole:
    """Place that turns come from and answers go to: a terminal, or pipes.

    Answers go to standard output; what is said about them goes to standard error.
    """

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._out = Console(highlight=False, soft_wrap=True)
        self._notes = Console(stderr=True, highlight=False, soft_wrap=True)
        self._thinks = False
        self._held: list[str] = []
        if self.interactive:
            import readline  # noqa: F401 - gives input() its line editing

    def note(self, text: str) -> None:
        """Say something that is not part of the conversation."""
        self._notes.print(Text(_make_safe(text), style="dim"))

    def read_turns(self) -> Iterator[str]:
        """Give out what the person says; ends at the end of the input or at Ctrl-C."""
        if not self.interactive:
            for line in sys.stdin:
                yield line.strip()
            return
        while True:
            try:
                yield input("\nyou> ").strip()
            except (EOFError, KeyboardInterrupt):
                print(flush=True)
                return

    def open_answer(self, name: str) -> None:
        """Say who speaks, where somebody watches."""
        if self.interactive:
            self._out.print(Text(f"{_make_safe(name)}> ", style="bold cyan"), end="")

    def write(self, delta: Delta) -> None:
        """Write a delta of an answer; control characters, which could steer a terminal, go.

        A terminal shows it at once, a pipe gets an answer whole: what has turned out to be a
        thought cannot be taken back from it.
        """
        text = _make_safe(delta.text)
        if not self.interactive:
            self._held = [text] if delta.retracts else [*self._held, text]
            return
        if self._thinks and (text or not delta.thinking):
            print("\b \b" * len(_THINKS), end="", flush=True)
            self._thinks = False
        if delta.retracts:
            print(flush=True)
            self.note("(that was a thought; the answer:)")
        print(text, end="", flush=True)
        if delta.thinking and not self._thinks:
            self._out.print(Text(_THINKS, style="dim"), end="")
            self._thinks = True

    def close_answer(self) -> None:
        """End the answer's last line."""
        print("".join(self._held), flush=True)
        self._held, self._thinks = [], False


def hold(conversation: Conversation, console: ChatConsole, name: str) -> None:
    """Take turns until the person ends it; the first Ctrl-C of an answer stops only the answer."""
    if console.interactive:
        console.note(_HELP)
    for text in console.read_turns():
        if not text:
            continue
        if text.startswith("/"):
            if text in ("/quit", "/exit"):
                return
            _obey(text, conversation, console)
            continue
        _answer(text, conversation, console, name)


def _obey(command: str, conversation: Conversation, console: ChatConsole) -> None:
    if command == "/reset":
        conversation.reset()
        console.note("forgotten; the character stays")
    elif command == "/system":
        console.note(conversation.system)
    else:
        console.note(_HELP if command == "/help" else f"no such command: {command}. {_HELP}")


def _answer(text: str, conversation: Conversation, console: ChatConsole, name: str) -> None:
    forgotten = conversation.forgotten
    reason: str | None = None
    heard, thought = False, 0
    console.open_answer(name)
    try:
        with closing(conversation.ask(text)) as deltas:
            for delta in deltas:
                console.write(delta)
                heard = heard or bool(delta.text.strip())
                thought += len(delta.reasoning)
                reason = delta.finish_reason or reason
    except KeyboardInterrupt:
        if not console.interactive:
            raise
        reason = "stopped"
    except RequestFailed as error:
        if error.fatal or not console.interactive:
            raise
        console.note(str(error))
        heard = True  # what came in place of an answer was said
    finally:
        console.close_answer()
    if reason == UNSPOKEN:
        console.note("(it thought, and did not answer: max_thought_tokens allows longer thoughts)")
    elif not heard and reason != "stopped":
        console.note(describe_silence(reason, thought))
    elif reason == LOOPED:
        console.note("(broken off: it repeats itself, and is not remembered; ask otherwise)")
    elif reason == "length":
        console.note("(cut off: --max-new-tokens allows longer answers)")
    if conversation.forgotten > forgotten:
        console.note(f"(the first {conversation.forgotten} exchanges no longer fit: forgotten)")


def describe_silence(reason: str | None, thought: int) -> str:
    """Say what came in place of an answer, and what may help."""
    if thought:
        what = f"it thought {thought:,} characters and said nothing"
        return f"({what}: --max-new-tokens leaves it room for an answer)"
    if reason == "refusal":
        return "(no answer: the endpoint's filter kept it back; ask otherwise)"
    ended = f", finish_reason {reason}" if reason else ""
    return f"(no answer: the model said nothing{ended}; ask again, or otherwise)"


@contextmanager
def _speaking(console: ChatConsole, name: str, config: ModelConfig) -> Iterator[StreamingThread]:
    answering = open_streaming_engine(config)
    if _parts(config):
        answering = SpokenStream(answering, find_thinking(config))
    with StreamingThread(answering) as thread:
        if config.engine == "vllm":
            console.note(f"{name}: loading {config.model}")
        try:
            console.note(f"{name}: {thread.start()}")
        except EngineError as error:
            raise EngineError(f"{name} does not speak: {error}") from error
        yield thread


def _parts(config: ModelConfig) -> bool:
    return config.thinking != "keep"


def _find_teacher(settings: Settings) -> ModelConfig:
    role = settings.characters.model
    if role not in settings.models:
        known = ", ".join(sorted(settings.models))
        raise ConfigError(Problem("characters.model", f"no model {role!r}", f"known: {known}"))
    return settings.models[role]


def _find_name(profile: str) -> str:
    found = _NAME.search(profile)
    return found.group(1).strip() if found else "character"


def _make_safe(text: str) -> str:
    return _UNSEEN.sub("", text)
