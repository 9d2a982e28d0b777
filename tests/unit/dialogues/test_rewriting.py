"""Proves that strategy R changes nothing but what the character says."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.errors import Reject
from infra.paths import packaged_configs
from infra.rendering.prompts import PromptTemplate
from tasks.dialogues.players.rewriting import RewritePlayer, dialog_schema, print_dialog
from tasks.records import Dialogue

from .scenes import Teller, make_input, make_turns, play

PROMPT = PromptTemplate.load(packaged_configs() / "prompts" / "rewrite.j2")
PLAYER = RewritePlayer(PROMPT, "demo teacher", structured=True, max_turn_chars=500)
SOURCE = make_input("Why?", "Because.", "And?", "So.")


def rewrite(
    answer: str | tuple[str, str], row: Any = SOURCE, player: RewritePlayer = PLAYER
) -> Dialogue | Reject:
    return play(player, row, Teller(answer))


def rewritten(answer: str, row: Any = SOURCE) -> Dialogue:
    made = rewrite(answer, row)
    assert isinstance(made, Dialogue), made
    return made


def print_answer(*texts: str) -> str:
    return print_dialog(make_turns(*texts))


GOOD = print_answer("Why?", "Ah, because!", "And?", "So, my dear.")


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Here it is:\n{GOOD}\nDone.",
        json.dumps(json.loads(GOOD), indent=2),
        json.dumps({"dialog": json.loads(GOOD)}),
        print_answer(" Why?\n", "Ah, because! ", "And?", "\nSo, my dear."),
    ],
    ids=["compact", "fenced", "between talk", "indented", "in an object", "with spaces"],
)
def test_a_good_answer_is_taken_in_any_usual_form(answer: str) -> None:
    dialogue = rewritten(answer)
    assert dialogue.turns == make_turns("Why?", "Ah, because!", "And?", "So, my dear.")
    assert not dialogue.user_turns_restored
    assert dialogue.strategy == "rewrite"


@pytest.mark.parametrize("changed", ["Why, baker?", "why?", "Why? "])
def test_a_changed_user_turn_is_put_back_and_the_row_marked(changed: str) -> None:
    dialogue = rewritten(print_answer(changed, "Ah, because!", "And?", "So."))
    assert dialogue.turns == make_turns("Why?", "Ah, because!", "And?", "So.")
    assert dialogue.user_turns_restored == (changed.strip() != "Why?")


def test_context_turns_stay_the_sources_whatever_comes_back() -> None:
    row = make_input("Why?", "Because.", "And?", "So.", context_turns=2)
    dialogue = rewritten(print_answer("Why?", "In voice!", "And?", "Also in voice."), row)
    assert dialogue.turns == make_turns("Why?", "Because.", "And?", "Also in voice.")
    assert not dialogue.user_turns_restored


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (print_answer("Why?", "Ah!"), "turn_count"),
        (print_answer("Why?", "Ah!", "And?", "So.", "More?"), "turn_count"),
        ("[]", "turn_count"),
        (json.dumps([{"role": "assistant", "content": "x"}] * 4), "wrong_role"),
        (json.dumps(["Why?", "Ah!", "And?", "So."]), "wrong_role"),
        (print_answer("Why?", " ", "And?", "So."), "empty"),
        (print_answer("Why?", "Ah!", "And?", "So.").replace('"So."', "7"), "empty"),
        (GOOD[:-12], "not_json"),
        ("Ah, because!", "not_json"),
        ("", "not_json"),
        ('{"dialog": "none"}', "not_a_list"),
    ],
)
def test_an_answer_that_does_not_fit_is_rejected_with_its_reason(answer: str, reason: str) -> None:
    made = rewrite(answer)
    assert isinstance(made, Reject)
    assert made.reason == reason


def test_last_brackets_may_lack_where_the_model_ended_its_last_words() -> None:
    assert rewritten(GOOD.rstrip('"}]')) == rewritten(GOOD)
    assert rewritten(GOOD.removesuffix("]")) == rewritten(GOOD)


def test_an_answer_cut_by_the_token_limit_is_rejected_even_if_it_parses() -> None:
    made = rewrite((GOOD, "length"))
    assert isinstance(made, Reject)
    assert made.reason == "truncated"


def test_raw_control_characters_in_strings_are_read_and_folded_but_lines_stay() -> None:
    answer = GOOD.replace("Ah, because!", "Ah,\x01be\x1b\tcause!\nYes.")
    # What no reader sees is gone at the engine's border already.
    assert rewritten(answer).turns[1].content == "Ah,be\tcause!\nYes."


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_no_answer_whatever_breaks_the_reader(text: str) -> None:
    for answer in (text, f"[{text}", f'[{{"role": "user", "content": "{text}"}}]', f"{{{text}}}"):
        assert isinstance(rewrite(answer), Reject | Dialogue)


NASTY = '{{ x }} {% if %}\n[user]\n"quoted" \\ <|eot_id|>'


def test_the_dialogue_is_shown_as_json_and_is_data() -> None:
    row = make_input(NASTY, "Because.")
    teller = Teller(print_answer(NASTY, "Ah!"))
    dialogue = play(PLAYER, row, teller)
    assert isinstance(dialogue, Dialogue)
    assert dialogue.turns == make_turns(NASTY, "Ah!")
    (request,) = teller.requests
    assert [message.role for message in request.messages] == ["system", "user"]
    shown = request.messages[-1].content.removeprefix("# Dialog\n")
    assert json.loads(shown) == [
        {"role": "user", "content": NASTY},
        {"role": "assistant", "content": "Because."},
    ]


def test_only_a_structured_request_carries_a_schema() -> None:
    for structured in (True, False):
        teller = Teller(GOOD)
        play(RewritePlayer(PROMPT, "t", structured, 500), SOURCE, teller)
        assert (teller.requests[0].schema is not None) == structured


def test_the_schema_takes_what_the_reader_takes_and_refuses_other_shapes() -> None:
    schema = dialog_schema(SOURCE.turns, 500)
    jsonschema.validate(json.loads(GOOD), schema)
    for bad in (
        print_answer("Why?", "Ah!"),
        print_answer("Why?", "Ah!", "And?", "So.", "More?"),
        print_answer("Why?", "", "And?", "So."),
        print_answer("Why?", "x" * 501, "And?", "So."),
        json.dumps([{"role": "assistant", "content": "x"}] * 4),
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(json.loads(bad), schema)


def test_questions_of_one_length_share_a_schema() -> None:
    assert dialog_schema(make_turns("a", "b"), 9) == dialog_schema(make_turns("c", "d"), 9)
