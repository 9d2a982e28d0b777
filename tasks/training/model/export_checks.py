"""Proves that an exported model is the one that was trained: its loss, and how its answers end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.engines.cpu_threads import choose_cpu_dtype, use_cores
from infra.models.folders import fetch_model
from infra.protocol import Completion, Engine, Request, SamplingParams
from infra.store.manifests import PartRef
from infra.store.storage import Storage
from tasks.training.model.export_errors import EndlessAnswers, MovedLoss
from tasks.training.ranks.adapters import hide_progress_bars
from tasks.training.rows.token_files import fetch_part

LOSS_TOLERANCE = 0.02
"""Largest relative difference between the last evaluation loss and that of the reload.

Casting fp32 weights to bf16 and computing in bf16 moved the loss of the demo's base model by
0.08 % (measured, 1,496 tokens, packed and not); weights of another step, or lost ones, move it by
far more.
"""
_SMALLEST_LOSS = 0.25
"""Below this a loss is compared as if it were this: rounding does not shrink with the loss."""
_IGNORED = -100


@dataclass(frozen=True, slots=True)
class LossFacts:
    """Token-weighted mean loss in nats, over how many trained tokens and rows."""

    loss: float
    tokens: int
    rows: int


@dataclass(frozen=True, slots=True)
class EndingFacts:
    """How probe answers ended: all of them, and those that ended by themselves."""

    asked: int
    ended: int
    answers: tuple[Completion, ...]

    @property
    def share(self) -> float:
        """Return the share that ended by itself, between 0 and 1."""
        return self.ended / self.asked if self.asked else 0.0


def measure_export(
    model: str, storage: Storage, validation: PartRef, *, on_progress: Callable[[int, int], None]
) -> LossFacts:
    """Reload an exported model on this machine and measure its loss; see :func:`measure_loss`.

    ``model`` is a folder or an address on S3, ``validation`` a file of encoded rows.
    """
    rows = fetch_part(storage, validation)
    return measure_loss(
        Path(fetch_model(model)), rows, on_row=lambda done: on_progress(done, validation.rows)
    )


def measure_loss(
    folder: Path,
    validation: Path,
    *,
    dtype: str | None = None,
    device: str | None = None,
    on_row: Callable[[int], None] = lambda done: None,
) -> LossFacts:
    """Reload an exported model and return its loss over a file of encoded rows.

    ``validation`` is an Arrow stream of ``input_ids``, ``labels`` and ``position_ids`` (see
    :mod:`tasks.training.rows.token_files`). Each row is one batch without an attention mask:
    documents are told apart by their positions. Every trained token counts the same.

    Args:
        folder: The export.
        validation: The file.
        dtype: torch name of the format to compute in; by default that of the export, where the
            CPU computes in it and does not emulate it.
        device: Where; the first GPU if there is one.
        on_row: Gets how many rows are done.
    """
    import torch
    from transformers import AutoModelForCausalLM

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if dtype is None:
        dtype = "auto" if chosen != "cpu" else choose_cpu_dtype()
    with hide_progress_bars():
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            attn_implementation="sdpa",
            trust_remote_code=False,
        )
    model.to(chosen).eval()
    if chosen == "cpu":
        use_cores(model.num_parameters())
    total, tokens, rows = 0.0, 0, 0
    with torch.inference_mode():
        for ids, labels, positions in _read_rows(validation):
            rows += 1
            loss, count = _sum_loss(model, ids, labels, positions, chosen)
            total, tokens = total + loss, tokens + count
            on_row(rows)
    return LossFacts(total / tokens if tokens else float("nan"), tokens, rows)


def check_loss(found: LossFacts, expected: float, tolerance: float = LOSS_TOLERANCE) -> None:
    """Raise :class:`MovedLoss` unless the reload's loss is the last evaluation's."""
    if not abs(found.loss - expected) <= tolerance * max(abs(expected), _SMALLEST_LOSS):
        raise MovedLoss(
            f"the exported model's loss over {found.tokens:,} held-out tokens is {found.loss:.4f}, "
            f"but training ended at {expected:.4f} (tolerance {tolerance:.0%}) → do not use this "
            "export; where few small steps were trained, bf16 lost them: "
            "training.export_dtype: float32 keeps them"
        )


async def measure_endings(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seed: int = 0,
    temperature: float = 0.0,
) -> EndingFacts:
    """Ask a served model probe prompts, given as token ids, all at once.

    The engine knows the stop token from the export itself, so an answer that ends by itself
    proves weights, generation config and template together.
    """
    requests = [
        Request(
            request_id=f"probe-{number}",
            messages=(),
            token_ids=tuple(ids),
            sampling=SamplingParams(temperature, 1.0, max_new_tokens, seed + number),
        )
        for number, ids in enumerate(prompts)
    ]
    answers = await asyncio.gather(*(engine.generate(request) for request in requests))
    ended = sum(answer.finish_reason == "stop" for answer in answers)
    return EndingFacts(len(answers), ended, tuple(answers))


def check_endings(found: EndingFacts, least: float = 0.5) -> None:
    """Raise :class:`EndlessAnswers` if too few answers ended by themselves."""
    if found.asked and found.share < least:
        raise EndlessAnswers(
            f"only {found.ended} of {found.asked} answers ended by themselves (at least {least:.0%}"
            " must) → train longer, allow longer ones or draw them as they will be asked for"
            " (training.samples: max_new_tokens, temperature), or check that the stop token carries"
            " loss"
        )


def _read_rows(path: Path) -> Iterator[tuple[list[int], list[int], list[int]]]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for batch in stream:
            columns = [batch.column(name) for name in ("input_ids", "labels", "position_ids")]
            for row in range(batch.num_rows):
                ids, labels, positions = (column[row].as_py() for column in columns)
                yield ids, labels, positions


def _sum_loss(
    model: Any, ids: list[int], labels: list[int], positions: list[int], device: str
) -> tuple[float, int]:
    import torch

    target = torch.tensor(labels[1:], device=device)
    trained = target != _IGNORED
    count = int(trained.sum())
    if not count:
        return 0.0, 0
    logits = model(
        input_ids=torch.tensor([ids], device=device),
        position_ids=torch.tensor([positions], device=device),
        use_cache=False,
    ).logits[0, :-1]
    # Cast after choosing: fp32 logits of a whole row of 4,096 tokens take 2 GB at 128,000 words.
    loss = torch.nn.functional.cross_entropy(
        logits[trained].float(), target[trained], reduction="sum"
    )
    return float(loss), count
