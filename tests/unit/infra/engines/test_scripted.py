"""Proves that scripted answers are valid, distinct and reproducible, and that faults happen."""

import asyncio
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from infra.engines.scripted import Script, ScriptedEngine
from infra.engines.scripted_answers import write_answer
from infra.errors import ConfigError, EngineError, RequestFailed
from infra.protocol import Completion, Message, Request, SamplingParams

FIELDS = [
    "Name", "Age", "Gender", "Race", "Birth Place", "Appearance", "General Experience",
    "Personality",
]  # fmt: skip


def ask(
    text: str,
    *,
    schema: dict[str, Any] | None = None,
    temperature: float = 0.7,
    seed: int | None = 1,
    request_id: str = "r",
    max_new_tokens: int = 400,
) -> Request:
    sampling = SamplingParams(temperature, 0.9, max_new_tokens, seed)
    return Request(request_id, (Message("user", text),), None, sampling, schema)


def complete(engine: ScriptedEngine, requests: list[Request]) -> list[Completion | BaseException]:
    async def main() -> list[Completion | BaseException]:
        calls = (engine.generate(request) for request in requests)
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(main())


PROFILE_SCHEMA = {
    "type": "object",
    "properties": {field: {"type": "string", "minLength": 1, "maxLength": 60} for field in FIELDS}
    | {"Age": {"type": "string", "pattern": "^[0-9]{1,3}$"}},
    "required": FIELDS,
    "additionalProperties": False,
}
DIALOGUE_SCHEMA = {
    "type": "array",
    "prefixItems": [
        {
            "type": "object",
            "properties": {"role": {"const": role}, "content": content},
            "required": ["role", "content"],
            "additionalProperties": False,
        }
        for role, content in (
            ("user", {"const": 'Say "hi" {{ x }}'}),
            ("assistant", {"type": "string", "minLength": 120, "maxLength": 130}),
        )
    ],
    "items": False,
    "minItems": 2,
    "maxItems": 2,
}
REFERENCES = {
    "$defs": {"Score": {"type": "integer", "minimum": 1, "maximum": 5}},
    "type": "object",
    "properties": {
        "score": {"$ref": "#/$defs/Score"},
        "why": {"anyOf": [{"type": "string", "maxLength": 9}, {"type": "null"}]},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 3, "maxItems": 4},
        "yes": {"type": "boolean"},
        "code": {"type": "string", "pattern": "^[1-9][0-9]{3}$"},
        "line": {"type": "string", "pattern": r'^[^"\\\n]{1,20}$', "maxLength": 20},
    },
    "required": ["score", "why", "tags", "yes", "code", "line"],
}


@pytest.mark.parametrize("schema", [PROFILE_SCHEMA, DIALOGUE_SCHEMA, REFERENCES])
def test_schemas_are_followed_and_texts_differ(schema: dict[str, Any]) -> None:
    texts = {write_answer(ask(f"persona {n}", schema=schema)) for n in range(100)}
    for text in texts:
        jsonschema.validate(json.loads(text), schema)
    assert len(texts) >= 98


def test_project_prompts_get_the_form_they_ask_for() -> None:
    assert write_answer(ask('Guess. Start with "User prompt:".')).startswith("User prompt: ")
    profile = write_answer(ask('Write one "Field: value" a line, starting with "Name:".'))
    pairs = [line.split(": ", 1) for line in profile.splitlines()]
    assert [field for field, _ in pairs] == FIELDS
    assert 18 <= int(dict(pairs)["Age"]) <= 80
    plain = {write_answer(ask(f"question {n}")) for n in range(200)}
    assert len(plain) == 200
    assert all(20 <= len(text.split()) <= 120 for text in plain)


def test_text_depends_on_messages_seed_and_temperature_only() -> None:
    assert write_answer(ask("q", request_id="a")) == write_answer(ask("q", request_id="b"))
    assert write_answer(ask("q", seed=1)) != write_answer(ask("q", seed=2))
    assert write_answer(ask("q", seed=1, temperature=0)) == write_answer(
        ask("q", seed=2, temperature=0)
    )


