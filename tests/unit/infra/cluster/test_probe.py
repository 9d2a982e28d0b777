"""Proves when nodes are asked, what becomes of their answers, and that no marker is left."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.cluster import probe as probe_module
from infra.cluster import session as session_module
from infra.cluster.devices import NodeOffer
from infra.cluster.node_checks import Question
from infra.cluster.node_report import examine_node, withdraw
from infra.cluster.probe import check_nodes, probe_nodes
from infra.cluster.session import Cluster, RayConfig
from infra.errors import ConfigError, Problem
from infra.store.storage import Storage

NODE = "a" * 56
OFFER = NodeOffer(NODE, "far", 2, 0)


class InlineRay:
    """A cluster of one node that calls what it is given, or never answers.

    What the driver calls one path is another there, as ``moved`` says.
    """

    def __init__(
        self,
        moved: Mapping[Path, Path] | None = None,
        *,
        silent: bool = False,
        fault: Exception | None = None,
    ) -> None:
        self.moved = {str(path): str(there) for path, there in (moved or {}).items()}
        self.silent, self.fault = silent, fault
        self.cancelled = 0
        self.called: list[str] = []
        self.answers: dict[object, Any] = {}

    def remote(self, **_: Any) -> Callable[[Callable[..., Any]], Any]:
        """Return what makes a task of a function."""

        def make(function: Callable[..., Any]) -> Any:
            def fly(*given: Any) -> object:
                self.called.append(function.__name__)
                there = [self.moved.get(item, item) for item in given]
                flight = object()
                self.answers[flight] = None if self.silent else function(*there)
                return flight

            return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=fly))

        return make

    def wait(self, flights: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        """Return the first of those that have answered."""
        return ([], flights) if self.silent else (flights[:1], flights[1:])

    def get(self, flight: Any) -> Any:
        """Return the answer, or raise."""
        if self.fault is not None:
            raise self.fault
        return self.answers[flight]

    def cancel(self, *_: Any, **__: Any) -> None:
        """Count it."""
        self.cancelled += 1


@pytest.fixture
def question(tmp_path: Path) -> Question:
    return Question(Storage(str(tmp_path / "store")), {}, {})


def left_behind(*roots: Path) -> list[str]:
    return [path.name for root in roots for path in root.rglob("*")]


def test_a_node_that_shares_the_root_is_well_and_no_marker_stays(
    question: Question, tmp_path: Path
) -> None:
    noted: list[str] = []
    check_nodes(InlineRay(), [OFFER], question, noted.append)
    assert noted == [] and left_behind(tmp_path / "store") == []


def test_a_node_with_a_root_of_its_own_is_told(question: Question, tmp_path: Path) -> None:
    apart = InlineRay({tmp_path / "store": tmp_path / "apart"})
    with pytest.raises(ConfigError, match=r"storage\.root on far: .* the driver's own disk"):
        check_nodes(apart, [OFFER], question, print)
    assert left_behind(tmp_path / "store") == [] and not (tmp_path / "apart").exists()


def test_what_a_node_wrote_to_a_copy_is_withdrawn_there(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy shows what the driver wrote, as the lower layer of an overlay does."""
    copy, read = tmp_path / "copy", Storage.read_bytes

    def read_through(storage: Storage, path: str) -> bytes:
        below = question.storage if storage.root == str(copy) else storage
        return read(below, path)

    monkeypatch.setattr(Storage, "read_bytes", read_through)
    ray = InlineRay({tmp_path / "store": copy})
    with pytest.raises(ConfigError, match="is a copy there"):
        check_nodes(ray, [OFFER], question, print)
    assert ray.called == ["examine_node", "withdraw_answer"]
    assert left_behind(tmp_path / "store", copy) == []


def test_a_node_whose_answer_cannot_be_removed_is_told_and_removes_it_itself(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where its rows would lie in folders of another user's, beside which no manifest goes."""

    def refuse(storage: Storage, path: str) -> None:
        raise PermissionError(f"no right to {path.rpartition('/')[2]}")

    ray = InlineRay()
    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="no right to answer"):
        patch.setattr(probe_module, "withdraw", refuse)
        check_nodes(ray, [OFFER], question, print)
    assert ray.called == ["examine_node", "withdraw_answer"]
    assert [name for name in left_behind(tmp_path / "store") if "answer" in name] == []


def test_what_nodes_wrote_is_looked_for_side_by_side(
    question: Question, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2)

    def meet(storage: Storage, path: str) -> None:
        if path.endswith("answer"):
            both.wait(10)
        withdraw(storage, path)

    monkeypatch.setattr(probe_module, "withdraw", meet)
    offers = [NodeOffer(letter * 56, letter, 2, 0) for letter in "ab"]
    answers = probe_nodes(InlineRay(), offers, question)
    assert [(answer.offer, answer.seen) for answer in answers] == [(one, True) for one in offers]
    assert left_behind(tmp_path / "store") == []


def test_a_node_that_says_nothing_is_named(question: Question, tmp_path: Path) -> None:
    ray = InlineRay(silent=True)
    with pytest.raises(ConfigError, match="Ray on far: did not answer within 0 s"):
        check_nodes(ray, [OFFER], question, print, timeout_s=0.1)
    assert ray.cancelled == 1 and left_behind(tmp_path / "store") == []


