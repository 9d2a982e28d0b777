"""Proves that mistakes of a configuration are told: files, keys, values, prompts, counts, names."""

from __future__ import annotations

from pathlib import Path

import pytest

from .situations import Situation, hold_to, tell

PROMPT = "[user]\n"


def of_prompt(name: str, key: str, body: str, *words: str) -> Situation:
    return Situation(name, ("p.j2", *words), (f"{key}={{folder}}/p.j2",), {"p.j2": body})


CHARACTER, GENERATE = "characters.prompt", "dialogues.generate.prompt"
REWRITE, GUESS = "dialogues.rewrite.prompt", "instructions.synthesis.prompt"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}"

FILES = [
    Situation("config is missing", ("no such file: nope.yaml",), command=("plan", "nope.yaml"),
              without_config=True),
    Situation("config is a folder", ("cannot be read",), command=("plan", "{folder}"),
              without_config=True),
    Situation("config is empty", ("missing", "personas"), files={"e.yaml": ""},
              command=("plan", "{folder}/e.yaml"), without_config=True),
    Situation("config is a list", ("not a mapping",), files={"e.yaml": "- a\n"},
              command=("plan", "{folder}/e.yaml"), without_config=True),
    Situation("config is no YAML", ("not YAML",), files={"e.yaml": "a: [\n"},
              command=("plan", "{folder}/e.yaml"), without_config=True),
    Situation("config is no text", ("not YAML",), files={"e.yaml": b"\xff\xfe\x00\x81"},
              command=("plan", "{folder}/e.yaml"), without_config=True),
    Situation("a key twice", ("run", "2"), files={"e.yaml": "run: {}\nrun: {}\n"},
              command=("plan", "{folder}/e.yaml"), without_config=True),
    Situation("extends itself", ("extends this file again",),
              files={"e.yaml": "extends: e.yaml\n"},
              command=("plan", "{folder}/e.yaml"), without_config=True),
    Situation("extends nothing", ("no such file",), files={"e.yaml": "extends: no.yaml\n"},
              command=("plan", "{folder}/e.yaml"), without_config=True),
    Situation("extends a list", ("is no file name",), files={"e.yaml": "extends: [a]\n"},
              command=("plan", "{folder}/e.yaml"), without_config=True),
]  # fmt: skip

SETS = [
    Situation("unknown section", ("person", "did you mean personas?"), ("person.source=x",)),
    Situation("unknown key", ("unknown key", "did you mean sample?"), ("personas.sampel=2",)),
    Situation("no equals sign", ("not of the form a.b=c",), ("characters",)),
    Situation("no key", ("not of the form a.b=c",), ("=5",)),
    Situation("broken value", ("value is not YAML",), ("run.name=[",)),
    Situation("doubled value", ("keep one of them",), ("run={name: a, name: b}",)),
    Situation("key below a text", ("has no keys below it",), ("personas.source.x=1",)),
    Situation("list for section", ("characters",), ("characters=[]",)),
    Situation("text for number", ("chunk_rows", "integer"), ("runner.chunk_rows=many",)),
    Situation("zero rows", ("chunk_rows", "greater than or equal to 1"), ("runner.chunk_rows=0",)),
    Situation("negative sample", ("personas.sample",), ("personas.sample=-3",)),
    Situation("negative temperature", ("temperature",), ("characters.temperature=-1",)),
    Situation("endless temperature", ("temperature",), ("characters.temperature=.inf",)),
    Situation("temperature is no number", ("temperature",), ("characters.temperature=.nan",)),
    Situation("no mass", ("top_p",), ("characters.top_p=0",)),
    Situation("no token", ("max_new_tokens",), ("characters.max_new_tokens=0",)),
    Situation("yield above one", ("min_yield",), ("characters.min_yield=2",)),
    Situation("unknown language", ("personas.language", "klingon"),
              ("personas.language=klingon",)),
    Situation("no budget", ("max_tokens",), ("budget.max_tokens=0",)),
    Situation("no CPU", ("num_cpus",), ("ray.num_cpus=0",)),
    Situation("unknown role", ("nobody", "known: teacher"), ("characters.model=nobody",)),
    Situation("no strategy", ("every strategy is off",),
              ("dialogues.generate=null", "dialogues.rewrite=null")),
    Situation("base that cannot be trained", ("scripted cannot be fine-tuned",),
              ("training={model: teacher}",)),
    Situation("base that is not there", ("training.model",), ("training={}",)),
    Situation("judge who is not there", ("nobody",), ("evaluation={judges: [{model: nobody}]}",)),
]  # fmt: skip

