"""Compares rows that come by character with the same rows in no order, by the stage runner.

A hundred characters of 150 words answer fifteen questions each; the KV cache has room for a part of
them only, as on GPUs, where 20,000 characters find none. Both orders take turns on one engine with
characters of their own each time, so that nothing is cached before. The weights are random, so that
nearly every answer has its full length.

    make bench ONLY=prefix
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import polars as pl

from infra.cluster.session import RayConfig
from infra.context import Quiet, RunContext
from infra.engines.config import ModelConfig
from infra.generation.runner_config import RunnerConfig
from infra.nodes.row_stages import make_rows
from infra.paths import require_path
from infra.rendering.prompts import PromptTemplate
from infra.store.fingerprints import content_key
from infra.store.manifests import NodeSpec, open_store, read_manifest
from infra.store.storage import Storage
from tests.benchmarks.echo import EchoMaker, EchoSampling
from tests.benchmarks.hardware import save_record
from tests.benchmarks.scale_store import Texts

_HERE = "tests.benchmarks.prefix"
_BY_CHARACTER, _IN_NO_ORDER = "by character", "in no order"
_WANTED = {48: 1.3}
_WANTED_CACHED = 0.8
_PROFILE_SENTENCES = 11


@dataclass(frozen=True, slots=True)
class Cast:
    """How many characters answer how many questions."""

    characters: int
    questions: int


class Sides:
    """The two orders on one engine."""

    def __init__(self, context: RunContext, cast: Cast) -> None:
        self._context, self._cast = context, cast
        self._texts = Texts()
        self._stages = 0
        path = require_path("prompts/generate.j2", "bench")
        self._maker = EchoMaker(PromptTemplate.load(path))

    def measure(self, order: str, new_tokens: int) -> dict[str, float]:
        """Make a stage in an order; the figures are from its first request to its last row."""
        self._stages += 1
        node = NodeSpec.build(f"bench_{self._stages}", 1, identity={}, selection={})
        sampling = cast(Any, EchoSampling(max_new_tokens=new_tokens))
        made = make_rows(
            self._context,
            node,
            model="m",
            maker=self._maker,
            planned=self._plan(order),
            sampling=sampling,
        )
        usage = read_manifest(self._context.storage, made.manifest).usage
        rows = made.accepted + made.rejected
        return {
            "rows_per_s": round(rows / usage.seconds, 2),
            "cached": round(usage.cached_tokens / usage.prompt_tokens, 4),
            "prompt_tokens_per_row": round(usage.prompt_tokens / rows, 1),
            "new_tokens_per_row": round(usage.completion_tokens / rows, 1),
        }

    def _plan(self, order: str) -> pl.DataFrame:
        count, questions = self._cast.characters, self._cast.questions
        people = pl.DataFrame(
            {
                "persona": self._texts.personas(count),
                "profile": self._texts.write(count, _PROFILE_SENTENCES),
            }
        ).with_columns(character=pl.Series(self._texts.keys(count)))
        asked = pl.DataFrame({"query": self._texts.write(questions, 1)})
        rows = people.join(asked, how="cross")
        told = rows.select("profile", "query").iter_rows()
        key = pl.Series([content_key("prefix", *texts) for texts in told])
        grouped = order == _BY_CHARACTER
        return rows.with_columns(
            key=key, parents_digest=key, group=pl.col("character") if grouped else key
        ).select("key", "parents_digest", "group", "persona", "profile", "query")


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser(prog=f"python -m {_HERE}", description=__doc__)
    parser.add_argument("--model", default="configs/demo/teacher", help="whose shape is taken")
    parser.add_argument("--characters", type=int, default=100)
    parser.add_argument("--questions", type=int, default=15)
    parser.add_argument("--new-tokens", type=int, nargs="+", default=[48], help="of an answer")
    parser.add_argument("--pairs", type=int, default=2, help="stages of each order")
    parser.add_argument("--kv-tokens", type=int, default=24_000, help="room in the KV cache")
    parser.add_argument("--kv-block", type=int, default=32, help="tokens that are cached at once")
    parser.add_argument("--sequences", type=int, default=32, help="answers that grow at once")
    parser.add_argument("--save", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    began = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as root, _open_context(arguments, root) as context:
        open_store(context.storage)
        Sides(context, Cast(4, 4)).measure(_IN_NO_ORDER, 8)
        sides = Sides(context, Cast(arguments.characters, arguments.questions))
        found = {
            str(length): _compare(sides, length, arguments.pairs) for length in arguments.new_tokens
        }
    if arguments.save:
        kept = {"new_tokens": found}
        save_record(arguments.save, _HERE, began, kept)


def _open_context(arguments: argparse.Namespace, root: str) -> RunContext:
    block = arguments.kv_block
    engine_args: dict[str, str | int | float | bool] = {
        "load_format": "dummy",
        "block_size": block,
        "num_gpu_blocks_override": arguments.kv_tokens // block,
    }
    model = ModelConfig(
        model=str(Path(arguments.model).resolve()),
        max_num_seqs=arguments.sequences,
        max_model_len=1024,
        engine_args=engine_args,
    )
    return RunContext(Storage(root), {"m": model}, RayConfig(), RunnerConfig(), Quiet())


def _compare(sides: Sides, new_tokens: int, pairs: int) -> dict[str, Any]:
    found: list[dict[str, dict[str, float]]] = []
    for number in range(pairs):
        orders = [_BY_CHARACTER, _IN_NO_ORDER]
        pair = {
            order: sides.measure(order, new_tokens)
            for order in (orders if number % 2 else orders[::-1])
        }
        found.append(pair)
        print(f"{new_tokens} new tokens, pair {number + 1}: {pair}", flush=True)
    ratios = [
        pair[_BY_CHARACTER]["rows_per_s"] / pair[_IN_NO_ORDER]["rows_per_s"] for pair in found
    ]
    ratio = statistics.median(ratios)
    cached = statistics.median(pair[_BY_CHARACTER]["cached"] for pair in found)
    wanted = f"{_WANTED[new_tokens]:g}" if new_tokens in _WANTED else "nothing"
    print(
        f"{new_tokens} new tokens: median ratio {ratio:.3f} (wanted: {wanted}),"
        f" {cached:.0%} of the prompt tokens cached (wanted: {_WANTED_CACHED:.0%})",
        flush=True,
    )
    return {
        "pairs": found,
        "ratios": [round(value, 4) for value in ratios],
        "median": round(ratio, 4),
        "cached": cached,
    }


if __name__ == "__main__":
    main()
