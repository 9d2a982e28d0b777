"""Proves that encoding accounts for every example and depends on no order of theirs."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from infra.errors import YieldError
from infra.store.schema import to_table
from tasks.records import Example
from tasks.training.config import TrainingConfig
from tasks.training.rows.preparation import Encoded, encode_examples
from tasks.training.rows.token_files import open_rows

from .tokenizers import build_family, make_example

LENGTH = 200
DEFAULTS: dict[str, Any] = {"max_length": LENGTH, "min_yield": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_family(tmp_path_factory.mktemp("models") / "llama3", "llama3"))


def make_examples() -> list[Example]:
    """40 for training and 8 for validation that fit, and three that do not."""
    drawn = random.Random(0)
    fitting = [
        make_example(
            "Hi" * drawn.randint(1, 20),
            "Hello " * drawn.randint(1, 9),
            key=f"k{number:02}",
            split="validation" if number >= 40 else "train",
        )
        for number in range(48)
    ]
    return [
        *fitting,
        make_example("Hi", "Hello", context_turns=2, key="given"),
        make_example("Hi", " ", key="blank"),
        make_example("Hi", "Hello " * 99, key="long"),
    ]


def encode(
    model: str, folder: Path, examples: pl.DataFrame | list[Example], **knobs: Any
) -> Encoded:
    config = TrainingConfig(**{**DEFAULTS, **knobs})
    return encode_examples(examples, config, model=model, folder=folder)


def read_documents(path: Path) -> list[tuple[int, ...]]:
    """Return the documents of a file, cut where positions begin anew."""
    found: list[tuple[int, ...]] = []
    for row in open_rows(path):
        ids, places = row["input_ids"].tolist(), row["position_ids"].tolist()
        starts = [place for place, position in enumerate(places) if position == 0]
        ends = [*starts[1:], len(ids)]
        found.extend(tuple(ids[start:end]) for start, end in zip(starts, ends, strict=True))
    return found


def test_every_example_is_accepted_or_rejected(model: str, tmp_path: Path) -> None:
    encoded = encode(model, tmp_path, make_examples())
    assert encoded.accepted == 48
    assert {row.key: row.reason for row in encoded.rejections} == {
        "given": "no_trained_tokens", "blank": "empty", "long": "too_long",
    }  # fmt: skip
    assert encoded.reasons == {"no_trained_tokens": 1, "empty": 1, "too_long": 1}
    assert [row.key for row in encoded.rejections] == ["blank", "given", "long"]


def test_the_files_hold_the_splits_and_the_facts_count_them(model: str, tmp_path: Path) -> None:
    encoded = encode(model, tmp_path, make_examples())
    assert encoded.train.path == tmp_path / "train.arrow"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.arrow", "validation.arrow"]
    for split, examples in (("train", 40), ("validation", 8)):
        path = tmp_path / f"{split}.arrow"
        facts = encoded.facts()[split]
        rows = open_rows(path)
        tokens = sum(len(row["input_ids"]) for row in rows)
        assert len(read_documents(path)) == facts["examples"] == examples
        assert (len(rows), tokens) == (facts["rows"], facts["tokens"])
        assert facts["rows"] < examples  # several share a row
        assert facts["padding_share"] == pytest.approx(1 - tokens / (LENGTH * len(rows)), abs=1e-6)
        trained = sum(int((row["labels"] != -100).sum()) for row in rows)
        assert facts["trained_tokens"] == trained
    assert encoded.facts()["template"] == "llama3"


def test_packing_changes_rows_and_no_document(model: str, tmp_path: Path) -> None:
    packed = encode(model, tmp_path / "packed", make_examples())
    single = encode(model, tmp_path / "single", make_examples(), packing=False)
    assert single.train.counts.rows == 40
    assert sorted(read_documents(packed.train.path)) == sorted(read_documents(single.train.path))


def test_no_order_of_examples_and_no_form_shows_in_the_files(model: str, tmp_path: Path) -> None:
    examples = make_examples()
    first = encode(model, tmp_path / "a", examples)
    shuffled = random.Random(1).sample(examples, len(examples))
    frame = pl.from_arrow(to_table(Example, shuffled))
    assert isinstance(frame, pl.DataFrame)
    second = encode(model, tmp_path / "b", frame)
    for name in ("train.arrow", "validation.arrow"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert first.rejections == second.rejections
    other = encode(model, tmp_path / "c", examples, seed=1)
    assert other.train.path.read_bytes() != first.train.path.read_bytes()


@pytest.mark.parametrize("as_frame", [True, False])
def test_more_training_examples_only_add(model: str, tmp_path: Path, as_frame: bool) -> None:
    examples: Any = [item for item in make_examples() if item.key.startswith("k")]
    if as_frame:
        examples = pl.from_arrow(to_table(Example, examples))
    few, more = (
        encode(model, tmp_path / str(most), examples, max_examples=most) for most in (5, 15)
    )
    assert [few.train.counts.documents, more.train.counts.documents] == [5, 15]
    assert few.validation.counts.documents == more.validation.counts.documents == 8
    assert set(read_documents(few.train.path)) < set(read_documents(more.train.path))
    other = encode(model, tmp_path / "other", examples, max_examples=5, seed=1)
    assert set(read_documents(other.train.path)) != set(read_documents(few.train.path))


def test_no_row_short_enough_says_which_length_would_do(model: str, tmp_path: Path) -> None:
    examples = [make_example("Hi", "Hello " * count, key=f"k{count}") for count in range(9, 19)]
    with pytest.raises(YieldError, match=r"training\.max_length=16: the shortest has") as caught:
        encode(model, tmp_path, examples, max_length=16)
    told = re.search(r"at least (\d+); at (\d+) nine of ten fit", str(caught.value))
    assert told is not None
    least, most = map(int, told.groups())
    assert encode(model, tmp_path, examples, max_length=least).train.counts.documents == 1
    assert encode(model, tmp_path, examples, max_length=most).train.counts.documents == 9
    with pytest.raises(YieldError):
        encode(model, tmp_path, examples, max_length=least - 1)


def test_too_few_that_fit_stop_the_run(model: str, tmp_path: Path) -> None:
    examples = [make_example("Hi", "Hello " * (1 + 9 * n), key=f"k{n}") for n in range(10)]
    with pytest.raises(YieldError, match=r"below its min_yield of 90%.*max_length=200"):
        encode(model, tmp_path, examples, min_yield=0.9)
    assert not (tmp_path / "train.arrow").exists()


def test_only_validation_examples_are_nothing_to_train_on(model: str, tmp_path: Path) -> None:
    with pytest.raises(YieldError, match="no training example is left of 1 examples"):
        encode(model, tmp_path, [make_example("Hi", "Hello", split="validation")])
    with pytest.raises(YieldError, match="there are no examples"):
        encode(model, tmp_path, [])


def test_no_validation_examples_make_an_empty_file(model: str, tmp_path: Path) -> None:
    encoded = encode(model, tmp_path, [make_example("Hi", "Hello")])
    assert len(open_rows(encoded.validation.path)) == 0
