"""Proves that the reload's loss is the trained model's, and that endings are counted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from infra.protocol import Completion, Request
from tasks.training.model.export_checks import (
    EndingFacts,
    LossFacts,
    check_endings,
    check_loss,
    measure_endings,
    measure_loss,
)
from tasks.training.model.export_errors import EndlessAnswers, MovedLoss

from .exports import BASE, encode_questions, read_weights, write_rows, write_weights


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.arrow", encode_questions(12))


def join(one: tuple[list[int], ...], other: tuple[list[int], ...]) -> tuple[list[int], ...]:
    return tuple(left + right for left, right in zip(one, other, strict=True))


@pytest.mark.torch
def test_the_loss_is_that_of_transformers_own_head_weighted_by_tokens(rows: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(BASE), dtype=torch.float32).eval()
    total, tokens = 0.0, 0
    for ids, labels, _ in encode_questions(12):
        with torch.inference_mode():
            found = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]))
        count = sum(label != -100 for label in labels[1:])
        total, tokens = total + float(found.loss) * count, tokens + count
    facts = measure_loss(BASE, rows, dtype="float32", device="cpu")
    assert (facts.tokens, facts.rows) == (tokens, 12)
    assert facts.loss == pytest.approx(total / tokens, rel=1e-5)


@pytest.mark.torch
def test_packed_documents_do_not_see_each_other(rows: Path, tmp_path: Path) -> None:
    apart = encode_questions(12)
    packed = [join(apart[n], apart[n + 1]) for n in range(0, 12, 2)]
    file = write_rows(tmp_path / "packed.arrow", packed)  # type: ignore[arg-type]
    one, other = (measure_loss(BASE, path, dtype="float32", device="cpu") for path in (rows, file))
    assert one.tokens == other.tokens
    assert one.loss == pytest.approx(other.loss, rel=1e-5)
    assert measure_loss(BASE, file, device="cpu").loss == pytest.approx(one.loss, rel=5e-3)


@pytest.mark.torch
def test_weights_of_another_step_are_noticed(rows: Path, tmp_path: Path) -> None:
    tensors = read_weights(BASE)
    tensors["model.norm.weight"] *= 1.2
    moved = write_weights(tmp_path / "moved", tensors)
    (moved / "config.json").write_text((BASE / "config.json").read_text())
    expected = measure_loss(BASE, rows, dtype="float32", device="cpu").loss
    check_loss(measure_loss(BASE, rows, device="cpu"), expected)
    with pytest.raises(MovedLoss, match="held-out tokens"):
        check_loss(measure_loss(moved, rows, device="cpu"), expected)


def test_a_loss_that_is_no_number_never_passes() -> None:
    with pytest.raises(MovedLoss):
        check_loss(LossFacts(float("nan"), 0, 0), 1.0)
    with pytest.raises(MovedLoss):
        check_loss(LossFacts(1.0, 10, 1), float("nan"))


class Ending:
    """Answers with the given reasons in turn."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons
        self.seen: list[Request] = []

    async def generate(self, request: Request) -> Completion:
        self.seen.append(request)
        return Completion("x", self.reasons[len(self.seen) - 1], 3, 1)

    async def close(self) -> None: ...


def test_only_answers_that_end_by_themselves_count() -> None:
    engine = Ending("stop", "length", "abort", "stop")
    prompts = [[1, 2, n] for n in range(4)]
    found = asyncio.run(measure_endings(engine, prompts, max_new_tokens=8, temperature=0.7))
    assert {request.sampling.temperature for request in engine.seen} == {0.7}
    assert (found.asked, found.ended, found.share) == (4, 2, 0.5)
    assert [request.token_ids for request in engine.seen] == [(1, 2, n) for n in range(4)]
    check_endings(found, 0.5)
    with pytest.raises(EndlessAnswers, match="only 2 of 4"):
        check_endings(found, 0.6)
    assert EndingFacts(0, 0, ()).share == 0.0