def test_a_node_that_cannot_answer_is_named_with_the_reason(question: Question) -> None:
    from ray.exceptions import RayError

    fault = RayError(
        "The function failed to import.\n\nModuleNotFoundError: No module named 'infra'\n"
    )
    (answer,) = probe_nodes(InlineRay(fault=fault), [OFFER], question)
    assert answer.report is None
    assert answer.failure == "could not look around: ModuleNotFoundError: No module named 'infra'"


def test_clocks_that_differ_a_little_are_noted(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([1000.0, 1001.0])  # sent, received
    clock = SimpleNamespace(time=lambda: next(moments), monotonic=lambda: 0.0)
    monkeypatch.setattr(probe_module, "time", clock)
    monkeypatch.setattr(
        probe_module, "examine_node", lambda *given: replace(examine_node(*given), time=1031.0)
    )
    noted: list[str] = []
    check_nodes(InlineRay(), [OFFER], question, noted.append)
    assert noted == ["the clock of far is 30 s ahead of the driver's"]


def test_a_node_with_nothing_to_compute_on_is_left_alone(question: Question) -> None:
    ray = InlineRay(silent=True)
    check_nodes(ray, [NodeOffer(NODE, "head", 0, 0)], question, print, timeout_s=0.1)
    assert ray.called == []


def list_nodes(count: int) -> list[dict[str, Any]]:
    return [
        {
            "NodeID": f"n{i}",
            "Alive": True,
            "NodeManagerHostname": f"h{i}",
            "Resources": {"CPU": 1.0},
        }
        for i in range(count)
    ]


@pytest.mark.parametrize(
    ("address", "running", "nodes", "asked"),
    [
        (None, False, 1, 0),  # started by the run: this machine's alone
        (None, True, 1, 0),  # was there already, on this machine alone
        (None, True, 2, 1),
        ("10.0.0.1:6379", False, 1, 1),
        ("10.0.0.1:6379", False, 3, 1),
    ],
)
def test_nodes_are_asked_once_a_session_where_there_are_others_than_our_own(
    question: Question,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    running: bool,
    nodes: int,
    asked: int,
) -> None:
    calls: list[int] = []
    listed: list[int] = []

    def list_once() -> list[dict[str, Any]]:
        listed.append(nodes)
        return list_nodes(nodes)

    def check(_: object, offers: Sequence[NodeOffer], **__: object) -> None:
        calls.append(len(offers))

    fake = SimpleNamespace(
        is_initialized=lambda: running,
        nodes=list_once,
        init=lambda **_: None,
        shutdown=lambda: None,
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(session_module, "check_nodes", check)
    monkeypatch.setattr(session_module, "start_local_ray", lambda *_, **__: None)
    monkeypatch.setattr(session_module, "knock_at", lambda _: None)
    cluster = Cluster(RayConfig(address=address))
    cluster.probe_at_start(question, print)
    assert calls == []
    cluster.ensure()
    cluster.ensure()
    assert calls == [nodes] * asked
    assert len(listed) == (running or address is not None)  # a Ray of our own costs not even that


def test_nodes_that_come_later_are_asked_before_they_make_a_row(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, asked = [1], list[list[str]]()

    def check(_: object, offers: Sequence[NodeOffer], **__: object) -> None:
        asked.append([offer.node for offer in offers])
        if len(asked) == 3:
            raise ConfigError(Problem("storage.root on h3", "is not shared", "share it"))

    fake = SimpleNamespace(
        is_initialized=lambda: False, nodes=lambda: list_nodes(there[0]), init=lambda **_: None
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(session_module, "check_nodes", check)
    monkeypatch.setattr(session_module, "knock_at", lambda _: None)
    cluster = Cluster(RayConfig(address="10.0.0.1:6379"))
    cluster.probe_at_start(question, print)
    cluster.probe_newcomers()
    there[0] = 3
    cluster.probe_newcomers()
    cluster.probe_newcomers()
    assert asked == [["n0"], ["n1", "n2"]]
    there[0] = 4
    with pytest.raises(ConfigError, match="h3"):
        cluster.probe_newcomers()


def test_a_cluster_that_was_refused_stays_refused_and_is_left(
    question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    fake = SimpleNamespace(
        is_initialized=lambda: False,
        nodes=lambda: list_nodes(2),
        init=lambda **_: None,
        shutdown=lambda: left.append("shut down"),
    )

    def refuse(*_: object, **__: object) -> None:
        raise ConfigError(Problem("storage.root on h1", "is not shared", "share it"))

    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(session_module, "check_nodes", refuse)
    monkeypatch.setattr(session_module, "knock_at", lambda _: None)
    cluster = Cluster(RayConfig(address="10.0.0.1:6379"))
    cluster.probe_at_start(question, print)
    for _ in range(2):
        with pytest.raises(ConfigError, match="on h1: is not shared"):
            cluster.ensure()
    assert left == ["shut down"] and not cluster.started
