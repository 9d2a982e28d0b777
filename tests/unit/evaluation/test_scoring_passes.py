"""Proves that neither batches nor shared beginnings change the score of an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.evaluation.measures.likelihood import AnswerIds, load_model
from tasks.evaluation.measures.scoring_passes import LikelihoodFailed, plan_batches, score_texts
from tests.unit.training.exports import build_base as build_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(str(build_model(tmp_path_factory.mktemp("model") / "tiny")))


def make_texts(*shapes: tuple[int, int]) -> list[AnswerIds]:
    """Make texts of so many tokens, of which so many are the answer."""
    return [
        AnswerIds(
            tuple((7 * place + 31 * number) % 2000 + 10 for place in range(tokens)), tokens - answer
        )
        for number, (tokens, answer) in enumerate(shapes)
    ]


SHAPES = ((40, 10), (12, 11), (33, 1), (40, 25), (7, 3), (21, 10))


def test_batches_hold_every_text_once_and_keep_to_the_limit() -> None:
    texts = make_texts(*SHAPES)
    batches = [batch.places for batch in plan_batches(texts, 80)]
    assert sorted(place for batch in batches for place in batch) == list(range(len(texts)))
    sizes = [[len(texts[place].ids) for place in batch] for batch in batches]
    assert all(max(batch) * len(batch) <= 80 for batch in sizes)
    assert sizes == [[40, 40], [33, 21], [12, 7]]


def test_a_text_longer_than_the_limit_goes_alone() -> None:
    batches = list(plan_batches(make_texts((5, 1), (90, 1), (6, 1)), 20))
    assert [batch.places for batch in batches] == [(1,), (2, 0)]


def score_plainly(model: Any, text: AnswerIds) -> float:
    """Sum the log-softmax of all positions of one text, as the textbook has it."""
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([text.ids])).logits[0].double()
    told = torch.log_softmax(logits, dim=-1)
    return float(
        sum(told[place - 1, text.ids[place]] for place in range(text.start, len(text.ids)))
    )


@pytest.mark.torch
@pytest.mark.parametrize("batch_tokens", [1, 80, None])
def test_scores_are_sums_of_log_probabilities_whatever_the_batches(
    model: Any, batch_tokens: int | None
) -> None:
    texts = make_texts(*SHAPES)
    found = score_texts(model, texts, batch_tokens=batch_tokens)
    assert found == pytest.approx([score_plainly(model, text) for text in texts], abs=1e-4)
    assert all(score < 0 for score in found)


@pytest.mark.torch
def test_a_model_that_cannot_leave_logits_out_scores_the_same(model: Any) -> None:
    class Whole:
        """Stands for a model whose forward pass takes ids only."""

        device = model.device

        def forward(self, input_ids: Any, use_cache: bool) -> Any:
            return model(input_ids=input_ids, use_cache=use_cache)

        __call__ = forward

    texts = make_texts(*SHAPES)
    assert score_texts(Whole(), texts) == pytest.approx(score_texts(model, texts), abs=1e-4)


@pytest.mark.torch
def test_progress_is_told_to_the_end(model: Any) -> None:
    told: list[tuple[int, int]] = []
    score_texts(
        model,
        make_texts(*SHAPES),
        batch_tokens=80,
        on_progress=lambda done, of: told.append((done, of)),
    )
    assert told == [(2, 6), (4, 6), (6, 6)]


@pytest.mark.torch
def test_nothing_to_score_is_no_fault(model: Any) -> None:
    assert score_texts(model, []) == []


@pytest.mark.torch
def test_broken_weights_stop_the_measurement(tmp_path: Path) -> None:
    broken = load_model(str(build_model(tmp_path / "tiny")))
    broken.lm_head.weight.data[5] = float("nan")
    with pytest.raises(LikelihoodFailed, match="no finite likelihood"):
        score_texts(broken, make_texts((9, 2)))


def make_dialogues(opening: int, characters: int, answers: int) -> list[AnswerIds]:
    """Make texts that all open alike; after it each character's own 60 tokens, then an answer."""
    first = [token % 500 + 10 for token in range(opening)]
    texts = []
    for number in range(characters):
        profile = [(13 * number + 3 * place) % 900 + 600 for place in range(60)]
        for answer in range(answers):
            said = [(number + 7 * answer + place) % 400 + 1600 for place in range(5 + answer)]
            texts.append(AnswerIds((*first, *profile, 9, *said), opening + 61))
    return texts


@pytest.mark.parametrize("opening", [4, 50])
def test_texts_of_one_character_share_their_beginning(opening: int) -> None:
    texts = make_dialogues(opening, characters=3, answers=4)
    batches = list(plan_batches(texts, 1000))
    assert {batch.shared for batch in batches} == {opening + 60}
    found = [{texts[place].ids[opening] for place in batch.places} for batch in batches]
    assert all(len(profiles) == 1 for profiles in found)
    assert sorted(place for batch in batches for place in batch.places) == list(range(12))


def test_what_is_shared_never_reaches_the_place_that_tells_the_answer() -> None:
    one = tuple(range(10, 110))
    batches = list(plan_batches([AnswerIds(one, 90), AnswerIds(one, 70)], 1000))
    assert [batch.shared for batch in batches] == [69]


@pytest.mark.torch
@pytest.mark.parametrize("batch_tokens", [1, 300, None])
def test_shared_beginnings_change_no_score(model: Any, batch_tokens: int | None) -> None:
    texts = [*make_dialogues(50, characters=3, answers=4), *make_texts(*SHAPES)]
    found = score_texts(model, texts, batch_tokens=batch_tokens)
    assert found == pytest.approx([score_plainly(model, text) for text in texts], abs=1e-4)


@pytest.mark.torch
def test_a_shared_beginning_is_read_once(model: Any) -> None:
    read: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, given: read.append(given["input_ids"].numel()), with_kwargs=True
    )
    texts = make_dialogues(50, characters=2, answers=4)
    score_texts(model, texts)
    hook.remove()
    probe, *passes = read
    # Two beginnings of 110 tokens, then four endings of at most nine more, each.
    assert (probe, sum(passes)) == (2, 2 * (110 + 4 * 9))
