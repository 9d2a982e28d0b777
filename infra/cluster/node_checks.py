"""Judges what the nodes of a cluster said: whether each of them can take part in the run.

Where it cannot, every row made there would fail, or be written where nobody finds it, hours later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import urlsplit

from infra.cluster.devices import NodeOffer
from infra.cluster.node_report import NodeReport
from infra.errors import Problem
from infra.store.storage import Storage, is_remote

_MOST_SKEW_S = 60.0
_NOTED_SKEW_S = 5.0
_LEAST_SCRATCH = 2**30
_NAMED = 8
_AS_ONE_USER = (
    "run Ray there as the driver's user, or have either write what the other made (umask 002 in one"
    " group)"
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a run needs of the nodes: its store, and by role the models' paths and endpoints.

    ``store_endpoint`` is where S3 is asked for, if it is not the vendor's own.
    """

    storage: Storage
    models: Mapping[str, str]
    endpoints: Mapping[str, str]
    store_endpoint: str = ""


@dataclass(frozen=True, slots=True)
class NodeAnswer:
    """What came of asking a node: a report, or why there is none.

    ``sent`` and ``received`` are the driver's clock, in seconds since the epoch; ``seen`` tells
    whether the driver saw at the storage root what the node wrote there, and could remove it;
    ``fault`` says what was in the way.
    """

    offer: NodeOffer
    sent: float
    received: float
    report: NodeReport | None = None
    failure: str = ""
    seen: bool = False
    fault: str = ""

    @property
    def skew_s(self) -> float:
        """Return by how many seconds at least its clock is ahead (negative: behind)."""
        if self.report is None:
            return 0.0
        return max(0.0, self.report.time - self.received) or min(0.0, self.report.time - self.sent)


def judge_nodes(
    question: Question, own: NodeReport, answers: Sequence[NodeAnswer]
) -> list[Problem]:
    """Return what is wrong with which nodes, as against the driver's ``own`` report.

    What is the same on many nodes is one problem that names them all.
    """
    names = name_nodes([answer.offer for answer in answers])
    gpus = any(
        answer.offer.gpus and answer.report is not None and answer.report.build != "cpu"
        for answer in answers
    )
    told: dict[Problem, list[str]] = {}
    for answer in answers:
        for problem in _judge(question, own, answer, on_gpus=gpus):
            told.setdefault(problem, []).append(names[answer.offer.node])
    return [
        replace(problem, where=f"{problem.where} on {_join(nodes)}")
        for problem, nodes in told.items()
    ]


def note_clocks(answers: Sequence[NodeAnswer]) -> list[str]:
    """Return what should be known of clocks that are not far enough off to refuse them."""
    names = name_nodes([answer.offer for answer in answers])
    return [
        f"the clock of {names[answer.offer.node]} is {_describe_skew(answer.skew_s)} the driver's"
        for answer in answers
        if _NOTED_SKEW_S < abs(answer.skew_s) <= _MOST_SKEW_S
    ]


def name_nodes(offers: Sequence[NodeOffer]) -> dict[str, str]:
    """Return names of nodes for people: the host, with Ray's own name where several share one."""
    hosts = Counter(offer.host for offer in offers)
    return {
        offer.node: offer.host if hosts[offer.host] == 1 else f"{offer.host} ({offer.node[:8]})"
        for offer in offers
    }


def is_loopback(address: str) -> bool:
    """Tell whether an endpoint's address means the very machine that asks."""
    host = urlsplit(address).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        found = ip_address(host)
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified


def _judge(
    question: Question, own: NodeReport, answer: NodeAnswer, *, on_gpus: bool
) -> Iterator[Problem]:
    report = answer.report
    if report is None:
        yield Problem(
            "Ray",
            answer.failure,
            "see `ray status`; restart Ray there, or take the node out of the cluster",
        )
        return
    yield from _check_store(question, own, answer, report)
    if answer.offer.gpus if on_gpus else answer.offer.cpus:
        yield from _check_models(question.models, own, report)
    yield from _check_versions(own, report)
    yield from _check_clock(answer)
    yield from _check_scratch(report)
    if answer.offer.cpus and report.loopback != own.loopback:
        yield from _check_endpoints(question.endpoints)


