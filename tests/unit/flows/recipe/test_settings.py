"""Proves that a configuration is composed as said, and that every problem is told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.recipe.settings import Settings, dump_settings, load_settings
from infra.errors import ConfigError
from tests.unit.flows.worlds import index_problems, make_config, write_config


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    return make_config(tmp_path)


@pytest.fixture
def path(tmp_path: Path, config: dict[str, Any]) -> Path:
    return write_config(tmp_path, config)


def test_yaml_says_only_what_differs_from_the_defaults(path: Path) -> None:
    settings = load_settings(path)
    assert settings.dialogues.characters_per_question == 1
    assert settings.dialogues.pairing_seed == 0
    assert settings.instructions.synthesis.count == 1
    assert settings.models["teacher"].engine == "scripted"


def test_a_run_is_named_after_its_file_unless_it_has_a_name(path: Path) -> None:
    assert load_settings(path).run.name == "small"
    assert load_settings(path, ["run.name=mine"]).run.name == "mine"


def test_the_packaged_demo_is_valid_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings("configs/demo.yaml").run.name == "demo"
    assert load_settings("demo.yaml") == load_settings("configs/demo.yaml")


@pytest.mark.parametrize(
    ("override", "section", "values"),
    [
        ("personas.sample=5", "personas", {"sample": 5}),
        ("personas.sample=null", "personas", {"sample": None}),
        ("personas.sample=", "personas", {"sample": None}),
        (" personas.persona_column = text", "personas", {"persona_column": "text"}),
        ("personas.source=a=b.jsonl", "personas", {"source": "a=b.jsonl"}),
        ("curation.profile_dropout=0.25", "curation", {"profile_dropout": 0.25}),
        ("curation.drop_refusals=false", "curation", {"drop_refusals": False}),
        ("export.formats=[jsonl]", "export", {"formats": ["jsonl"]}),
        ("dialogues.rewrite=null", "dialogues", {"rewrite": None}),
    ],
)
def test_an_override_is_read_as_yaml(
    path: Path, override: str, section: str, values: dict[str, Any]
) -> None:
    dumped = getattr(load_settings(path, [override]), section).model_dump(mode="json")
    assert {name: dumped[name] for name in values} == values


def test_a_list_of_sources_can_be_given(path: Path) -> None:
    override = "instructions.sources=[a.jsonl, {path: b.jsonl, format: lima}]"
    sources = load_settings(path, [override]).instructions.sources
    assert [(source.path, source.format) for source in sources] == [
        ("a.jsonl", "auto"),
        ("b.jsonl", "lima"),
    ]


@pytest.mark.parametrize("before", [None, "absent"])
def test_a_key_below_a_group_that_is_off_turns_it_on(
    tmp_path: Path, config: dict[str, Any], before: str | None
) -> None:
    del config["dialogues"]["rewrite"]
    if before is None:
        config["dialogues"]["rewrite"] = None
    path = write_config(tmp_path, config)
    assert load_settings(path).dialogues.rewrite is None
    rewrite = load_settings(path, ["dialogues.rewrite.max_new_tokens=99"]).dialogues.rewrite
    assert rewrite is not None
    assert rewrite.max_new_tokens == 99


def test_the_last_override_wins_and_neighbours_stay(path: Path) -> None:
    settings = load_settings(path, ["runner.chunk_rows=4", "runner.chunk_rows=8"])
    assert settings.runner.chunk_rows == 8
    assert settings.instructions.synthesis.count == 1


def test_every_problem_is_told_at_once_with_file_key_and_what_to_do(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["persona"] = {}
    config["personas"]["sampel"] = 5
    config["curation"] = {"validation_share": 2}
    config["models"]["teacher"]["replicas"] = "two"
    config["dialogues"]["rewrite"] = {"max_tokens": 5}
    del config["instructions"]
    path = write_config(tmp_path, config)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, ["characters.temprature=1", "runner.chunk_rows=zero"])
    problems = index_problems(caught)
    assert set(problems) == {
        f"{path}: persona",
        f"{path}: personas.sampel",
        f"{path}: curation.validation_share",
        f"{path}: models.teacher.replicas",
        f"{path}: dialogues.rewrite.max_tokens",
        f"{path}: instructions",
        "--set characters.temprature",
        "--set runner.chunk_rows",
    }
    assert problems[f"{path}: persona"].todo == "did you mean personas?"
    assert problems[f"{path}: personas.sampel"].todo == "did you mean sample?"
    assert problems["--set characters.temprature"].todo == "did you mean temperature?"
    assert problems[f"{path}: dialogues.rewrite.max_tokens"].todo.startswith("did you mean max_")
    assert problems[f"{path}: instructions"].what == "missing"
    assert "2" in problems[f"{path}: curation.validation_share"].what
    assert "'two'" in problems[f"{path}: models.teacher.replicas"].what
    assert "'zero'" in problems["--set runner.chunk_rows"].what


def test_a_key_like_no_other_lists_those_that_there_are(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["instructions"]["sources"] = [{"path": "a.jsonl", "zzz": 1}]
    path = write_config(tmp_path, config)
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    problems = index_problems(caught)
    assert problems[f"{path}: instructions.sources.0.zzz"].todo == (
        "known here: columns, corpus, format, licence, path, split, subset"
    )


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\ta: 1", '"'])
def test_a_yaml_syntax_error_names_the_file_and_the_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(f"run: {{}}\n{text}\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml: not YAML(.|\n)*line [23]"):
        load_settings(path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "7\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="not a mapping"):
        load_settings(path)


def test_what_is_no_text_or_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Is a directory(.|\n)*--root"):
        load_settings(tmp_path)
    picture = tmp_path / "report.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ConfigError, match=r"report\.png: not YAML"):
        load_settings(picture)


def test_an_empty_file_lacks_what_has_no_default(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    assert set(index_problems(caught)) == {
        f"{path}: {key}" for key in ("models", "personas", "instructions")
    }


def test_malformed_overrides_are_told_together(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, ["personas.sample", "=5", "export.formats=[jsonl"])
    assert [problem.where for problem in caught.value.problems] == [
        "--set personas.sample",
        "--set =5",
        "--set export.formats",
    ]


def test_a_missing_config_is_named() -> None:
    with pytest.raises(ConfigError, match=r"CONFIG: no such file: none\.yaml"):
        load_settings("none.yaml")


def test_what_is_dumped_loads_to_the_same_settings(tmp_path: Path, path: Path) -> None:
    settings = load_settings(path, ["personas.sample=7", "dialogues.rewrite.seed=3"])
    again = tmp_path / "dumped.yaml"
    again.write_text(dump_settings(settings))
    assert load_settings(again) == settings
    assert Settings.model_validate(yaml.safe_load(again.read_text())) == settings


def test_a_key_pasted_where_a_reference_belongs_is_refused_and_not_repeated(path: Path) -> None:
    overrides = [
        "models.teacher={engine: endpoint, model: m, base_url: 'http://127.0.0.1:1/v1',"
        " api_key: sk-very-secret}"
    ]
    with pytest.raises(ConfigError, match="env:NAME") as caught:
        load_settings(path, overrides)
    assert "sk-very-secret" not in str(caught.value)


def write_layer(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_says_only_what_differs_from_the_one_it_extends(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    config["curation"] = {"validation_share": 0.3, "seed": 5}
    write_config(tmp_path, config, "shared.yaml")
    middle = "extends: ../shared.yaml\ncuration: {seed: 6}\n"
    write_layer(tmp_path, "deep/middle.yaml", middle)
    text = "extends: middle.yaml\ndialogues: {rewrite: null}\ninstructions: {sources: [b.jsonl]}\n"
    settings = load_settings(write_layer(tmp_path, "deep/top.yaml", text))
    assert settings.run.name == "top"
    assert (settings.curation.validation_share, settings.curation.seed) == (0.3, 6)
    assert settings.dialogues.rewrite is None
    assert settings.dialogues.characters_per_question == 1
    assert [source.path for source in settings.instructions.sources] == ["b.jsonl"]
    assert settings.instructions.synthesis.count == 1
    override = load_settings(tmp_path / "deep/top.yaml", ["curation.seed=7"])
    assert override.curation.seed == 7


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("extends: none.yaml\n", "no such file: none.yaml"),
        ("extends: top.yaml\n", "extends this file again"),
        ("extends: circle.yaml\n", "extends this file again"),
        ("extends: [a.yaml]\n", "is no file name"),
    ],
)
def test_a_file_that_cannot_be_extended_is_named(tmp_path: Path, text: str, what: str) -> None:
    write_layer(tmp_path, "circle.yaml", "extends: top.yaml\n")
    with pytest.raises(ConfigError, match=what):
        load_settings(write_layer(tmp_path, "top.yaml", text))


DOUBLED = [
    ("storage: {root: a}\nrun: {name: x}\nstorage: {root: b}\n", "'storage' .* lines 1 and 3"),
    ("models:\n  base:\n    model: a\n    dtype: auto\n    model: b\n", "'model' .* lines 3 and 5"),
    ("personas: {source: a, sample: 1, source: b}\n", "'source' is given twice, in line 1"),
    ("instructions:\n  sources:\n  - path: a\n    path: b\n", "'path' .* lines 3 and 4"),
    ("a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n  d: 2\n", "'d' .* lines 4 and 5"),
]


@pytest.mark.parametrize(("text", "says"), DOUBLED)
def test_a_key_given_twice_is_told_with_both_lines(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"twice\.yaml: the key {says}"):
        load_settings(path)
    (tmp_path / "above.yaml").write_text("extends: twice.yaml\n")
    with pytest.raises(ConfigError, match=rf"twice\.yaml: the key {says}"):
        load_settings(tmp_path / "above.yaml")


def test_a_key_given_twice_in_a_value_to_set_is_told(path: Path) -> None:
    with pytest.raises(ConfigError, match="--set run: the key 'name' is given twice, in line 1"):
        load_settings(path, ["run={name: a, name: b}"])


def test_a_merged_key_may_be_changed(tmp_path: Path, config: dict[str, Any]) -> None:
    path = write_config(tmp_path, config)
    model = "{engine: scripted, model: a}"
    path.write_text(
        path.read_text()
        + "plan:\n  sources: {}\ncuration: {}\nexport: {}\nreport: {}\n"
        + "ray: &r {address: x}\n"
    )
    assert load_settings(path).ray.address == "x"
    shared = f"models:\n  one: &m {model}\n  two:\n    <<: *m\n    model: b\n"
    (tmp_path / "merged.yaml").write_text(f"extends: small.yaml\n{shared}")
    assert load_settings(tmp_path / "merged.yaml").models["two"].model == "b"
