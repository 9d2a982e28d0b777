"""Proves that one run compares models under one prompt, and as the paper compares them."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.evaluation.config import EvaluationConfig
from tasks.evaluation.measures.score_table import Inputs, make_score_table, pair_models
from tasks.measures.evidence import Evidence
from tasks.records import Attribution, Judgement

GYM = {"role": "base", "prompt": "personagym"}
TUNED_GYM, CONTROL_GYM = ({**GYM, "role": role} for role in ("tuned", "control"))
SCORES = {"base": 2.0, "base-personagym": 2.5, "tuned": 4.0}


def configure(*models: Any) -> EvaluationConfig:
    return EvaluationConfig.model_validate(
        {
            "models": models,
            "questions": {"suite": "personagym", "path": "gym"},
            "judges": [{"model": "judge"}],
        }
    )


def gather(config: EvaluationConfig) -> Inputs:
    judgements = [
        Judgement(
            f"j-{model}-{n}", f"a-{model}-{n}", f"q{n}", f"p{n}", "toxicity_control", model,
            "judge", SCORES[model] + 0.1 * n, "",
        )
        for model in config.names
        for n in range(6)
    ]  # fmt: skip
    attributions = {
        role: [
            Attribution(
                f"t-{role}-{n}", f"e{n}", f"c{n}", f"p{n}", role, 10, -10.0, -12.0, ("c1",),
                (-11.0,), credit, ("c1",), (-11.0,), credit, 0.2, 0.1,
            )
            for n in range(6)
        ]
        for role, credit in (("base", 0.0), ("tuned", 1.0))
        if role in config.roles
    }  # fmt: skip
    models = tuple(dict.fromkeys((*config.names, *config.roles)))
    evidence = Evidence(models, ("judge",), tuple(judgements), {}, attributions, ())
    return Inputs(evidence, (), ())


@pytest.mark.parametrize(
    ("models", "pairs"),
    [
        (["base"], []),
        (["base", "tuned", "other"], [("tuned", "base"), ("other", "base")]),
        (
            ["base", "tuned", GYM],
            [("base-personagym", "base"), ("tuned", "base"), ("tuned", "base-personagym")],
        ),
        # What is measured of a role alone is compared as well, where no model has its plain name.
        (
            [GYM, "tuned"],
            [("base", "base-personagym"), ("tuned", "base-personagym"), ("tuned", "base")],
        ),
        (
            ["base", "tuned", "control"],
            [("tuned", "base"), ("control", "base"), ("tuned", "control")],
        ),
        # A control is beside the tuned model under the same prompt, and where a role is measured.
        (
            ["base", "tuned", TUNED_GYM, CONTROL_GYM],
            [
                ("tuned", "base"),
                ("tuned-personagym", "base"),
                ("control-personagym", "base"),
                ("control", "base"),
                ("tuned-personagym", "control-personagym"),
                ("tuned", "control"),
            ],
        ),
        (["tuned", "control"], [("control", "tuned")]),
    ],
)
def test_every_model_is_compared_with_the_first_role_under_each_prompt(
    models: list[Any], pairs: list[tuple[str, str]]
) -> None:
    assert pair_models(configure(*models)) == pairs


def test_both_pairings_stand_in_one_table_under_names_of_their_own() -> None:
    config = configure("base", "tuned", GYM)
    table = make_score_table(config, gather(config))
    found = {
        (item.model, item.against): round(item.mean or 0.0, 6)
        for item in table.comparisons
        if item.name == "persona_score"
    }
    assert found == {
        ("tuned", "base"): 2.0,
        ("tuned", "base-personagym"): 1.5,
        ("base-personagym", "base"): 0.5,
    }
    for rows in (table.measures, table.comparisons):
        assert len({row.key for row in rows}) == len(rows)
    gains = {name: value for name, value in table.headline.items() if name.endswith("_gain")}
    assert gains == {
        "attribution_tuned_gain": 1.0,
        "persona_score_base-personagym_gain": 0.5,
        "persona_score_tuned_gain": 2.0,
        "persona_score_tuned_over_base-personagym_gain": 1.5,
        "profile_gain_tuned_gain": 0.0,
    }


def test_attribution_is_kept_where_a_role_is_asked_under_prompts_alone() -> None:
    config = configure(GYM, "tuned")
    table = make_score_table(config, gather(config))
    measured = {item.model for item in table.measures if item.name == "attribution"}
    assert measured == {"base", "tuned"}
    compared = [
        (item.model, item.against) for item in table.comparisons if item.name == "attribution"
    ]
    assert compared == [("tuned", "base")]
    scored = {item.model for item in table.measures if item.name == "persona_score"}
    assert scored == {"base-personagym", "tuned"}


def test_the_papers_rows_are_shown_on_its_own_questions_only() -> None:
    config = configure("base", "tuned")
    shown = config.model_copy(update={"published": "ablation-2"})
    table = make_score_table(shown, gather(shown))
    assert len({(item.suite, item.model) for item in table.published}) == 27
    assert make_score_table(config, gather(config)).published == ()
    asked = {"questions": config.questions.model_copy(update={"suite": "generated"})}
    other = shown.model_copy(update=asked)
    assert make_score_table(other, gather(other)).published == ()
