"""Proves that the card tells every count, hash and licence, and that data is never markup."""

from dataclasses import replace

import pytest
import yaml

from infra.errors import ConfigError
from tasks.export.card import CardFacts, Count, SourceFacts, TableFacts, render_card
from tasks.export.rows import DialogueRow

from .worlds import NASTY, PROVENANCE, load_card_template

FACTS = CardFacts(
    name="Name: with | pipe",
    provenance=PROVENANCE,
    scope="curated",
    tables=(
        TableFacts("dialogues", "train", 1500, ("d.parquet", "d.jsonl")),
        TableFacts("sft", "train", 1400, ("sft_train.parquet",)),
        TableFacts("sft", "validation", 100, ("sft_validation.parquet",)),
    ),
    characters=20,
    dialogues=1500,
    strategies=(Count("generate", 1500),),
    characters_trained=19,
    characters_held_out=1,
    examples=(DialogueRow("c", NASTY, NASTY, "demo", "1", NASTY, NASTY, "d", 0, (), "generate"),),
)


def render(facts: CardFacts = FACTS) -> str:
    return render_card(facts, load_card_template())


def test_the_front_matter_names_the_files_and_licences() -> None:
    matter = yaml.safe_load(render().split("---\n")[1])
    assert matter["pretty_name"] == "Name: with | pipe"
    assert matter["license"] == ["cc-by-nc-sa-4.0", "unknown"]
    assert matter["size_categories"] == ["1K<n<10K"]
    assert matter["configs"][1] == {
        "config_name": "sft",
        "data_files": [
            {"split": "train", "path": "sft_train.parquet"},
            {"split": "validation", "path": "sft_validation.parquet"},
        ],
    }


def test_one_licence_for_all_is_the_licence() -> None:
    sources = (
        SourceFacts("personas", "personas", 2, "mit"),
        SourceFacts("q", "questions", 1, "MIT"),
    )
    card = render(replace(FACTS, provenance=replace(PROVENANCE, sources=sources)))
    assert yaml.safe_load(card.split("---\n")[1])["license"] == "mit"
    assert "commercial" not in card


def test_text_of_the_run_is_never_markup() -> None:
    body = render().split("---\n", 2)[2]
    assert "<script>" not in body
    assert "{{ x }} {% y %} &#60;&#124;eot&#95;id&#124;&#62;<br>&#60;script&#62;" in body
    assert "night &#124; run" in body
    for line in body.splitlines():
        if line.startswith("| persona |"):
            assert line.count("|") == 3


def test_every_count_and_hash_is_told() -> None:
    body = render()
    assert "| curation | refusal | 1 |" in body
    assert "| curation | *planned* | 3 |" in body
    assert "| generate.j2 | `0123abcd` |" in body
    assert "2501.15427" in body
    assert "tiny-teacher" in body
    assert "forbids commercial use" in body


def test_only_the_demo_teacher_is_called_a_demo() -> None:
    assert "says nothing about quality" in render()
    real = replace(FACTS, provenance=replace(PROVENANCE, demo_teacher=False))
    assert "says nothing about quality" not in render(real)


def test_a_broken_template_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        render_card(FACTS, "{{ nobody_gives_this }}")
