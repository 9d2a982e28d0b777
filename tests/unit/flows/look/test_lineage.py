"""Proves that a row leads to all it came from and to all that came from it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from flows.look.lineage import Branch, Lineage, print_lineage, show_lineage, trace_lineage
from flows.recipe.graph import KINDS
from flows.recipe.settings import load_settings
from infra.errors import ConfigError
from infra.nodes.node import JobNode
from infra.store.fingerprints import content_key, row_key
from infra.store.row_store import encode_rows
from infra.store.storage import Storage
from tasks.evaluation.questions.writing import (
    ChosenSettings,
    WrittenQuestion,
    WrittenQuestions,
    list_questions,
)
from tasks.records import Answer, EvalQuestion, Persona
from tests.unit.flows.evaluated import (
    ASKED,
    BAKER,
    COOK,
    SAILOR,
    World,
    make_answer,
    make_question,
    name_node,
    write_rows,
    write_whole,
)
from tests.unit.flows.worlds import make_config, write_config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(Storage(str(tmp_path_factory.mktemp("store"))))


def trace(world: World, key: str) -> Lineage:
    return trace_lineage(world.storage, world.done, key)


def flatten(branches: Iterable[Branch], depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """Yield depth, kind and key of every branch, as they are printed."""
    for branch in branches:
        yield depth, branch.kind, branch.key
        yield from flatten(branch.branches, depth + 1)


def find_problem(world: World, given: str, unfinished: Sequence[str] = ()) -> str:
    with pytest.raises(ConfigError) as caught:
        trace_lineage(world.storage, world.done, given, unfinished=unfinished)
    return str(caught.value)


def test_a_verdict_on_a_held_out_answer_leads_to_dialogue_character_and_persona(
    world: World,
) -> None:
    found = trace(world, world.judgements["tuned"][0].key)
    assert list(flatten(found.came_from)) == [
        (0, "answer", world.answers["tuned"][0].key),
        (1, "question", world.held_out.key),
        (2, "dialogue", world.dialogue.key),
        (3, "character", world.baker.key),
        (4, "persona", BAKER.key),
        (3, "instruction", ASKED.key),
        (0, "score examples", world.score_examples.key),
        (1, "question", world.held_out.key),
    ]
    assert found.came_from[1].branches[0].repeated
    assert found.gave == ()
    assert found.row.text == "no verdict: in voice"


def test_a_written_question_leads_to_its_persona_alone(world: World) -> None:
    found = trace(world, world.answers["base"][1].key)
    assert list(flatten(found.came_from)) == [
        (0, "question", world.written.key),
        (1, "persona", COOK.key),
    ]
    assert list(flatten(found.gave)) == [(0, "judgement", world.judgements["base"][1].key)]


def test_a_persona_gave_everything_about_it_and_nothing_else(world: World) -> None:
    found = list(flatten(trace(world, BAKER.key).gave))
    assert (0, "character", world.baker.key) in found
    assert (1, "dialogue", world.dialogue.key) in found
    assert (2, "example", world.example.key) in found
    assert (3, "attribution", world.attribution.key) in found
    assert (2, "question", world.held_out.key) in found
    keys = {key for _, _, key in found}
    assert {rows[0].key for rows in world.answers.values()} <= keys
    assert {rows[0].key for rows in world.judgements.values()} <= keys
    assert world.reference.key in keys
    assert world.written.key not in keys


def test_a_row_turned_down_later_hangs_below_itself(world: World) -> None:
    found = trace(world, world.example.key)
    assert [(item.kind, item.node, item.status) for item in found.gave] == [
        ("question", "questions", "rejected"),
        ("attribution", "attribution_tuned", "accepted"),
    ]
    assert found.row.node == "curation"
    assert found.gave[0].text == "duplicate: asked twice"
    assert found.gave[1].text == "tuned: credit 0.5 among random characters, 1.0 among like ones"


def test_a_rejected_row_is_found_with_its_reason_and_its_parent(world: World) -> None:
    found = trace(world, world.lost_profile)
    assert (found.row.status, found.row.text) == ("rejected", "empty: nothing said")
    assert list(flatten(found.came_from)) == [(0, "persona", SAILOR.key)]
    below = trace(world, SAILOR.key).gave
    assert [(item.key, item.status) for item in below] == [(world.lost_profile, "rejected")]


def test_a_rejected_dialogue_is_led_back_to_its_pair(world: World) -> None:
    found = trace(world, world.lost_dialogue)
    assert list(flatten(found.came_from)) == [
        (0, "character", world.cook.key),
        (1, "persona", COOK.key),
        (0, "instruction", ASKED.key),
    ]


def test_rows_of_before_parents_were_kept_lead_where_their_columns_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.unit.flows.evaluated.encode_rows",
        lambda *given: encode_rows(*given).drop_columns(["parents"]),
    )
    old = World(Storage(str(tmp_path)))
    found = trace(old, old.judgements["tuned"][0].key)
    assert list(flatten(found.came_from))[:2] == [
        (0, "answer", old.answers["tuned"][0].key),
        (1, "question", old.held_out.key),
    ]
    assert [item.key for item in trace(old, old.dialogue.key).came_from] == [
        old.baker.key,
        ASKED.key,
    ]
    assert trace(old, old.lost_profile).came_from == ()


def test_a_parent_that_no_node_holds_is_said_to_be_absent(world: World) -> None:
    done = {name: ref for name, ref in world.done.items() if name.startswith("dialogues")}
    found = trace_lineage(world.storage, done, world.dialogue.key)
    assert [(item.kind, item.key, item.status) for item in found.came_from] == [
        ("character", world.baker.key, "absent"),
        ("instruction", ASKED.key, "absent"),
    ]


def test_a_guess_comes_from_the_persona_it_was_guessed_for(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    node = name_node("guesses")
    guess = replace(ASKED, key=row_key(node.recipe, [BAKER.key]), question_id=BAKER.key)
    lost = row_key(node.recipe, [COOK.key])
    done = {
        "personas": write_whole(storage, name_node("personas"), Persona, [BAKER, COOK]),
        "guesses": write_rows(
            storage,
            node,
            type(guess),
            [guess],
            [lost],
            {guess.key: (BAKER.key,), lost: (COOK.key,)},
        ),
    }
    for key, persona in ((guess.key, BAKER), (lost, COOK)):
        found = trace_lineage(storage, done, key)
        assert list(flatten(found.came_from)) == [(0, "persona", persona.key)]


@pytest.mark.parametrize("digits", [6, 7, 31, 32])
def test_the_beginning_of_a_key_is_enough(world: World, digits: int) -> None:
    given = f" {world.dialogue.key[:digits].upper()} "
    assert trace(world, given).row.key == world.dialogue.key


@pytest.mark.parametrize("given", ["", "abcde", "dialogue", "g" * 32, "a" * 33])
def test_what_is_no_key_is_said_with_what_would_be_one(world: World, given: str) -> None:
    assert "first 6 or more" in find_problem(world, given)


def test_an_unknown_key_is_answered_with_the_nearest(world: World) -> None:
    wrong = "0" if world.dialogue.key[6] != "0" else "1"
    problem = find_problem(world, world.dialogue.key[:6] + wrong, unfinished=["training"])
    assert f"{world.dialogue.key} (dialogue, dialogues_generate)" in problem
    assert "not finished: training" in problem


def test_several_rows_that_begin_so_are_listed(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    twins = [Persona(f"abcdef{n:026x}", f"Twin {n}", "") for n in range(12)]
    done = {"personas": write_whole(storage, name_node("personas"), Persona, twins[:2])}
    with pytest.raises(ConfigError, match=r"2 rows begin: abcdef0+ \(persona, personas\), "):
        trace_lineage(storage, done, "abcdef")
    assert trace_lineage(storage, done, twins[1].key).row.text == "Twin 1"
    done = {"personas": write_whole(storage, name_node("personas"), Persona, twins)}
    with pytest.raises(ConfigError, match=r"more than 10 rows begin.*…"):
        trace_lineage(storage, done, "abcdef")


def test_rows_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    questions = [make_question(BAKER, f"Question {n}?") for n in range(5)]
    node = name_node("answers_base")
    answers = [make_answer(node.recipe, item, "base", "Me.") for item in questions]
    asked = name_node("questions")
    done = {
        "personas": write_whole(storage, name_node("personas"), Persona, [BAKER]),
        "questions": write_whole(storage, asked, type(questions[0]), questions),
        "answers_base": write_rows(storage, node, Answer, answers),
    }
    found = trace_lineage(storage, done, BAKER.key, limit=2)
    assert [item.key for item in found.gave] == sorted(item.key for item in questions)[:2]
    assert found.more == {"questions": 3}
    assert all(len(item.branches) == 1 for item in found.gave)


def test_nothing_finished_is_nothing_found(world: World) -> None:
    with pytest.raises(ConfigError, match=r"no row of this run begins so"):
        trace_lineage(world.storage, {}, "abcdef")


def test_nodes_without_rows_and_other_nodes_do_no_harm(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    done = {
        "personas": write_whole(storage, name_node("personas"), Persona, [BAKER]),
        "characters": write_rows(storage, name_node("characters"), Answer, []),
        "questions_drafted": write_whole(storage, name_node("questions_drafted"), Persona, []),
        "scores": write_whole(storage, name_node("scores"), Persona, []),
    }
    assert trace_lineage(storage, done, BAKER.key).gave == ()


def test_the_tree_is_plain_text_whatever_rows_hold(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    nasty = Persona(content_key("persona", "x"), "[red]A\x1b[2J baker\n\u202efrom [/]Cork.", "")
    done = {"personas": write_whole(storage, name_node("personas"), Persona, [nasty])}
    sink = io.StringIO()
    found = trace_lineage(storage, done, nasty.key, unfinished=["report"])
    print_lineage(found, Console(file=sink, width=200))
    shown = sink.getvalue()
    assert "[red]A[2J baker from [/]Cork." in shown
    assert f"persona {nasty.key} personas" in shown
    assert "gave nothing in this run" in shown
    assert "not finished: report" in shown


def test_the_command_reads_the_nodes_of_the_configured_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load_settings(write_config(tmp_path, make_config(tmp_path)))
    with pytest.raises(ConfigError, match="not finished: personas, instructions, guesses"):
        show_lineage(settings, "abcdef")
    assert capsys.readouterr().out == ""


def test_a_written_question_leads_through_the_request_and_the_settings(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))
    settings, texts = name_node("question_settings"), name_node("question_texts")
    chosen = ChosenSettings(
        row_key(settings.recipe, [COOK.key]), COOK.key, COOK.persona, ("a bar",)
    )
    wanting = row_key(settings.recipe, [BAKER.key])
    written = WrittenQuestions(
        row_key(texts.recipe, [chosen.key, "toxicity_control"]),
        COOK.key,
        COOK.persona,
        "toxicity_control",
        (WrittenQuestion("a bar", "Who are you then?", ""), WrittenQuestion("a bar", "And?", "")),
    )
    asked = list_questions([written])
    done = {
        "personas": write_whole(storage, name_node("personas"), Persona, [BAKER, COOK]),
        settings.stage: write_rows(
            storage, settings, ChosenSettings, [chosen], [wanting], {wanting: (BAKER.key,)}
        ),
        texts.stage: write_rows(
            storage, texts, WrittenQuestions, [written], parents={written.key: (chosen.key,)}
        ),
        "questions": write_whole(storage, name_node("questions"), EvalQuestion, asked),
    }
    for question in asked:
        found = trace_lineage(storage, done, question.key)
        assert list(flatten(found.came_from)) == [
            (0, "written questions", written.key),
            (1, "settings", chosen.key),
            (2, "persona", COOK.key),
        ]
    (branch,) = trace_lineage(storage, done, COOK.key).gave
    assert (branch.key, branch.text) == (chosen.key, "a bar")
    assert len(branch.branches[0].branches) == 2
    assert trace_lineage(storage, done, wanting).came_from[0].key == BAKER.key


def test_every_kind_of_rows_says_in_columns_of_its_own_what_its_rows_are() -> None:
    rows = [kind for kind in KINDS if not issubclass(kind, JobNode)]
    for kind in rows:
        assert kind.row_kind is not None, kind
        assert {*kind.row_kind.text.meta.root_names()} <= {*kind.record.__annotations__}, kind
    names = [kind.row_kind.name for kind in rows if kind.row_kind and kind.stage == "evaluation"]
    assert len(set(names)) == len(names)
