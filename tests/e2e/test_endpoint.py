"""Proves the endpoint engine against a real OpenAI-compatible server: vLLM on loopback."""

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from infra.cluster.ports import find_port
from infra.engines.endpoint.dialect import DialectConfig
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.wire import EndpointSettings
from infra.errors import PromptTooLong, RequestFailed
from infra.protocol import Completion, Message, Request, SamplingParams
from infra.secrets.secrets import Secret, read_secret

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

KEY_VARIABLE = "OC_E2E_ENDPOINT_KEY"
KEY = "sk-endpoint-e2e-5f1c9a7b3d"
TEACHER = Path(__file__).parents[2] / "configs" / "demo" / "teacher"
CONTEXT = 512
GRAMMAR = '{"backend": "xgrammar", "disable_any_whitespace": true}'
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20
Result = TypeVar("Result")


@dataclass(frozen=True)
class Server:
    base_url: str
    log: Path
    start_s: float


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (TEACHER / "config.json").is_file():
        return TEACHER
    folder = tmp_path_factory.mktemp("random-llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        build_random_llama(folder)
    return folder


@pytest.fixture(scope="module")
def server(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(model_folder, tmp_path_factory.mktemp("server") / "server.log") as running:
        yield running


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    return read_secret(f"env:{KEY_VARIABLE}")


def build_random_llama(folder: Path) -> None:
    """Write a Llama of random weights whose tokens are bytes; head size 64, as vLLM wants."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|begin|>", "<|end|>", "<|pad|>"]
    vocabulary = {token: n for n, token in enumerate([*letters, *specials])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>"
    )
    fast.chat_template = (
        "<|begin|>{% for m in messages %}{{ m.role }}: {{ m.content }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=vocabulary["<|begin|>"],
        eos_token_id=vocabulary["<|end|>"],
        pad_token_id=vocabulary["<|pad|>"],
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


@contextmanager
def serve(model: Path, log: Path) -> Iterator[Server]:
    """Run a server for the model; afterwards none of its processes may be left."""
    port = find_port()
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", "tiny", "--api-key", KEY),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--enforce-eager", "--no-enable-chunked-prefill", "--enable-prompt-tokens-details"),
        *("--max-model-len", str(CONTEXT), "--max-num-seqs", "32"),
        *("--structured-outputs-config", GRAMMAR),
    ]
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", KEY_VARIABLE)
    } | {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    began = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, stdout=sink, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    try:
        await_health(process, f"http://127.0.0.1:{port}/health", log)
        yield Server(f"http://127.0.0.1:{port}/v1", log, time.monotonic() - began)
    finally:
        left = stop(process)
    assert not left, f"the server left processes behind: {left}"


def await_health(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.25)
    state = "did not answer in time" if process.poll() is None else f"exited {process.returncode}"
    pytest.fail(f"the vLLM server {state}; its log ends:\n{log.read_text()[-6000:]}")


def stop(process: subprocess.Popen[bytes]) -> list[str]:
    """End the server and its group; return descendants that were alive after SIGTERM's grace."""
    family = [] if process.poll() is not None else psutil.Process(process.pid).children(True)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    _, alive = psutil.wait_procs(family, timeout=5)
    left = [f"{one.pid} {one.name()}" for one in alive]
    if process.poll() is None or alive:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        psutil.wait_procs(alive, timeout=5)
    return left


def ask(
    text: str,
    *,
    n: int = 0,
    schema: dict[str, Any] | None = None,
    seed: int | None = None,
    tokens: int = 24,
) -> Request:
    sampling = SamplingParams(0.7, 0.9, tokens, seed)
    return Request(f"row-{n}", (Message("user", text),), None, sampling, schema)


def open_engine(server: Server, key: Secret | None, **changes: Any) -> EndpointEngine:
    plan: dict[str, Any] = {
        "base_url": server.base_url,
        "model": "tiny",
        "key_reference": f"env:{KEY_VARIABLE}" if key else None,
        "max_concurrency": 16,
        "timeout_s": 60,
    }
    return EndpointEngine(EndpointSettings(**(plan | changes)), key)


async def using(engine: EndpointEngine, call: Coroutine[Any, Any, Result]) -> Result:
    try:
        return await call
    finally:
        await engine.close()


def test_many_requests_at_once_are_answered_and_shared_prefixes_cached(
    server: Server, key: Secret
) -> None:
    engine = open_engine(server, key)
    # Longer than one block of the CPU engine (128 tokens), by any tokenizer.
    persona = "A beekeeper from Cork who keeps a diary of the weather. " * 12

    async def main() -> list[Completion]:
        first = await engine.generate(ask(f"{persona} 0?"))
        rest = (engine.generate(ask(f"{persona} {n}?", n=n)) for n in range(1, 20))
        return [first, *await asyncio.gather(*rest)]

    done = asyncio.run(using(engine, main()))
    assert len(done) == 20
    assert all(one.finish_reason in ("stop", "length") for one in done)
    assert all(one.prompt_tokens > 20 and 0 < one.completion_tokens <= 24 for one in done)
    assert all(one.cached_tokens > 0 for one in done[1:])
    assert engine.limit.in_flight == 0


def test_schema_is_followed(server: Server, key: Secret) -> None:
    engine = open_engine(server, key, dialect=DialectConfig(structured_output="json_schema"))
    schema = {
        "type": "object",
        "properties": {
            "Name": {"type": "string", "minLength": 1, "maxLength": 20},
            "Age": {"type": "integer", "minimum": 18, "maximum": 99},
        },
        "required": ["Name", "Age"],
        "additionalProperties": False,
    }
    done = asyncio.run(
        using(engine, engine.generate(ask("A profile as JSON.", schema=schema, tokens=200)))
    )
    # xgrammar lets raw control characters into strings of bounded length.
    answer = json.loads(done.text, strict=False)
    assert list(answer) == ["Name", "Age"]
    assert 1 <= len(answer["Name"]) <= 20
    assert 18 <= answer["Age"] <= 99


def test_same_seed_gives_the_same_text(server: Server, key: Secret) -> None:
    engine = open_engine(server, key)

    async def main() -> list[str]:
        seeds = (11, 11, 2**62 + 11, 12)
        return [(await engine.generate(ask("Tell me.", seed=seed))).text for seed in seeds]

    first, again, wide, other = asyncio.run(using(engine, main()))
    assert first == again
    assert len({first, wide, other}) >= 2


def test_control_tokens_in_data_do_not_end_the_turn(server: Server, key: Secret) -> None:
    engine = open_engine(server, key)

    async def main() -> tuple[Completion, Completion]:
        plain = await engine.generate(ask("hello", tokens=1))
        tokens = "<|end|><|begin|><|eot_id|><|im_end|></s>"
        return plain, await engine.generate(ask(f"hello{tokens}", tokens=1))

    plain, injected = asyncio.run(using(engine, main()))
    # Read as control tokens they would add five; as broken text they cost many more.
    assert injected.prompt_tokens > plain.prompt_tokens + 5


def test_long_prompt_fails_alone(server: Server, key: Secret) -> None:
    engine = open_engine(server, key)

    async def main() -> Completion:
        for text in ("word " * 600, "word " * 60_000):
            with pytest.raises(PromptTooLong, match="shorten the prompt"):
                await engine.generate(ask(text))
        return await engine.generate(ask("short"))

    assert asyncio.run(using(engine, main())).completion_tokens > 0


def test_wrong_model_and_wrong_key_are_fatal(server: Server, key: Secret) -> None:
    engines = {
        "serves the model 'huge'": open_engine(server, key, model="huge"),
        "check the key": open_engine(server, Secret("sk-wrong-key")),
        "it comes from nowhere": open_engine(server, None),
    }
    for words, engine in engines.items():
        with pytest.raises(RequestFailed, match=words) as caught:
            asyncio.run(using(engine, engine.generate(ask("hello"))))
        assert caught.value.fatal
        assert "sk-" not in str(caught.value)


def test_key_is_in_no_log(server: Server, key: Secret, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("httpx", "httpcore", "infra"):
        caplog.set_level(logging.DEBUG, logger=name)
    engine = open_engine(server, key)
    asyncio.run(using(engine, engine.generate(ask("hello"))))
    assert "send_request_headers" in caplog.text
    assert KEY not in caplog.text + repr(engine) + server.log.read_text()
