"""Proves that the card tells every count, setting and licence, and that data is never markup."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from infra.errors import ConfigError
from infra.paths import packaged_configs
from infra.store.manifests import Counts, Manifest, Usage
from tasks.training.config import LoraConfig, TrainingConfig
from tasks.training.model.card import (
    DataFacts,
    Drop,
    ModelCardFacts,
    ResultFacts,
    StageCounts,
    describe_settings,
    describe_stage,
    list_licences,
    render_model_card,
)
from tasks.training.origins import Upstream
from tasks.training.ranks.samples import Sample

NASTY = "{{ x }} | <script> `\n---\n# Title\n```\n![](evil)"
FACTS = ModelCardFacts(
    name="Night: | model",
    run="0123abcd",
    licence="",
    demo=True,
    dtype="bfloat16",
    parameters=8_030_261_248,
    context_tokens=8192,
    chat_format="llama3",
    upstream=(
        Upstream("org/Base-8B", "base model", "llama3"),
        Upstream("tiny-teacher", "teacher"),
        Upstream("personas", "personas", "cc-by-nc-sa-4.0", 20_000),
    ),
    stages=(StageCounts("curation", 30, 28, (Drop("refusal", 2),)),),
    data=DataFacts(27, 1, 9_000, 4_000, 300, 12),
    settings=describe_settings(TrainingConfig()),
    results=ResultFacts(2.5, 1.25, 1.2503, 84, 18_000, 3.0 * 3600, "8 × H200", 0.96, 25),
    samples=(Sample(84, "k", "c", NASTY, NASTY, NASTY, 9, False),),
    curves="curves.png",
)


def render(facts: ModelCardFacts = FACTS) -> str:
    template = (packaged_configs() / "templates" / "model_card.md.j2").read_text(encoding="utf-8")
    return render_model_card(facts, template)


def read_matter(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_the_front_matter_is_what_a_hub_expects() -> None:
    matter = read_matter(render())
    assert (matter["license"], matter["license_name"]) == ("other", "not-declared")
    assert (matter["base_model"], matter["base_model_relation"]) == ("org/Base-8B", "finetune")
    assert matter["pipeline_tag"] == "text-generation"
    assert "demo" in matter["tags"]
    own = read_matter(render(replace(FACTS, licence="Apache-2.0", demo=False)))
    assert own["license"] == "apache-2.0"
    assert "license_name" not in own and "demo" not in own["tags"]


def test_a_folder_on_disk_is_no_base_model_of_a_hub() -> None:
    upstream = (Upstream("/models/x/base", "base model"), *FACTS.upstream[1:])
    assert "base_model" not in read_matter(render(replace(FACTS, upstream=upstream)))


def test_text_of_the_run_is_never_markup() -> None:
    body = render().split("---\n", 2)[2]
    assert "<script>" not in body and "](evil)" not in body
    assert "Night: &#124; model" in body
    assert body.count("```") == 6
    rows = [
        line for line in body.splitlines() if line.startswith(("| told", "| asked", "| answered"))
    ]
    assert len(rows) == 3
    assert all(line.count("|") == 3 for line in rows)
    assert [line for line in body.splitlines() if line.startswith("# ")] == [
        "# Night: &#124; model", "# Persona", "# Character Profile",
    ]  # fmt: skip
    assert "*(cut off)*" in rows[2]


def test_every_count_result_and_licence_is_told() -> None:
    body = render()
    for line in (
        "| before training | 2.5000 |",
        "| after training | 1.2500 |",
        "| this folder, loaded anew | 1.2503 |",
        "Of 25 probe answers, 96% ended by themselves.",
        "84 steps over 18,000 tokens in 3.0 h on 8 × H200.",
        "| training | 27 | 9,000 | 4,000 |",
        "packed into 12 rows",
        "| curation | refusal | 2 |",
        "| org/Base-8B | base model | llama3 |  |",
        "| tiny-teacher | teacher | unknown |  |",
        "| personas | personas | cc-by-nc-sa-4.0 | 20,000 |",
        "forbids commercial use",
        'asks for its notice and for "Llama"',
        "8.03 billion parameters in bfloat16",
        "![Loss, learning rate, gradient norm and speed over the steps](curves.png)",
        "| learning rate | 1e-05 → 1e-06, linear |",
        "says nothing about quality",
    ):
        assert line in body, line


def test_what_is_not_known_is_not_told() -> None:
    results = replace(
        FACTS.results, loss_before=None, loss_after=None, loss_reloaded=None, answers_ended=None
    )
    facts = replace(
        FACTS,
        demo=False,
        results=results,
        curves=None,
        samples=(),
        upstream=(Upstream("org/base", "base model", "apache-2.0"),),
        data=replace(FACTS.data, packed_rows=None),
    )
    body = render(facts)
    assert "Nothing was held out" in body
    for words in ("probe answers", "![", "## Samples", "commercial", "Llama", "packed into",
                  "says nothing about quality"):  # fmt: skip
        assert words not in body, words


def test_settings_say_whether_adapters_were_trained() -> None:
    assert dict(describe_settings(TrainingConfig()))["trained"] == "all weights"
    lora = describe_settings(TrainingConfig(lora=LoraConfig(rank=8, alpha=16)))
    assert dict(lora)["trained"] == "adapters of rank 8, alpha 16"
    assert "low-rank adapters, merged" in render(replace(FACTS, lora=True))


def test_a_stage_is_described_by_its_manifest() -> None:
    manifest = Manifest(
        stage="encoding",
        recipe="r",
        fingerprint="f",
        upstream={},
        identity={},
        selection={},
        parts=(),
        members=None,
        counts=Counts(planned=10, accepted=7, rejected=3, made=10, reused=0),
        reasons={"too_long": 3},
        usage=Usage(),
        provenance={},
    )
    assert describe_stage(manifest) == StageCounts("encoding", 10, 7, (Drop("too_long", 3),))


def test_licences_of_everything_upstream_are_listed_once() -> None:
    assert list_licences(FACTS.upstream) == ("cc-by-nc-sa-4.0", "llama3", "unknown")


def test_a_broken_template_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="nobody_gives_this"):
        render_model_card(FACTS, "{{ nobody_gives_this }}")
