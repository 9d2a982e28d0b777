"""Proves that a piped chat is plain, keeps its history, and says what is wrong."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.recipe.opening import resolve_settings
from flows.recipe.settings import Settings, load_settings
from flows.talk.chatting import ChatOptions, chat, describe_silence
from infra.errors import ConfigError, RequestFailed
from infra.protocol import Request
from tests.unit.flows.worlds import make_config, write_config

PROFILE = """Name: Ada Byrne
Age: 44
Gender: Female
Race: White
Birth Place: Cork, Ireland
Appearance: Tall, with flour on her sleeves
General Experience: Twenty years as a baker
Personality: Dry, kind
"""
SPOKEN: list[Request] = []


def remember(request: Request) -> str:
    """Answer as the world's script, and keep what was asked."""
    SPOKEN.append(request)
    return f"\x1b[2Janswer {sum(item.role == 'user' for item in request.messages)}"


def muse(request: Request) -> str:
    """Think, in four ways, and answer, or not."""
    SPOKEN.append(request)
    turns = sum(item.role == "user" for item in request.messages)
    return (
        "<think>\nWho asks?\n</think>\n\nA baker.",
        "Who asks?\n</think>\n\nStill a baker.",
        "<think>Who asks",
    )[turns - 1]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    SPOKEN.clear()
    config = make_config(tmp_path)
    config["models"]["teacher"]["script"] = {"respond": f"{__name__}.remember"}
    config["models"]["writer"] = {"engine": "scripted", "model": "scripted"}
    config["characters"] = {"model": "writer", "language": None}
    return resolve_settings(load_settings(write_config(tmp_path, config)))


@pytest.fixture
def say(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def hold(text: str, **options: object) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        plan = {"persona": " A baker from Cork. ", "model": "teacher", **options}
        chat(settings, ChatOptions(**plan))  # type: ignore[arg-type]

    return hold


def test_lines_are_turns_and_answers_are_plain(
    say: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    say("Hi\n\n/system\nAnd then?\n/reset\nAgain\n/nonsense\n/quit\nnever asked\n", seed=3)
    out, err = capsys.readouterr()
    assert out == "answer 1\nanswer 2\nanswer 1\n"
    assert [request.messages[-1].content for request in SPOKEN] == ["Hi", "And then?", "Again"]
    assert "no such command: /nonsense" in err
    assert "# Persona\n\nA baker from Cork.\n\nStay in character" in err
    system = SPOKEN[0].messages[0]
    assert system.role == "system"
    assert system.content.startswith("You are an AI character with the following Persona.")
    assert SPOKEN[0].token_ids is None
    assert SPOKEN[0].sampling.max_new_tokens == 512


def test_a_profile_from_a_file_is_in_the_system_prompt(
    say: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ada.txt"
    path.write_text(PROFILE.replace("Age: 44", "- **Age:** 44"))
    say("Hi\n", profile=str(path), show_system=True)
    assert f"# Character Profile\n\n{PROFILE}" in SPOKEN[0].messages[0].content
    assert "You are an AI character with the following Persona and Character Profile." in (
        capsys.readouterr().err
    )


def test_a_profile_is_written_by_the_teacher_first(
    say: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    say("Hi\n", profile="make")
    shown = capsys.readouterr().err
    system = SPOKEN[0].messages[0].content
    assert "# Character Profile" in system
    profile = system.split("# Character Profile\n\n")[1].split("\n\nStay in")[0]
    assert profile.count("\n") == 7
    assert profile in shown


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"persona": "  "}, "describe somebody"),
        ({"model": "nobody"}, "roles: teacher, writer"),
        ({"profile": "nowhere.txt"}, "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_before_anything_starts(
    options: dict[str, object], told: str, say: Callable[..., None]
) -> None:
    with pytest.raises(ConfigError, match=told):
        say("Hi\n", **options)
    assert SPOKEN == []


def test_a_profile_with_gaps_is_told(say: Callable[..., None], tmp_path: Path) -> None:
    path = tmp_path / "half.txt"
    path.write_text("Name: Ada\nAge: 44\n")
    with pytest.raises(ConfigError, match="missing field: Gender, Race"):
        say("Hi\n", profile=str(path))


def test_without_a_terminal_a_failed_answer_ends_the_chat(
    settings: Settings, say: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = settings.models["teacher"].model_copy(update={"script": {"refuse_all": True}})
    monkeypatch.setitem(settings.models, "teacher", broken)
    with pytest.raises(RequestFailed):
        say("Hi\n")


def test_thoughts_are_neither_shown_nor_remembered(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = settings.models["teacher"]
    script = {"respond": f"{__name__}.muse"}
    thinker = teacher.model_copy(update={"script": script, "max_thought_tokens": 100})
    models = {**settings.models, "teacher": thinker}
    monkeypatch.setattr("sys.stdin", io.StringIO("Who?\nAnd now?\nAnd then?\n"))
    options = ChatOptions(persona="A baker.", model="teacher")
    chat(settings.model_copy(update={"models": models}), options)
    out, err = capsys.readouterr()
    assert out == "A baker.\nStill a baker.\n\n"
    assert "it thought, and did not answer" in err
    history = [item.content for item in SPOKEN[2].messages if item.role == "assistant"]
    assert history == ["A baker.", "Still a baker."]
    assert SPOKEN[0].sampling.max_new_tokens == 612


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1.0}, "--temperature: -1.0 is no temperature → give 0 to"),
        ({"temperature": float("nan")}, "--temperature"),
        ({"repetition_penalty": 0.0}, "--repetition-penalty: 0.0 is no penalty → give 1 for none"),
        ({"repetition_penalty": float("nan")}, "--repetition-penalty"),
        ({"top_p": 0.0}, "--top-p"),
        ({"top_p": 1.5}, "--top-p"),
        ({"max_new_tokens": -5}, "--max-new-tokens: an answer of -5 tokens"),
        ({"max_new_tokens": 0}, "--max-new-tokens"),
    ],
)
def test_sampling_that_cannot_be_followed_is_refused(
    say: Callable[..., None], options: dict[str, float], words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        say("Hi\n", **options)
    assert words in str(caught.value)
    assert not SPOKEN


def test_an_answer_that_goes_round_in_circles_is_broken_off_and_forgotten(
    say: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def circle(request: Request) -> str:
        SPOKEN.append(request)
        first = len(SPOKEN) == 1
        return "I love the people of my town. " * 40 if first else "I bake bread."

    monkeypatch.setattr(f"{__name__}.remember", circle)
    say("Hi\nAnd then?\n")
    out, err = capsys.readouterr()
    assert "broken off: it repeats itself" in err
    assert out.endswith("I bake bread.\n")
    assert [message.content for message in SPOKEN[1].messages[1:]] == ["And then?"]


def test_a_blank_answer_says_so(
    say: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(f"{__name__}.remember", lambda request: " ")
    say("Hi\n")
    assert "the model said nothing" in capsys.readouterr().err
    assert "--max-new-tokens" in describe_silence("length", 900)
    assert "filter" in describe_silence("refusal", 0)
