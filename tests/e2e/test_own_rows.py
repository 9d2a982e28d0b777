"""Brings rows of one's own into a run: profiles, and whole dialogues."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest

from configs.demo.world.texts import draw_advice, write_persona, write_profile, write_voice
from configs.demo.world.world import Character, World
from flows.look.lineage import show_lineage
from flows.pipeline import opencharacter
from flows.plan.planning import plan_run
from flows.recipe.opening import prepare
from infra.errors import ConfigError, YieldError
from infra.models.gguf_conversion import convert
from infra.store.manifests import refer_to
from infra.store.reading import read_accepted_frame
from infra.store.storage import Storage
from tests.e2e.scripted import ScriptedWorld
from tests.unit.cards import encode, make_png, make_text, make_v2, make_v3
from tests.unit.training.exports import load_tokenizer

pytestmark = pytest.mark.e2e


def test_profiles_of_ones_own_are_taken_and_no_model_is_asked_for_any(
    world: ScriptedWorld, tmp_path: Path
) -> None:
    made = world.run()
    exported = Path(made.dataset) / "synthetic_character.jsonl"
    own = tmp_path / "own.jsonl"
    lines = exported.read_text().splitlines()
    own.write_text("\n".join(lines[:20]) + "\n")
    overrides = (f"characters.source={own}", f"storage.root={tmp_path / 'other'}")
    (plan,) = [n for n in plan_run(world.config, overrides).nodes if n.node == "characters"]
    assert plan.cost.prompt_tokens is None
    result = world.run(*overrides)
    counts = result.counts["characters"]
    assert (counts.planned, counts.accepted, counts.rejected) == (24, 20, 4)
    names = world.rows("characters")["name"].drop_nulls().to_list()
    cast = read_accepted_frame(
        Storage(str(tmp_path / "other")),
        refer_to(world.manifest("characters", *overrides)),
    )
    assert cast.height == 20 and set(cast["name"]) <= set(names)
    again = world.run(*overrides)
    assert again.engines_started == {} and again.counts == result.counts


def test_an_exported_data_set_comes_back_as_it_went(
    world: ScriptedWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = world.run()
    dataset = Path(made.dataset)
    people = dataset / "synthetic_character.jsonl"
    own = (
        f"personas.source={people}",
        f"characters.source={people}",
        f"dialogues.source={dataset / 'synthetic_dialogue.jsonl'}",
        f"storage.root={tmp_path / 'other'}",
    )
    nodes = {node.node: node for node in plan_run(world.config, own).nodes}
    assert "dialogues_given" in nodes and not {"dialogues_generate", "guesses"} & set(nodes)
    assert all(not node.cost.prompt_tokens for node in nodes.values())
    result = world.run(*own)
    assert result.engines_started == {}
    counts = result.counts["dialogues_given"]
    assert (counts.accepted, counts.rejected) == (made.counts["curation"].accepted, 0)
    assert result.counts["curation"].accepted == counts.accepted
    for split in ("train", "validation"):
        before, after = (
            sorted(pl.read_parquet(folder / f"sft_{split}.parquet")["messages"].to_list(), key=str)
            for folder in (dataset, Path(result.dataset))
        )
        assert before == after and before
    key = read_accepted_frame(
        Storage(str(tmp_path / "other")), refer_to(world.manifest("dialogues_given", *own))
    )["key"][0]
    capsys.readouterr()
    show_lineage(prepare(world.config, own), key)
    out = capsys.readouterr().out
    print(out)
    assert "character" in out
    card = (Path(result.dataset) / "README.md").read_text()
    assert "| alpaca | dialogues |" in card and "| alpaca | instructions |" not in card
    again = world.run(*own)
    assert again.counts == result.counts and again.engines_started == {}


def test_character_cards_go_in_and_the_same_come_out(world: ScriptedWorld, tmp_path: Path) -> None:
    cast = tmp_path / "cast"
    cast.mkdir()
    came = []
    for number, trade in enumerate(("baker", "pilot", "judge", "miner")):
        make = make_v2 if number % 2 else make_v3
        about = f"{{{{char}}}} is a {trade} of {number + 20} years' standing, and says so."
        came.append(make(name=f"Person {trade.title()}", description=about))
        if number % 2:
            (cast / f"{trade}.json").write_text(json.dumps(came[-1]))
        else:
            text = make_text("ccv3", encode(came[-1]), "zTXt")
            (cast / f"{trade}.png").write_bytes(make_png(text))
    (cast / "broken.png").write_bytes(make_png(make_text("chara", b"***")))
    own = (
        f"personas.source={cast}",
        f"characters.source={cast}",
        "export.cards=true",
        f"storage.root={tmp_path / 'other'}",
    )
    result = world.run(*own)
    counts = result.counts["characters"]
    assert (counts.accepted, counts.rejected) == (4, 1)
    files = sorted((Path(result.dataset) / "cards").iterdir())
    gone = [json.loads(file.read_bytes()) for file in files]
    assert sorted(gone, key=str) == sorted(came, key=str)
    people = pl.read_ndjson(Path(result.dataset) / "synthetic_character.jsonl")
    assert "Person Baker is a baker of 20 years' standing" in "".join(people["character"])
    again = world.run(*own)
    assert again.engines_started == {} and again.counts == result.counts


def test_dialogues_without_their_people_are_told(world: ScriptedWorld, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    chat = [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Ahoy."}]
    rows.write_text(json.dumps({"persona": "A stranger", "character": "Name: X", "messages": chat}))
    with pytest.raises(ConfigError, match=r"characters\.source="):
        world.run(f"dialogues.source={rows}")
    rows.write_text(json.dumps({"persona": "A stranger", "messages": chat}))
    with pytest.raises(YieldError, match=r"0 of 1 rows .* no_character"):
        world.run(f"dialogues.source={rows}", "retry.retries=0")


RELEASED = "configs/paper/released.yaml"
CHARACTERS, DIALOGUES = 60, 300


def write_release(folder: Path, characters: int, dialogues: int) -> tuple[Path, Path]:
    """Write rows in the schema of the authors' release, in the demo world's words.

    Some profiles say "Born Place", some are long, some lack fields; ages are words now and then.
    """
    rng, world = random.Random(11), World()
    people: dict[str, tuple[str, Character]] = {}
    while len(people) < characters:
        someone = world.draw_character(rng)
        lines = write_profile(someone).split("\n")
        if len(people) % 3 == 0:
            lines[4] = lines[4].replace("Birth Place", "Born Place")
        if len(people) % 5 == 0:
            lines[5] += "; always seen in the same old coat" * 35
        if len(people) % 7 == 0:
            lines[1] = "Age: soixante-dix ans"
        if len(people) % 11 == 0:
            del lines[2:4]
        persona = write_persona(someone, rng, complete=True)
        people.setdefault(persona, ("\n".join(lines), someone))
    cast = [
        {"character_id": f"char-{n}", "persona": who, "character": profile}
        for n, (who, (profile, _)) in enumerate(people.items())
    ]
    talks = []
    for n in range(dialogues):
        question = world.draw_question(rng)
        body = draw_advice(question.topic, question.form, rng).sentences
        who = cast[n % characters]
        talks.append(
            {
                **who,
                "question_source": "lima",
                "question_id": f"q{n}",
                "question": question.text,
                "character_answer": write_voice(people[who["persona"]][1], body, rng),
            }
        )
    for row in talks[::4]:
        del row["persona"], row["character"]  # joined by the id alone
    written = []
    for name, rows in (("synthetic_character", cast), ("synthetic_dialogue", talks)):
        written.append(folder / f"{name}.jsonl")
        written[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    return written[0], written[1]


def list_overrides(folder: Path, people: Path, talks: Path) -> list[str]:
    """Put the rows, and a base that these cores can train, into the configuration that is shipped.

    A few steps teach nobody to end an answer, so the base is one that does; and what they move at
    the paper's rate is less than bf16 can hold, so the export is in fp32.
    """
    base = "{model: configs/demo/teacher, max_num_seqs: 16, cpu_kv_cache_gib: 0.5}"
    return [
        f"storage.root={folder / 'store'}",
        f"personas.source={people}",
        f"characters.source={people}",
        f"dialogues.source={talks}",
        f"models={{base: {base}}}",
        "evaluation=null",
        "training={deepspeed: deepspeed/cpu.json, workers: 1, max_length: 2048, global_batch: 8,"
        " epochs: 1, precision: fp32, export_dtype: float32, licence: apache-2.0,"
        " gguf: f16, samples: {characters: 0}}",
    ]


def test_rows_as_released_are_all_taken_counted_once_and_given_back(
    prefect_server: str, tmp_path: Path
) -> None:
    people, talks = write_release(tmp_path, CHARACTERS, DIALOGUES)
    overrides = list_overrides(tmp_path, people, talks)
    plan = plan_run(RELEASED, overrides)
    assert plan.warnings == ()
    assert {node.node: node.rows for node in plan.nodes}["characters"] == CHARACTERS
    result = opencharacter(RELEASED, overrides, "encoding")
    assert result.engines_started == {}
    counts = {name: (row.planned, row.accepted) for name, row in result.counts.items()}
    assert counts["personas"] == counts["characters"] == (CHARACTERS, CHARACTERS)
    assert counts["dialogues_given"] == counts["curation"] == (DIALOGUES, DIALOGUES)
    assert counts["encoding"] == (DIALOGUES, DIALOGUES)
    dataset = Path(result.dataset)
    back, came = (
        {row["character_id"]: row for row in map(json.loads, path.read_text().splitlines())}
        for path in (dataset / people.name, people)
    )
    assert back == came
    played = [json.loads(line) for line in (dataset / talks.name).read_text().splitlines()]
    assert {row["question_id"] for row in played} == {f"q{n}" for n in range(DIALOGUES)}
    assert all(row["character"] == came[row["character_id"]]["character"] for row in played)


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings(r"ignore:.*:DeprecationWarning:ray\.")
def test_rows_as_released_are_trained_on_with_no_teacher(
    prefect_server: str, ray_cluster: None, tmp_path: Path
) -> None:
    overrides = list_overrides(tmp_path, *write_release(tmp_path, 24, 48))
    result = opencharacter(RELEASED, overrides, "training")
    assert result.counts["encoding"].accepted == 48
    assert result.model
    assert result.scores["eval_loss_tuned"] < result.scores["eval_loss_base"]
    assert set(result.engines_started) <= {"tuned"}
    answers_as_it_does(Path(result.model), tmp_path / "back")


def answers_as_it_does(export: Path, back: Path) -> None:
    """Check that the GGUF file of an export answers with the model's own tokens, template too."""
    (path,) = export.glob("*.gguf")
    convert(path, back)
    asked = [
        {"role": "system", "content": "You are Ann, a baker."},
        {"role": "user", "content": "What do you do at dawn?"},
    ]
    prompts, answers = [], []
    for folder in (export, back):
        tokenizer = load_tokenizer(folder)
        ids = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        prompts.append(list(ids))
        answers.append(generate(folder, prompts[-1]))
    assert prompts[0] == prompts[1]
    assert answers[0] == answers[1] and len(answers[0]) > len(prompts[0])


def generate(folder: Path, ids: list[int]) -> list[int]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    made: list[int] = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[
        0
    ].tolist()
    return made