PROMPTS = [
    Situation("no prompt", ("no such file: nope.j2",), ("characters.prompt=nope.j2",)),
    Situation("prompt is a folder", ("cannot be read",), ("characters.prompt={folder}",)),
    of_prompt("no marker", CHARACTER, "Write.", "begin with [system]"),
    of_prompt("broken syntax", CHARACTER, PROMPT + "{{ persona ", "p.j2:2", "template syntax"),
    of_prompt("unknown value", CHARACTER, PROMPT + "{{ persona }}{{ mood }}", "mood",
              "known values: persona, structured"),
    of_prompt("persona never shown", CHARACTER, PROMPT + "Write a profile.",
              "never shows persona", "write {{ persona }}"),
    of_prompt("persona only asked after", CHARACTER, PROMPT + "{% if persona %}Hello{% endif %}",
              "never shows persona"),
    of_prompt("persona behind a wall", CHARACTER, PROMPT + "{% if false %}{{persona}}{% endif %}",
              "never shows persona"),
    of_prompt("nobody plays", GENERATE, PROMPT + "{{ query }}", "never shows persona or profile"),
    of_prompt("nothing is asked", GENERATE, PROMPT + "{{ persona }}", "never shows query"),
    of_prompt("nothing to rewrite", REWRITE, PROMPT + "{{ profile }}", "never shows dialog"),
    of_prompt("nobody guesses", GUESS, PROMPT + "Ask something.", "never shows persona"),
    of_prompt("nobody is trained", "curation.prompt", "[system]\nBe nice.",
              "never shows persona or profile"),
    of_prompt("too long a range", CHARACTER, PROMPT + "{% for a in range(10**9) %}{% endfor %}",
              "cannot be rendered", "Range too big"),
    of_prompt("loops without end", CHARACTER, PROMPT + LOOP + "{{ persona }}",
              "cannot be rendered", "do not come to an end"),
    of_prompt("text without end", CHARACTER, PROMPT + "{{ 'x' * 10**10 }}{{ persona }}",
              "cannot be rendered", "does not come to an end"),
    of_prompt("reaches for Python", CHARACTER, PROMPT + "{{ persona.__class__.__mro__ }}",
              "cannot be rendered", "unsafe"),
    of_prompt("reads another file", CHARACTER, PROMPT + "{% include '/etc/passwd' %}{{persona}}",
              "cannot be rendered"),
    of_prompt("divides by zero", CHARACTER, PROMPT + "{{ persona }}{{ 1 / 0 }}",
              "cannot be rendered", "ZeroDivisionError"),
]  # fmt: skip

COUNTS = [
    Situation("more characters than personas", ("characters_per_question", "2 characters at most"),
              ("dialogues.characters_per_question=3",)),
    Situation("absurdly many characters", ("characters_per_question",),
              (f"dialogues.characters_per_question={10**21}",)),
    Situation("more characters than the sample", ("personas.sample is 1",),
              ("personas.sample=1", "dialogues.characters_per_question=2")),
    Situation("pairs that there are", ("2 personas, 2 questions, 4 pairs",),
              ("dialogues.characters_per_question=2",), code=0),
]  # fmt: skip

NAMES = [
    Situation(f"run called {name[:12]}", ("run.name", words), (f"run.name='{name}'",))
    for name, words in (
        (".", "begins with a dot"),
        ("..", "begins with a dot"),
        (".hidden", "begins with a dot"),
        ("-rf", "a dash"),
        ("a/b", "folder should"),
        ("../x", "begins with a dot"),
        ("a b", "other characters"),
        ("x" * 300, "longer than 100"),
    )
] + [
    Situation(f"config called {name[:12]}", ("CONFIG", words, "set run.name"), config=name)
    for name, words in (
        ("...yaml", "begins with a dot"),
        ("..yaml", "begins with a dot"),
        ("-x.yaml", "a dash"),
        (f"{'x' * 200}.yaml", "longer than 100"),
        ("a\tb.yaml", "no folder should"),
    )
]

ROOTS = [
    Situation(f"root {root[:14]}", ("storage root", words), (f"storage.root={root}",))
    for root, words in (
        ("http://host/x", "kind http"),
        ("https://host/x", "kind https"),
        ("'http:'", "kind http"),
        ("file:///tmp/x", "leave file:// out"),
        ("file:x", "leave file:// out"),
        ("gs://bucket/x", "kind gs"),
        ("hf://x", "kind hf"),
        ("s3:/bucket/x", "write s3://bucket/prefix"),
        ("S3://bucket/x", "in small letters"),
        ("s3://", "names no bucket"),
        ("C:\\data", "another system"),
        ("$HOME/x", "a variable"),
        ("''", "is empty"),
        ('"a\\0b"', "control characters"),
    )
] + [
    Situation("root in /proc", ("cannot be written",), ("storage.root=/proc/x",)),
    Situation("root is a device", ("cannot be written",), ("storage.root=/dev/null",)),
    Situation("root is a file", ("cannot be written",), ("storage.root={folder}/personas.jsonl",)),
    Situation("root of a later version", ("store format 99",), files={
        "store/opencharacter-store.json": '{"format": 99}'}),
]  # fmt: skip

ALL = [*FILES, *SETS, *PROMPTS, *COUNTS, *NAMES, *ROOTS]


@pytest.mark.parametrize("situation", ALL, ids=[one.name for one in ALL])
def test_it_is_told_before_anything_starts(
    situation: Situation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hold_to(situation, tell(situation, tmp_path, capsys), tmp_path)


def test_no_folder_is_made_of_an_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    for root in ROOTS[:14]:
        tell(root, tmp_path, capsys)
    left = {path.name for path in set(tmp_path.iterdir()) - before}
    assert left == {"small.yaml", "personas.jsonl", "questions.jsonl"}


def test_a_home_folder_is_a_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    told = tell(Situation("home", (), ("storage.root=~/rows",)), tmp_path, capsys)
    assert told.code == 0
    assert f"→ {tmp_path}/home/rows" in told.text
