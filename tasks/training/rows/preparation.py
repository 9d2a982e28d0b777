"""Prepares the training data: examples in, two files of packed token rows out.

Memory is bounded by the examples' text: token ids go to a file as they are made, batch by batch,
and are read back row by row through a memory map when it is known which go together. What comes
out depends on the examples, the tokenizer and the knobs, and on no order of rows.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import polars as pl

from infra.errors import YieldError
from infra.rendering.encoder import load_tokenizer
from infra.store.fingerprints import hash_parts
from infra.store.schema import from_plain
from tasks.records import Example, Rejection, Split
from tasks.training.config import TrainingConfig
from tasks.training.rows.encoding import EncodedExample, ExampleEncoder, Unfit
from tasks.training.rows.packing import Document, pack_documents
from tasks.training.rows.templates import ChatFormat, choose_format
from tasks.training.rows.token_files import (
    IGNORED,
    TokenCounts,
    TokenDocument,
    TokenFile,
    TokenFileWriter,
)

_BATCH_EXAMPLES = 1000


@dataclass(frozen=True, slots=True)
class EncodedSplit:
    """One finished file: where it lies, what it holds, and how much of it is padding.

    ``padding_share`` is the share of ``rows × max_length`` that no token fills.
    """

    path: Path
    counts: TokenCounts
    padding_share: float

    def facts(self) -> dict[str, Any]:
        """Return the counts as plain data for the manifest."""
        return {
            "examples": self.counts.documents,
            "rows": self.counts.rows,
            "tokens": self.counts.tokens,
            "trained_tokens": self.counts.trained_tokens,
            "longest_row": self.counts.longest_row,
            "padding_share": round(self.padding_share, 6),
        }


@dataclass(frozen=True, slots=True)
class Encoded:
    """What encoding made of a set of examples; ``train`` is never empty."""

    chat_format: ChatFormat
    train: EncodedSplit
    validation: EncodedSplit
    rejections: tuple[Rejection, ...]

    @property
    def accepted(self) -> int:
        """Return how many examples lie in the two files."""
        return self.train.counts.documents + self.validation.counts.documents

    @property
    def reasons(self) -> dict[str, int]:
        """Return how many examples were left out for each reason, commonest first."""
        return dict(Counter(row.reason for row in self.rejections).most_common())

    def facts(self) -> dict[str, Any]:
        """Return template and counts as plain data for the manifest."""
        return {
            "template": self.chat_format.name,
            "train": self.train.facts(),
            "validation": self.validation.facts(),
        }


def encode_examples(
    examples: pl.DataFrame | Iterable[Example],
    config: TrainingConfig,
    *,
    model: str,
    revision: str | None = None,
    folder: Path,
) -> Encoded:
    """Encode and pack examples into ``train.arrow`` and ``validation.arrow`` below ``folder``.

    ``examples`` is a frame with the columns of :class:`~tasks.records.Example`, or examples.
    ``config.max_examples`` keeps the training examples with the smallest hash(seed, key).
    Raises :class:`ConfigError` when the model's tokenizer does not fit the template, and
    :class:`YieldError` when no training example is left, or fewer than ``config.min_yield``.
    """
    tokenizer = load_tokenizer(model, revision)
    chat_format = choose_format(tokenizer, config.template)
    encoder = ExampleEncoder(tokenizer, chat_format, max_length=config.max_length)
    unfit: list[Unfit] = []
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".unpacked-") as spool_folder:
        spools = {split: _Spool(Path(spool_folder) / f"{split}.arrow") for split in get_args(Split)}
        with ExitStack() as opened:
            for spool in spools.values():
                opened.enter_context(spool.writer)
            for batch in _in_batches(_choose(examples, config)):
                for example, verdict in zip(batch, encoder.encode(batch), strict=True):
                    if isinstance(verdict, Unfit):
                        unfit.append(verdict)
                    else:
                        spools[example.split].add(verdict)
        _check_yield(config, spools, unfit)
        train, validation = (
            _pack(spools[split], folder / f"{split}.arrow", config) for split in get_args(Split)
        )
    rejections = sorted((item.rejection for item in unfit), key=lambda row: row.key)
    return Encoded(chat_format, train, validation, tuple(rejections))


class _Spool:
    """Examples of one split, one a row, in the order in which they came."""

    def __init__(self, path: Path) -> None:
        self.writer = TokenFileWriter(path)
        self.documents: list[Document] = []
        self.path = path

    def add(self, example: EncodedExample) -> None:
        labels = np.where(example.trained, example.input_ids, np.int32(IGNORED))
        self.writer.write([TokenDocument(example.input_ids, labels)])
        self.documents.append(Document(example.key, len(example.input_ids), len(self.documents)))


def _pack(spool: _Spool, path: Path, config: TrainingConfig) -> EncodedSplit:
    packed = pack_documents(
        spool.documents, max_length=config.max_length, seed=config.seed, packing=config.packing
    )
    unpacked = TokenFile(spool.path)
    with TokenFileWriter(path) as writer:
        for row in packed.rows:
            writer.write([unpacked.read(document.place) for document in row])
    return EncodedSplit(path, writer.counts, packed.padding_share)


def _choose(
    examples: pl.DataFrame | Iterable[Example], config: TrainingConfig
) -> Iterator[Example]:
    """Give all validation examples, and the ``max_examples`` training ones that rank first."""
    most = config.max_examples
    if isinstance(examples, pl.DataFrame):
        if most is not None:
            keys = examples.filter(pl.col("split") == "train").get_column("key").to_list()
            kept = choose_keys(keys, most, config.seed)
            examples = examples.filter((pl.col("split") != "train") | pl.col("key").is_in(kept))
        # Side by side, a character's examples share one tokenising of their system prompt.
        ordered = examples.sort("character_key", "key")
        yield from (from_plain(Example, row) for row in ordered.iter_rows(named=True))
        return
    if most is not None:
        examples = list(examples)
        keys = [example.key for example in examples if example.split == "train"]
        chosen = set(choose_keys(keys, most, config.seed))
        examples = [item for item in examples if item.split != "train" or item.key in chosen]
    yield from examples


def choose_keys(keys: Iterable[str], most: int, seed: int) -> list[str]:
    """Return the keys with the smallest hash(seed, key); a larger ``most`` only adds to them."""
    return heapq.nsmallest(most, keys, key=lambda key: (hash_parts("train", str(seed), key), key))


def _in_batches(examples: Iterator[Example]) -> Iterator[list[Example]]:
    batch: list[Example] = []
    for example in examples:
        batch.append(example)
        if len(batch) == _BATCH_EXAMPLES:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_yield(
    config: TrainingConfig, spools: Mapping[Split, _Spool], unfit: list[Unfit]
) -> None:
    """Raise :class:`YieldError` with what would help, if too few examples can be trained on."""
    fit = sum(len(spool.documents) for spool in spools.values())
    planned = fit + len(unfit)
    if spools["train"].documents and fit >= config.min_yield * planned:
        return
    if not planned:
        raise YieldError("encoding: there are no examples. Look at what curation left.")
    reasons = Counter(item.reason for item in unfit)
    told = ", ".join(f"{count} × {reason}" for reason, count in reasons.most_common())
    lengths = sorted(
        [item.tokens for item in unfit if item.reason == "too_long"]
        + [document.tokens for spool in spools.values() for document in spool.documents]
    )
    if not fit and reasons["too_long"]:
        shortest, longest = lengths[0], lengths[-1]
        raise YieldError(
            f"encoding: no example fits training.max_length={config.max_length}: the shortest has "
            f"{shortest} tokens, the longest {longest} ({told}). Set training.max_length to at "
            f"least {shortest}; at {_cover(lengths)} nine of ten fit."
        )
    if not spools["train"].documents:
        raise YieldError(
            f"encoding: no training example is left of {planned} examples (rejected: {told or 0};"
            f" for validation: {fit}). Look at curation's split and at the rejected rows."
        )
    hint = (
        f"Raise training.max_length={config.max_length}: at {_cover(lengths)} nine of ten fit"
        if reasons.most_common(1)[0][0] == "too_long"
        else "Look at the rejected rows"
    )
    raise YieldError(
        f"encoding: {fit} of {planned} examples ({fit / planned:.0%}) can be trained on, below "
        f"its min_yield of {config.min_yield:.0%}. Rejected: {told}. {hint}, or lower "
        "training.min_yield."
    )


def _cover(lengths: list[int]) -> int:
    """Return the length that nine of ten examples do not exceed."""
    return lengths[-(-len(lengths) * 9 // 10) - 1]
