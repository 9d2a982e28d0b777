"""Proves that each thing a node may lack is told, with the node's name, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from infra.cluster.devices import NodeOffer
from infra.cluster.node_checks import (
    NodeAnswer,
    Question,
    is_loopback,
    judge_nodes,
    name_nodes,
    note_clocks,
)
from infra.cluster.node_report import NodeReport, StoreVisit
from infra.errors import Problem
from infra.store.storage import Storage

TEACHER = "/models/teacher"
QUESTION = Question(
    Storage("/data/store"),
    {"teacher": TEACHER},
    {"judge": "http://127.0.0.1:8000/v1", "writer": "https://api.vendor.example/v1"},
)
OWN = NodeReport(
    loopback="here",
    time=1000.0,
    versions={"Python": "3.11.9", "ray": "2.60.0", "torch": "2.13.0"},
    build="cpu",
    code={"flows": "f", "tasks": "t", "infra": "i"},
    models={TEACHER: "digest"},
    scratch="/tmp",
    scratch_free=2**33,
)
SOUND = replace(OWN, time=1001.0, store=StoreVisit(True))


def answer(
    report: NodeReport | None = SOUND,
    *,
    host: str = "far",
    cpus: float = 8,
    gpus: float = 0,
    **more: Any,
) -> NodeAnswer:
    offer = NodeOffer(f"id-of-{host}", host, cpus, gpus)
    given = {"sent": 1000.0, "received": 1002.0, "report": report, "seen": True, **more}
    return NodeAnswer(offer, **given)


def judge(*answers: NodeAnswer, question: Question = QUESTION) -> list[Problem]:
    problems = judge_nodes(question, OWN, answers)
    assert all(problem.todo for problem in problems)
    return problems


def test_a_node_like_the_drivers_is_left_alone() -> None:
    assert judge(answer(), answer(host="near")) == []
    assert note_clocks([answer()]) == []


def test_a_root_on_the_drivers_own_disk_is_told_with_the_node() -> None:
    (problem,) = judge(answer(), answer(replace(SOUND, store=StoreVisit(False)), host="apart"))
    assert problem.where == "storage.root on apart"
    assert "/data/store lies on the driver's own disk" in problem.what
    assert "s3:// or a shared mount" in problem.todo


def test_a_root_of_which_the_node_has_a_copy_is_told() -> None:
    (problem,) = judge(answer(seen=False))
    assert problem.where == "storage.root on far"
    assert "the driver does not see what is written" in problem.what


def test_a_root_that_cannot_be_written_there_is_told_with_the_reason() -> None:
    (problem,) = judge(answer(replace(SOUND, store=StoreVisit(False, "OSError: read-only"))))
    assert "OSError: read-only" in problem.what and "mount it" in problem.todo


def test_a_root_where_each_is_another_user_is_told() -> None:
    (theirs,) = judge(answer(replace(SOUND, store=StoreVisit(False, "PermissionError: no"))))
    (ours,) = judge(answer(seen=False, fault="PermissionError: no"))
    for problem in (theirs, ours):
        assert problem.where == "storage.root on far" and "PermissionError: no" in problem.what
        assert "the driver's user" in problem.todo
    assert "cannot be used there" in theirs.what and "cannot be changed here" in ours.what


def test_an_endpoint_of_the_store_that_only_the_driver_reaches_is_told() -> None:
    address = "http://127.0.0.1:9000"
    remote = replace(QUESTION, storage=Storage("s3://bucket/store"), store_endpoint=address)
    refused = replace(SOUND, store=StoreVisit(False, "EndpointConnectionError"))
    apart = replace(refused, loopback="there")
    (problem,) = judge(answer(apart), question=replace(remote, endpoints={}))
    assert address in problem.what and "another machine" in problem.what
    # One network, or a gateway of the node's own at that address: then it is something else.
    (problem,) = judge(answer(refused), question=remote)
    assert "EndpointConnectionError" in problem.what and address in problem.todo
    served = replace(SOUND, loopback="there")
    assert judge(answer(served), question=replace(remote, endpoints={})) == []


@pytest.mark.parametrize("visit", [StoreVisit(False), StoreVisit(False, "no credentials")])
def test_a_bucket_that_is_another_or_closed_there_is_told(visit: StoreVisit) -> None:
    remote = replace(QUESTION, storage=Storage("s3://bucket/store"))
    (problem,) = judge(answer(replace(SOUND, store=visit)), question=remote)
    assert problem.where == "storage.root on far"
    assert visit.fault in problem.what
    assert ("keys that open it" if visit.fault else "AWS_") in problem.todo


@pytest.mark.parametrize(
    ("there", "told"),
    [({}, "is not there"), ({TEACHER: ""}, "is not there"), ({TEACHER: "o"}, "another model")],
)
def test_a_model_that_is_missing_or_another_is_told(there: dict[str, str], told: str) -> None:
    (problem,) = judge(answer(replace(SOUND, models=there)))
    assert problem.where == "models.teacher.model on far"
    assert TEACHER in problem.what and told in problem.what


def test_only_nodes_that_may_hold_an_engine_need_the_model() -> None:
    bare, cuda = replace(SOUND, models={}), replace(SOUND, build="cuda")
    assert judge(answer(bare, cpus=0)) == []
    # Where engines are on GPUs, a head without one needs no model; of a build for CPUs none counts.
    assert judge(answer(cuda, gpus=8), answer(bare, host="head")) == []
    assert len(judge(answer(gpus=8), answer(bare, host="head"))) == 1
    assert len(judge(answer(cuda, gpus=8), answer(bare, host="other", gpus=8))) == 1


def test_another_or_a_missing_version_is_told() -> None:
    versions = {"Python": "3.11.9", "ray": "2.59.0"}
    found = {
        problem.where: problem.what for problem in judge(answer(replace(SOUND, versions=versions)))
    }
    assert found == {
        "ray on far": "2.59.0 there, 2.60.0 here",
        "torch on far": "missing there, 2.13.0 here",
    }
    assert judge(answer(replace(SOUND, versions={**OWN.versions, "vllm": "0.32.0"}))) == []


def test_other_code_is_told_by_its_rooms() -> None:
    (problem,) = judge(answer(replace(SOUND, code={"flows": "f", "tasks": "old"})))
    assert problem.where == "this project's code (tasks, infra) on far"


@pytest.mark.parametrize(
    ("time", "told", "noted"),
    [
        (1001.0, None, None),
        (1006.9, None, None),
        (1010.0, None, "8 s ahead of"),
        (990.0, None, "10 s behind"),
        (1062.0, None, "60 s ahead of"),
        (1063.0, "61 s ahead of", None),
        (939.0, "61 s behind", None),
    ],
)
def test_clocks_are_noted_when_they_differ_and_told_beyond_a_minute(
    time: float, told: str | None, noted: str | None
) -> None:
    given = answer(replace(SOUND, time=time))
    assert [problem.what for problem in judge(given)] == (
        [f"is {told} the driver's"] if told else []
    )
    assert note_clocks([given]) == ([f"the clock of far is {noted} the driver's"] if noted else [])


def test_how_long_a_node_took_is_no_fault_of_its_clock() -> None:
    assert judge(answer(replace(SOUND, time=1050.0), received=1051.0)) == []
    assert note_clocks([answer(replace(SOUND, time=1050.0), received=1051.0)]) == []


@pytest.mark.parametrize(("free", "fits"), [(2**30, True), (2**30 - 1, False)])
def test_a_full_scratch_disk_is_told(free: int, fits: bool) -> None:
    found = [problem.where for problem in judge(answer(replace(SOUND, scratch_free=free)))]
    assert found == ([] if fits else ["the scratch disk /tmp on far"])


def test_an_endpoint_of_the_drivers_own_machine_is_told_where_workers_run_elsewhere() -> None:
    away = replace(SOUND, loopback="elsewhere")
    (problem,) = judge(answer(), answer(away, host="away"))
    assert problem.where == "models.judge.base_url on away"
    assert "http://127.0.0.1:8000/v1" in problem.what
    assert judge(answer(away, cpus=0, gpus=1)) == []  # nobody asks from there


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1:8000", True),
        ("127.8.0.1", True),
        ("localhost:80", True),
        ("LOCALHOST", True),
        ("model.localhost", True),
        ("[::1]:8000", True),
        ("0.0.0.0:8000", True),
        ("10.0.0.1:8000", False),
        ("localhost.vendor.example", False),
    ],
)
def test_which_addresses_mean_the_machine_that_asks(host: str, own: bool) -> None:
    assert is_loopback(f"http://{host}/v1") is own


def test_who_said_nothing_is_told_and_judged_no_further() -> None:
    (problem,) = judge(answer(None, failure="did not answer within 60 s", seen=False))
    assert problem.where == "Ray on far" and problem.what == "did not answer within 60 s"


def test_all_problems_of_all_nodes_are_told_at_once_and_each_once() -> None:
    full = replace(SOUND, scratch_free=0)
    apart = replace(full, store=StoreVisit(False))
    problems = judge(answer(full, host="a"), answer(apart, host="b"), answer(None, host="c"))
    assert [problem.where for problem in problems] == [
        "the scratch disk /tmp on a, b",
        "storage.root on b",
        "Ray on c",
    ]


def test_a_problem_of_many_nodes_names_some() -> None:
    full = replace(SOUND, scratch_free=0)
    (problem,) = judge(*(answer(full, host=f"n{i}") for i in range(20)))
    assert problem.where.endswith("on n0, n1, n2, n3, n4, n5, n6, n7 and 12 more")


def test_nodes_of_one_host_are_told_apart() -> None:
    hosts = {"a" * 20: "box", "b" * 20: "box", "c" * 20: "other"}
    names = name_nodes([NodeOffer(node, host, 1, 0) for node, host in hosts.items()])
    assert list(names.values()) == ["box (aaaaaaaa)", "box (bbbbbbbb)", "other"]
