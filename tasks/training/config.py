"""Declares the knobs of training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from infra.knobs import Knobs, execution, group, identity, selection


class LoraConfig(Knobs):
    """Knobs of the low-rank adapters that stand in for full fine-tuning; merged at export."""

    rank: int = identity(16, ge=1, description="Rank of the adapters")
    alpha: float = identity(32.0, gt=0, description="Scale of the adapters: alpha / rank")
    dropout: float = identity(0.0, ge=0, lt=1, description="Dropout before the adapters")
    targets: tuple[str, ...] = identity(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="Names of the linear layers that get adapters",
    )
    train_stop_token: bool = identity(
        True,
        description="Also train the embedding of the end-of-turn token: a base model has never"
        " seen it, and adapters alone do not teach it",
    )


class SampleConfig(Knobs):
    """Knobs of what is sampled from the model while it trains, for people to look at."""

    every_steps: int = execution(0, ge=0, description="Steps between samples; 0: only at the end")
    characters: int = execution(4, ge=0, description="Held-out characters that are asked")
    max_new_tokens: int = execution(96, ge=1, description="Longest sample in tokens")
    temperature: float = execution(
        0.0,
        ge=0,
        le=2,
        description="Temperature of the samples and of the answers that the export is checked by;"
        " greedily, small models go round in circles",
    )


class TrainingConfig(Knobs):
    """Knobs of how the student is fine-tuned; the defaults are the paper's where it names them."""

    model: str = execution("base", min_length=1, description="Role of the model to fine-tune")
    template: str = identity(
        "auto",
        min_length=1,
        description="Training template: llama3, chatml, gemma, mistral, own (the model's own chat"
        " template), or auto to take what fits the model's special tokens",
    )
    max_length: int = identity(4096, ge=16, description="Longest example and packed row in tokens")
    packing: bool = identity(True, description="Pack examples into rows with document boundaries")
    seed: int = identity(0, ge=0, description="Seed of order, packing and initialisation")
    control: Literal["none", "shuffled_profiles"] = identity(
        "none",
        description="Spoil the training rows on purpose: shuffled_profiles gives every character"
        " another's system prompt, to measure what the profile is worth",
    )

    epochs: float = identity(2.0, gt=0, description="Passes over the training rows")
    global_batch: int = identity(
        64, ge=1, description="Rows (packed sequences) an optimiser step learns from, all ranks"
    )
    learning_rate: float = identity(1e-5, gt=0, description="Learning rate after warm-up")
    final_learning_rate: float = identity(1e-6, ge=0, description="Learning rate at the last step")
    warmup_share: float = identity(0.0, ge=0, lt=1, description="Share of the steps that warm up")
    adam_betas: tuple[float, float] = identity((0.9, 0.95), description="Adam's decay rates")
    adam_epsilon: float = identity(1e-8, gt=0, description="Adam's epsilon")
    weight_decay: float = identity(0.0, ge=0, description="Decoupled weight decay")
    max_grad_norm: float = identity(1.0, gt=0, description="Gradient clipping by global norm")
    precision: Literal["bf16", "fp32"] = identity(
        "bf16", description="Compute precision; master weights are fp32 in every shipped config"
    )
    lora: LoraConfig | None = group(None, description="Train adapters instead of all weights")

    deepspeed: str = execution(
        "deepspeed/zero3.json", description="DeepSpeed configuration; changes where states lie"
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flex_attention"] = execution(
        "auto", description="Attention kernel; auto: variable-length on GPUs, sdpa on CPUs"
    )
    gradient_checkpointing: bool = execution(
        False, description="Recompute activations to save memory"
    )
    kept_layers: int = execution(
        0,
        ge=0,
        description="First layers that keep their activations under gradient_checkpointing: each"
        " saves its own forward pass and costs its activations",
    )
    workers: Annotated[int, Field(ge=1)] | Literal["auto"] = execution(
        "auto",
        description="Ranks, one GPU (or a share of the CPUs) each; auto: as many as there are"
        " GPUs, or two on CPUs, as far as global_batch can be split evenly",
    )
    free_gpu_memory: float = execution(
        0.5,
        ge=0,
        le=1,
        description="Share of a GPU's memory that must be free before a rank starts; waited for",
    )
    micro_batch: int | None = execution(
        None,
        ge=1,
        description="Rows a rank handles at once; None: the largest that divides evenly"
        " and holds at most micro_batch_tokens",
    )
    micro_batch_tokens: int = execution(
        16384, ge=16, description="Most tokens a rank handles at once when micro_batch is None"
    )
    checkpoint_every_minutes: float = execution(
        5.0,
        gt=0,
        description="Minutes between checkpoints; more where writing one would take over 3 % of"
        " the time",
    )
    checkpoint_every_steps: int | None = execution(
        None, ge=1, description="Steps between checkpoints, instead of minutes"
    )
    keep_checkpoints: int = execution(2, ge=1, description="Checkpoints kept at the storage root")
    eval_every_steps: int = execution(
        0, ge=0, description="Steps between evaluations; 0: before, and after every epoch"
    )
    max_failures: int = execution(2, ge=0, description="Times a lost rank may restart the job")
    trackers: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = execution(
        (), description="Experiment trackers beside the metrics file"
    )
    samples: SampleConfig = group(SampleConfig, description="Samples during training")

    min_yield: float = execution(
        0.5, ge=0, le=1, description="Least share of examples that fit max_length, or the run stops"
    )
    export_dtype: Literal["bfloat16", "float32"] = identity(
        "bfloat16", description="Number format of the exported weights"
    )
    gguf: Literal["none", "f16", "q8_0"] = identity(
        "none",
        later=True,
        description="Also write the trained model as one GGUF file for llama.cpp, beside the"
        " safetensors: f16, or q8_0 at half its size; Llama, Mistral and Qwen2 architectures",
    )
    licence: str = execution("", description="Licence of the exported model for its card")
    card: str = execution(
        "templates/model_card.md.j2", min_length=1, description="Template of the model card"
    )
    max_examples: int | None = selection(
        None, ge=1, description="Most training examples, chosen by smallest hash; None: all"
    )

    @model_validator(mode="after")
    def _falls(self) -> TrainingConfig:
        if self.final_learning_rate > self.learning_rate:
            raise ValueError("final_learning_rate must not be above learning_rate")
        return self