def _check_store(
    question: Question, own: NodeReport, answer: NodeAnswer, report: NodeReport
) -> Iterator[Problem]:
    root, endpoint = question.storage.root, question.store_endpoint
    if report.store is None or (report.store.answered and answer.seen):
        return
    if is_remote(root) and is_loopback(endpoint) and report.loopback != own.loopback:
        yield Problem(
            "storage.root",
            f"the endpoint {endpoint} means another machine there than here",
            "give S3 an address that every node reaches (storage.credentials, AWS_ENDPOINT_URL)",
        )
    elif report.store.fault:
        yield Problem(
            "storage.root",
            f"{root} cannot be used there: {report.store.fault}",
            f"see that {endpoint or 'S3'} is reached from there, with keys that open it"
            if is_remote(root)
            else f"mount it there for reading and writing; {_AS_ONE_USER}",
        )
    elif answer.fault:
        yield Problem(
            "storage.root",
            f"what is written to {root} there cannot be changed here: {answer.fault}",
            _AS_ONE_USER,
        )
    elif is_remote(root):
        yield Problem(
            "storage.root",
            f"{root} is another place there: one does not see what the other writes",
            "give that node the same AWS_… variables, the endpoint's address among them",
        )
    elif not report.store.answered:
        yield Problem(
            "storage.root",
            f"{root} lies on the driver's own disk: what the driver writes is not seen there",
            "use s3:// or a shared mount, at the same path on every node",
        )
    else:
        yield Problem(
            "storage.root",
            f"{root} is a copy there: the driver does not see what is written to it",
            "use s3:// or a shared mount, at the same path on every node",
        )


def _check_models(
    models: Mapping[str, str], own: NodeReport, report: NodeReport
) -> Iterator[Problem]:
    for role, path in models.items():
        there = report.models.get(path, "")
        if there == own.models[path]:
            continue
        yield Problem(
            f"models.{role}.model",
            f"{path} is another model there" if there else f"{path} is not there",
            "copy the driver's there, or use a shared mount, s3:// or a hub name",
        )


def _check_versions(own: NodeReport, report: NodeReport) -> Iterator[Problem]:
    for name, here in own.versions.items():
        there = report.versions.get(name)
        if there != here:
            yield Problem(
                name,
                f"{there} there, {here} here" if there else f"missing there, {here} here",
                "make the same environment there: `make install` of the same commit",
            )
    unlike = [room for room, digest in own.code.items() if report.code.get(room) != digest]
    if unlike:
        yield Problem(
            f"this project's code ({', '.join(unlike)})",
            "is not the driver's",
            "bring both to the same commit, and restart Ray where it changed",
        )


def _check_clock(answer: NodeAnswer) -> Iterator[Problem]:
    if abs(answer.skew_s) > _MOST_SKEW_S:
        yield Problem(
            "the clock",
            f"is {_describe_skew(answer.skew_s)} the driver's",
            "synchronise the clocks of both (chrony, systemd-timesyncd)",
        )


def _check_scratch(report: NodeReport) -> Iterator[Problem]:
    if report.scratch_free < _LEAST_SCRATCH:
        yield Problem(
            f"the scratch disk {report.scratch}",
            f"has {report.scratch_free / 2**20:.0f} MiB free, and 1,024 are needed",
            "make room there, or start Ray there with TMPDIR on a larger disk",
        )


def _check_endpoints(endpoints: Mapping[str, str]) -> Iterator[Problem]:
    for role, address in endpoints.items():
        if is_loopback(address):
            yield Problem(
                f"models.{role}.base_url",
                f"{address} means another machine there than here, and rows are asked from there",
                "give an address that every node reaches, or start Ray there with --num-cpus=0",
            )


def _describe_skew(skew_s: float) -> str:
    return f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'}"


def _join(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
