"""Builds tiny models, token files and jobs for trainings that take a second."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from infra.store.manifests import PartRef, refer_to_file
from infra.store.storage import FileStat, Storage, digest_input
from tasks.training.config import TrainingConfig
from tasks.training.ranks.deepspeed_config import load_deepspeed_config
from tasks.training.ranks.job import TrainJob
from tasks.training.rows.token_files import TokenDocument, TokenFileWriter

Weights = dict[str, npt.NDArray[np.float32]]

VOCABULARY, HIDDEN, INNER, LAYERS = 64, 32, 64, 2
PAD, STOP = 1, 2
_FIRST = 3
"""Of the tokens that count on; those below have a meaning of their own."""


def write_model(folder: Path, *, tied: bool = False) -> None:
    """Write an untrained Llama, without torch: its numbers are the same in bf16 and fp32."""
    random = np.random.RandomState(0)
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}"
        shapes |= {
            f"{prefix}.self_attn.q_proj.weight": (HIDDEN, HIDDEN),
            f"{prefix}.self_attn.k_proj.weight": (HIDDEN // 2, HIDDEN),
            f"{prefix}.self_attn.v_proj.weight": (HIDDEN // 2, HIDDEN),
            f"{prefix}.self_attn.o_proj.weight": (HIDDEN, HIDDEN),
            f"{prefix}.mlp.gate_proj.weight": (INNER, HIDDEN),
            f"{prefix}.mlp.up_proj.weight": (INNER, HIDDEN),
            f"{prefix}.mlp.down_proj.weight": (HIDDEN, INNER),
            f"{prefix}.input_layernorm.weight": (HIDDEN,),
            f"{prefix}.post_attention_layernorm.weight": (HIDDEN,),
        }
    shapes["model.norm.weight"] = (HIDDEN,)
    if not tied:
        shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    weights = {
        name: np.ones(shape, np.float32) if len(shape) == 1 else _draw(random, shape)
        for name, shape in shapes.items()
    }
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32",
        "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": HIDDEN // 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": tied, "bos_token_id": 0, "eos_token_id": STOP, "pad_token_id": PAD,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words = {f"t{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps(kind), encoding="utf-8")


def _draw(random: Any, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    drawn = (random.standard_normal(shape) * 0.02).astype(np.float32)
    rounded: npt.NDArray[np.float32] = (drawn.view(np.uint32) & 0xFFFF0000).view(np.float32)
    return rounded


def make_document(random: Any, most: int) -> TokenDocument:
    """Return a prompt and an answer that counts on from its last token, then stops."""
    prompt = random.randint(_FIRST, VOCABULARY, random.randint(2, most // 2))
    steps = 1 + np.arange(random.randint(2, most // 2))
    answer = (prompt[-1] - _FIRST + steps) % (VOCABULARY - _FIRST) + _FIRST
    ids = np.concatenate([prompt, answer, [STOP]]).astype(np.int32)
    labels = ids.copy()
    labels[: len(prompt)] = -100
    return TokenDocument(ids, labels)


def write_rows(storage: Storage, name: str, rows: int, length: int, seed: int) -> PartRef:
    """Write packed rows of two or three documents each, of different lengths."""
    random = np.random.RandomState(seed)
    with TemporaryDirectory() as folder:
        local = Path(folder, name)
        with TokenFileWriter(local) as writer:
            for _ in range(rows):
                many = random.randint(2, 4)
                writer.write([make_document(random, length // 3) for _ in range(many)])
        storage.upload(name, local)
        digest = digest_input(FileStat(str(local), local.stat().st_size, ""))
    return refer_to_file(storage, name, digest, rows, "file")


def make_job(
    root: Path | str,
    name: str,
    *,
    rows: int = 40,
    tied: bool = False,
    models: Path | None = None,
    **knobs: Any,
) -> TrainJob:
    """Describe a job of ten steps in two epochs on a tiny model; knobs are those of training.

    ``models`` is where base models lie, if not at the storage root.
    """
    storage = Storage(str(root))
    base = Path(models or root) / ("tied" if tied else "base")
    if not base.exists():
        write_model(base, tied=tied)
    defaults: dict[str, Any] = {
        "max_length": 48, "global_batch": 8, "micro_batch": 2, "epochs": 2, "precision": "fp32",
        "learning_rate": 1e-3, "final_learning_rate": 1e-4, "checkpoint_every_steps": 1000,
        "deepspeed": "deepspeed/zero2.json", "export_dtype": "float32", "workers": 2,
    }  # fmt: skip
    config = TrainingConfig(**{**defaults, **knobs})
    return TrainJob(
        fingerprint=name,
        base=str(base),
        revision=None,
        base_identity="tied" if tied else "plain",
        storage_root=str(root),
        folder="training/recipe",
        train=write_rows(storage, f"train-{rows}.arrow", rows, 48, seed=1),
        validation=write_rows(storage, "validation.arrow", 5, 48, seed=2),
        pad_id=PAD,
        stop_id=STOP,
        config=config,
        deepspeed=load_deepspeed_config(config.deepspeed),
    )


def read_final(job: TrainJob) -> Weights:
    """Read the weights that a job left."""
    weights: Weights = load_file(Path(job.storage_root, job.final, "model.safetensors"))
    return weights


def read_base(job: TrainJob) -> Weights:
    """Read the weights that a job began with."""
    weights: Weights = load_file(Path(job.base, "model.safetensors"))
    return weights


def measure_distance(one: Weights, other: Weights) -> float:
    """Return the Euclidean distance of two sets of weights."""
    assert one.keys() == other.keys()
    squares = (np.square(one[name].astype(np.float64) - other[name]).sum() for name in one)
    return float(np.sqrt(sum(squares)))