def test_other_process_writes_the_same() -> None:
    code = (
        "from infra.engines.scripted_answers import write_answer;"
        "from infra.protocol import *;"
        "print(write_answer(Request('x',(Message('user','q'),),None,SamplingParams(.7,.9,400,1))))"
    )
    env = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == write_answer(ask("q")), done.stderr


def test_budget_cuts_plain_text() -> None:
    (answer,) = complete(ScriptedEngine(), [ask("q", max_new_tokens=5)])
    assert isinstance(answer, Completion)
    assert (answer.finish_reason, answer.completion_tokens) == ("length", 5)


def test_faults_are_reproducible_by_request() -> None:
    script = Script(bad_output_share=0.3, transient_error_share=0.2)
    requests = [ask(f"q{n}", request_id=f"r{n}") for n in range(200)]
    first, second = (
        complete(ScriptedEngine(script), order) for order in (requests, requests[::-1])
    )
    assert [str(one) for one in first] == [str(one) for one in second[::-1]]
    failed = [one for one in first if isinstance(one, RequestFailed)]
    assert 20 <= len(failed) <= 60
    assert not any(one.fatal for one in failed)
    clean = complete(ScriptedEngine(), requests)
    pairs = zip(first, clean, strict=True)
    bad = sum(one != other for one, other in pairs if isinstance(one, Completion))
    assert 25 <= bad <= 75


def test_transient_error_passes_the_second_time() -> None:
    engine = ScriptedEngine(Script(transient_error_share=1.0))
    first, second = complete(engine, [ask("q"), ask("q")])
    assert isinstance(first, RequestFailed)
    assert isinstance(second, Completion)


def test_every_nth_request_fails_and_refusal_is_fatal() -> None:
    outcomes = complete(ScriptedEngine(Script(fail_every=3)), [ask("q")] * 9)
    assert [isinstance(one, RequestFailed) for one in outcomes] == [False, False, True] * 3
    (outcome,) = complete(ScriptedEngine(Script(refuse_all=True)), [ask("q")])
    assert isinstance(outcome, RequestFailed)
    assert outcome.fatal


def test_engine_dies_for_good_and_once_only_with_a_marker(tmp_path: Path) -> None:
    outcomes = complete(ScriptedEngine(Script(die_after=2)), [ask("q")] * 4)
    assert [type(one) for one in outcomes] == [Completion, Completion, EngineError, EngineError]
    script = Script(die_after=2, die_once_marker=str(tmp_path / "died"))
    assert isinstance(complete(ScriptedEngine(script), [ask("q")] * 3)[2], EngineError)
    assert isinstance(complete(ScriptedEngine(script), [ask("q")] * 3)[2], Completion)


def test_hard_death_kills_the_process() -> None:
    code = (
        "import asyncio; from infra.engines.scripted import *;"
        "from infra.protocol import *;"
        "r=Request('x',(Message('user','q'),),None,SamplingParams(.7,.9,9,1));"
        "e=ScriptedEngine(Script(die_after=1, hard=True)); asyncio.run(e.generate(r));"
        "print('alive', flush=True); asyncio.run(e.generate(r)); print('still alive')"
    )
    env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout) == (-9, "alive\n"), done.stderr


def test_responder_is_found_by_path_or_named_as_wrong() -> None:
    script = Script(respond="builtins.repr")
    (answer,) = complete(ScriptedEngine(pickle.loads(pickle.dumps(script))), [ask("q")])
    assert isinstance(answer, Completion)
    assert answer.text == repr(ask("q"))
    for path in ("nonsense", "no.such.module", "os.name", "infra.nothing"):
        with pytest.raises(ConfigError, match=r"script\.respond"):
            ScriptedEngine(Script(respond=path))


def test_closed_engine_answers_no_more() -> None:
    engine = ScriptedEngine()
    asyncio.run(engine.close())
    (outcome,) = complete(engine, [ask("q")])
    assert isinstance(outcome, EngineError)
