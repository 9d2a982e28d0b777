"""Asks every node of a joined cluster, in seconds, whether it can take part, before it has to.

One small task a node, all at once; it holds no CPU, so it waits behind nobody. Both ways are tried
at the storage root: the driver leaves a marker in a folder that each node must see and write to,
and looks for what each node wrote back, which it must be able to remove.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from infra.cluster.devices import NodeOffer, bind_to
from infra.cluster.node_checks import NodeAnswer, Question, judge_nodes, note_clocks
from infra.cluster.node_report import examine_node, withdraw, withdraw_answer
from infra.errors import ConfigError, StorageError
from infra.store.storage import Storage

_TIMEOUT_S = 60.0
_WITHDRAWAL_S = 10.0
_FILES_AT_ONCE = 16
"""On S3 a request is mostly waiting, and a node takes four."""


def check_nodes(
    ray: Any,
    offers: Sequence[NodeOffer],
    question: Question,
    note: Callable[[str], None],
    timeout_s: float = _TIMEOUT_S,
) -> None:
    """Raise :class:`ConfigError` with all that is wrong with any node; ``note`` hears the rest.

    A node that offers neither CPUs nor GPUs gets nothing of the run to do, and is left alone.
    """
    working = [offer for offer in offers if offer.cpus or offer.gpus]
    answers = probe_nodes(ray, working, question, timeout_s)
    own = examine_node(tuple(question.models.values()))
    problems = judge_nodes(question, own, answers)
    if problems:
        raise ConfigError(*problems)
    for text in note_clocks(answers):
        note(text)


def probe_nodes(
    ray: Any, offers: Sequence[NodeOffer], question: Question, timeout_s: float = _TIMEOUT_S
) -> list[NodeAnswer]:
    """Have each node look around, and return what each said, or that it said nothing in time."""
    storage, models = question.storage, tuple(question.models.values())
    folder = f".probe-{uuid.uuid4().hex}"
    marker = f"{folder}/driver"
    names = {offer.node: f"{folder}/{offer.node}/answer" for offer in offers}
    storage.write_bytes(marker, marker.encode())
    try:
        task = ray.remote(max_retries=0, num_cpus=0)(examine_node)
        sent = time.time()
        flights = {
            offer.node: task.options(**bind_to(offer.node)).remote(
                models, storage.root, marker, names[offer.node]
            )
            for offer in offers
        }
        said = _gather(ray, offers, flights, sent, timeout_s)
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            found = [names[answer.offer.node] for answer in said]
            answers = list(pool.map(partial(_look_for, storage), found, said))
        stays = {a.offer.node: names[a.offer.node] for a in answers if _answered(a) and not a.seen}
        _withdraw(ray, storage, stays)
        return answers
    finally:
        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            list(pool.map(partial(_clear, storage), names.values()))
        _clear(storage, marker)


def _clear(storage: Storage, path: str) -> None:
    with suppress(OSError, StorageError):  # what stays is small, and in nobody's way
        withdraw(storage, path)


def _gather(
    ray: Any,
    offers: Sequence[NodeOffer],
    flights: Mapping[str, Any],
    sent: float,
    timeout_s: float,
) -> list[NodeAnswer]:
    """Return an answer a node; the time of each is taken when it comes, for the clocks' sake."""
    from ray.exceptions import RayError

    deadline = time.monotonic() + timeout_s
    pending = {flights[offer.node]: offer for offer in offers}
    answers = []
    while pending:
        left_s = max(0.0, deadline - time.monotonic())
        done, _ = ray.wait(list(pending), num_returns=1, timeout=left_s)
        if not done:
            break
        offer, received = pending.pop(done[0]), time.time()
        try:
            answers.append(NodeAnswer(offer, sent, received, ray.get(done[0])))
        except RayError as error:
            failure = f"could not look around: {_last_line(error)}"
            answers.append(NodeAnswer(offer, sent, received, failure=failure))
    for flight, offer in pending.items():
        ray.cancel(flight, force=True)
        failure = f"did not answer within {timeout_s:.0f} s"
        answers.append(NodeAnswer(offer, sent, time.time(), failure=failure))
    return answers


def _look_for(storage: Storage, name: str, answer: NodeAnswer) -> NodeAnswer:
    """Say whether the driver sees what a node wrote, and may do with it as it has to with parts."""
    try:
        if storage.read_bytes(name) != name.encode():
            return answer
        withdraw(storage, name)
    except FileNotFoundError:
        return answer
    except (OSError, StorageError) as error:
        return replace(answer, fault=f"{type(error).__name__}: {error}")
    return replace(answer, seen=True)


def _answered(answer: NodeAnswer) -> bool:
    store = answer.report.store if answer.report is not None else None
    return store is not None and store.answered


def _withdraw(ray: Any, storage: Storage, lost: Mapping[str, str]) -> None:
    """Have nodes remove what only they can of what they wrote, as far as they can."""
    task = ray.remote(max_retries=0, num_cpus=0)(withdraw_answer)
    flights = [
        task.options(**bind_to(node)).remote(storage.root, answer) for node, answer in lost.items()
    ]
    if flights:
        ray.wait(flights, num_returns=len(flights), timeout=_WITHDRAWAL_S)


def _last_line(error: Exception) -> str:
    """Return what a remote traceback comes to."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
