"""Configures one model: what it is, which engine answers for it, and how that engine runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from infra.engines.batch.config import BatchConfig
from infra.engines.endpoint.dialect import DialectConfig
from infra.knobs import Knobs, execution, group, identity, selection

_RENDERED = frozenset({"messages", "conversation", "tools", "documents", "add_generation_prompt"})


class ModelConfig(Knobs):
    """Description of a model and its engine.

    What a model *is* enters recipe keys as :func:`infra.engines.identity.identify_model`: a
    content digest, a hub commit, or an endpoint's model name. Where it lies and how it is run
    does not.
    """

    engine: Literal["vllm", "endpoint", "scripted"] = execution(
        "vllm",
        description="vllm here or on the Ray cluster, an OpenAI-compatible endpoint, or a"
        " scripted engine for orchestration tests",
    )
    model: str = execution(
        description="A model folder, here or on S3, a Hugging Face name, or the model name an"
        " endpoint knows"
    )
    revision: str | None = execution(
        None, description="Hub commit, tag or branch; for an endpoint, a version you assign"
    )
    dtype: str = identity("auto", description="Weights and activations: auto, bfloat16, float32…")
    chat_template: str | None = execution(
        None,
        description="Jinja file that stands in for the tokenizer's chat template, for base models"
        " that have none; its content counts",
    )
    template_values: dict[str, Any] = identity(
        {},
        later=True,
        description="Further values for the chat template, as enable_thinking: false",
    )
    thinking: Literal["strip", "off", "keep"] = identity(
        "strip",
        later=True,
        description="Thoughts of a reasoning model: strip parts them from its answers, off also"
        " sets the switches that its chat template knows, keep leaves them in the text",
    )
    reasoning_effort: str | None = identity(
        None,
        later=True,
        description="How much to think: a field for endpoints, a value for chat templates",
    )
    max_thought_tokens: int = identity(
        0, ge=0, later=True, description="Tokens for thoughts, beside each stage's max_new_tokens"
    )
    quantization: str | None = identity(None, description="vLLM quantisation method, if any")
    max_model_len: int | None = selection(
        None, ge=64, description="Context in tokens; None takes the model's own"
    )
    replicas: int = execution(1, ge=1, description="How many engines run side by side")
    tensor_parallel: int = execution(1, ge=1, description="GPUs one engine spans")
    max_num_seqs: int | None = execution(
        None,
        ge=1,
        description="Sequences an engine batches at once; None: 1,024 on GPUs of 80 GB and more,"
        " else 256",
    )
    max_num_batched_tokens: int | None = execution(
        None,
        ge=64,
        description="Tokens an engine handles in one step; None: 16,384 on GPUs of 80 GB and"
        " more, else 8,192",
    )
    gpu_memory_utilization: float = execution(
        0.9, gt=0, le=1, description="Share of a GPU's memory an engine may take"
    )
    cpu_kv_cache_gib: float = execution(
        1.0, gt=0, description="KV cache in GiB when the engine runs on CPUs"
    )
    enforce_eager: bool | None = execution(
        None, description="Skip graph capture and compilation; None means only on CPUs"
    )
    seed_rows: bool | None = execution(
        None, description="Seed every request; None means on CPUs only, as seeds slow GPU sampling"
    )
    engine_args: dict[str, str | int | float | bool] = execution(
        {}, description="Further vLLM engine arguments, passed on as they are"
    )
    base_url: str | None = execution(None, description="Endpoint address, ending in /v1")
    api_key: str | None = execution(
        None, description="Where the key is: env:NAME or prefect:secret-block; never the key itself"
    )
    timeout_s: float = execution(300.0, gt=0, description="Time one request may take, in seconds")
    stall_timeout_s: float = execution(
        600.0,
        gt=0,
        description="Longest that an engine or worker which has rows to make may give no sign of"
        " it, not one token, in seconds; then it is killed and started again",
    )
    max_concurrency: int = execution(64, ge=1, description="Most requests open at an endpoint")
    max_retries: int = execution(6, ge=0, description="Retries of one request at an endpoint")
    patience_s: float = execution(
        30.0,
        ge=0,
        description="How long an endpoint that never answered may fail before the run ends",
    )
    dialect: DialectConfig = group(
        DialectConfig(), description="Ways in which an endpoint's API differs from OpenAI's"
    )
    batch: BatchConfig | None = group(
        None,
        description="Rows are asked through the endpoint's vendor batch API, at half the price and"
        " within a day; {} takes the defaults",
    )
    script: dict[str, str | int | float | bool] = execution(
        {}, description="What a scripted engine does: latency, faults, responder"
    )

    def run_export(self, folder: str) -> ModelConfig:
        """Return the configuration of a model trained from this one: it has the same shape."""
        own = {"model": folder, "revision": None, "chat_template": None}
        return self.model_copy(update=own)

    def list_template_values(self) -> dict[str, Any]:
        """Return the values that the chat template gets, the effort among them."""
        effort = {"reasoning_effort": self.reasoning_effort} if self.reasoning_effort else {}
        return {**effort, **self.template_values}

    @model_validator(mode="after")
    def _template_values_are_not_the_prompt(self) -> ModelConfig:
        if taken := _RENDERED & set(self.template_values):
            raise ValueError(f"template_values: {', '.join(sorted(taken))} come from the run")
        return self

    @model_validator(mode="after")
    def _endpoint_needs_an_address(self) -> ModelConfig:
        if self.engine == "endpoint" and not self.base_url:
            raise ValueError("an endpoint needs base_url, for example http://127.0.0.1:8000/v1")
        if self.batch is not None and (self.engine != "endpoint" or self.replicas > 1):
            raise ValueError("batch is for endpoints, and for one replica: the vendor spreads it")
        if self.api_key is not None and not self.api_key.startswith(("env:", "prefect:")):
            raise ValueError("api_key names where the key is (env:NAME or prefect:block)")
        return self
