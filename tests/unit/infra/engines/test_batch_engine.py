"""Proves how batches are gathered, sent, found again and read out, without a network."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.engines.batch.config import BatchConfig
from infra.engines.batch.engine import BatchEngine
from infra.engines.endpoint.endpoint import EndpointEngine
from infra.engines.endpoint.wire import EndpointSettings
from infra.errors import RequestFailed
from infra.protocol import Completion, Message, Request, SamplingParams
from infra.store.storage import Storage
from tests.e2e.batch_vendor import BatchVendor, speak_oddly
from tests.e2e.odd_endpoint import Body, Reply

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def settings(model: str = "plain") -> EndpointSettings:
    return EndpointSettings("http://vendor.test/v1", model, backoff_s=0.001, max_retries=2)


def request(n: int, schema: dict[str, Any] | None = None) -> Request:
    sampling = SamplingParams(0.7, 0.9, 32, n)
    messages = (Message("system", "Be short."), Message("user", f"How are {n} goats?"))
    return Request(f"{n:032x}-0-0", messages, None, sampling, schema)


def open_engine(vendor: BatchVendor, root: Path, model: str = "plain", **knobs: Any) -> BatchEngine:
    config = BatchConfig(**({"gather_seconds": 0.05, "min_requests": 2} | knobs))
    return BatchEngine(
        settings(model),
        config,
        Storage(str(root)),
        transport=httpx.MockTransport(vendor.transport),
        sleep=lambda _: asyncio.sleep(0.001),
    )


async def ask_all(engine: Any, requests: list[Request]) -> list[Completion | BaseException]:
    calls = (engine.generate(one) for one in requests)
    return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)


def ask(
    vendor: BatchVendor, root: Path, requests: list[Request], model: str = "plain", **knobs: Any
) -> tuple[list[Completion | BaseException], list[str]]:
    async def main() -> tuple[list[Completion | BaseException], list[str]]:
        engine = open_engine(vendor, root, model, **knobs)
        try:
            return await ask_all(engine, requests), engine.take_notes()
        finally:
            await engine.close()

    return asyncio.run(main())


def die_while_asking(
    vendor: BatchVendor,
    root: Path,
    model: str = "plain",
    before: Callable[[BatchEngine], Awaitable[None]] | None = None,
) -> None:
    """Ask, and end like a process that is killed as soon as the vendor has a batch."""

    async def main() -> None:
        engine = open_engine(vendor, root, model)
        asking = asyncio.create_task(ask_all(engine, REQUESTS))
        while not vendor.batches:
            await asyncio.sleep(0)
        if before is not None:
            await before(engine)
        asking.cancel()
        await engine.close()

    asyncio.run(main())


def ask_live(requests: list[Request], model: str = "plain") -> list[Completion | BaseException]:
    async def main() -> list[Completion | BaseException]:
        transport = httpx.MockTransport(BatchVendor().transport)
        engine = EndpointEngine(settings(model), transport=transport)
        try:
            return await ask_all(engine, requests)
        finally:
            await engine.close()

    return asyncio.run(main())


REQUESTS = [request(n) for n in range(9)]


@pytest.mark.parametrize("model", ["plain", "strict", "closed", "uncounted", "dirty"])
def test_a_batch_answers_as_the_endpoint_would_live(tmp_path: Path, model: str) -> None:
    requests = [*REQUESTS, *(request(n, SCHEMA) for n in range(20, 26))]
    vendor = BatchVendor()
    outcomes, notes = ask(vendor, tmp_path, requests, model)
    assert outcomes == ask_live(requests, model)
    assert all(isinstance(outcome, Completion) for outcome in outcomes)
    # One of each kind is asked live, and again only in dialects that it was refused.
    assert len({body["messages"][-1]["content"] for body in vendor.live}) == 2
    assert len(vendor.sent) == len(set(vendor.sent)) == len(requests) - 2
    assert any("requests came back" in note for note in notes)


def test_what_a_batch_does_not_answer_is_sent_again_and_no_more(tmp_path: Path) -> None:
    vendor = BatchVendor(endings=["expired", "cancelled"], failing=1)
    outcomes, notes = ask(vendor, tmp_path, REQUESTS)
    assert outcomes == ask_live(REQUESTS)
    first, *others = vendor.batches.values()
    assert len(first.lines) == 8 and sum(len(batch.lines) for batch in others) < 8 + 3
    assert sum(vendor.answered.values()) + len(vendor.live) == len(REQUESTS) + 1
    assert any("expired: 4 of 8 requests came back, 4 were not asked" in note for note in notes)


def test_a_row_whose_batches_never_get_to_it_stays_pending(tmp_path: Path) -> None:
    vendor = BatchVendor(endings=["expired"] * 9)
    outcomes, _ = ask(vendor, tmp_path, REQUESTS, max_submissions=2, min_requests=1)
    lost = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(vendor.batches) == 2
    assert lost and all(isinstance(one, RequestFailed) and not one.fatal for one in lost)
    assert "batch_1 expired before it was asked, in 2 batches" in str(lost[0])


def test_few_requests_are_asked_live_and_many_in_several_batches(tmp_path: Path) -> None:
    vendor = BatchVendor()
    ask(vendor, tmp_path / "few", REQUESTS[:4], min_requests=5)
    assert not vendor.batches and len(vendor.live) == 4
    vendor = BatchVendor()
    outcomes, _ = ask(vendor, tmp_path / "many", REQUESTS, max_requests=3)
    assert [len(batch.lines) for batch in vendor.batches.values()] == [3, 3, 2]
    assert outcomes == ask_live(REQUESTS)
    vendor = BatchVendor()
    ask(vendor, tmp_path / "long", REQUESTS, max_megabytes=0.001)
    assert len(vendor.batches) >= 3
    assert all(len(vendor.files[b.body["input_file_id"]]) <= 1000 for b in vendor.batches.values())


def test_a_later_process_fetches_what_an_earlier_one_sent(tmp_path: Path) -> None:
    vendor = BatchVendor(held=True)

    async def is_stopped(engine: BatchEngine) -> None:
        while not next(iter(vendor.batches.values())).looks:
            await asyncio.sleep(0.01)
        told, live = await engine.halt()
        assert not live and "batch batch_0 goes on" in told

    die_while_asking(vendor, tmp_path, "strict", before=is_stopped)
    lived = len(vendor.live)
    vendor.held = False
    left = [one for one in REQUESTS if "How are 0 goats" not in one.messages[-1].content]
    outcomes, notes = ask(vendor, tmp_path, left, "strict")
    assert outcomes == ask_live(left, "strict")
    assert len(vendor.batches) == 1 and len(vendor.live) == lived
    assert any("was sent before" in note for note in notes)
    assert ask(vendor, tmp_path, left, "strict")[0] == outcomes
    assert len(vendor.batches) == 1, "what was paid once is there for a month"


def test_a_stop_may_cancel_and_what_was_answered_is_kept(tmp_path: Path) -> None:
    vendor = BatchVendor(looks=10**6)

    async def be_stopped() -> str:
        engine = open_engine(vendor, tmp_path, cancel_on_stop=True)
        asking = asyncio.create_task(ask_all(engine, REQUESTS))
        while not vendor.batches or not next(iter(vendor.batches.values())).looks:
            await asyncio.sleep(0.01)
        told, _ = await engine.halt()
        asking.cancel()
        await engine.close()
        return told

    assert "batch batch_0 is cancelled" in asyncio.run(be_stopped())
    vendor.looks = 0
    outcomes, _ = ask(vendor, tmp_path, REQUESTS[1:])
    assert outcomes == ask_live(REQUESTS[1:])
    assert [len(batch.lines) for batch in vendor.batches.values()] == [8, 3]
    assert max(vendor.answered.values()) == 1


def test_a_batch_whose_making_was_not_heard_of_is_looked_for(tmp_path: Path) -> None:
    vendor = BatchVendor(lose=1)
    outcomes, _ = ask(vendor, tmp_path / "reply", REQUESTS)
    assert len(vendor.batches) == 1
    assert outcomes == ask_live(REQUESTS)

    vendor = BatchVendor(lose=1)

    die_while_asking(vendor, tmp_path / "death")
    outcomes, _ = ask(vendor, tmp_path / "death", REQUESTS)
    assert len(vendor.batches) == 1
    assert outcomes == ask_live(REQUESTS)


def test_an_endpoint_without_batches_says_so_before_anything_is_paid(tmp_path: Path) -> None:
    vendor = BatchVendor(has_batches=False)
    outcomes, _ = ask(vendor, tmp_path, REQUESTS)
    assert all(isinstance(one, RequestFailed) and one.fatal for one in outcomes)
    assert "has no batch API" in str(outcomes[0])
    assert not vendor.live


def test_a_batch_that_failed_tells_the_vendors_reason(tmp_path: Path) -> None:
    vendor = BatchVendor(endings=["bad file"])
    outcomes, _ = ask(vendor, tmp_path, REQUESTS)
    failed = [one for one in outcomes if isinstance(one, RequestFailed)]
    assert len(failed) == 8 and all(one.fatal for one in failed)
    assert "batch_0 failed: line 3: the bad file" in str(failed[0])
    again, _ = ask(vendor, tmp_path, REQUESTS)
    assert all(isinstance(one, Completion) for one in again)


def test_a_full_queue_makes_batches_smaller(tmp_path: Path) -> None:
    vendor = BatchVendor(endings=["queue is full"])
    outcomes, _ = ask(vendor, tmp_path, REQUESTS)
    assert outcomes == ask_live(REQUESTS)
    assert [len(batch.lines) for batch in vendor.batches.values()] == [8, 4, 4]


def test_a_line_that_is_refused_for_its_content_is_settled_live(tmp_path: Path) -> None:
    def refuse_one(body: Body) -> Reply:
        if "5 goats" in body["messages"][-1]["content"]:
            return 400, {"error": {"message": "This is not for us.", "code": "policy"}}
        return speak_oddly(body)

    vendor = BatchVendor(speak=refuse_one)
    outcomes, _ = ask(vendor, tmp_path, REQUESTS)
    (refused,) = (one for one in outcomes if isinstance(one, BaseException))
    assert isinstance(refused, RequestFailed) and not refused.fatal
    assert "This is not for us" in str(refused)
    assert len(vendor.batches) == 1 and len(vendor.live) == 2


def test_a_dialect_that_only_batches_refuse_is_learnt_from_their_lines(tmp_path: Path) -> None:
    def refuse_fields(body: Body) -> Reply:
        return speak_oddly({**body, "model": "closed"})

    vendor = BatchVendor(speak_in_batches=refuse_fields)
    outcomes, notes = ask(vendor, tmp_path / "one", REQUESTS)
    assert all(isinstance(one, Completion) for one in outcomes)
    assert [len(batch.lines) for batch in vendor.batches.values()] == [8, 8, 8]
    last = list(vendor.batches.values())[-1].lines[0]["body"]
    assert not {"seed", "top_p"} & set(last) and len(vendor.live) == 1
    assert any("takes no seed" in note for note in notes)

    vendor = BatchVendor(speak_in_batches=refuse_fields, held=True)

    die_while_asking(vendor, tmp_path / "two")
    vendor.held = False
    left = [one for one in REQUESTS if "How are 0 goats" not in one.messages[-1].content]
    outcomes, _ = ask(vendor, tmp_path / "two", left)
    assert all(isinstance(one, Completion) for one in outcomes)
    assert len(vendor.live) == 2, "the first of either process"
    assert sum(len(batch.lines) for batch in vendor.batches.values()) == 8 + 7 + 7


def test_a_vendor_that_forgot_a_batch_is_asked_anew(tmp_path: Path) -> None:
    vendor = BatchVendor()
    outcomes, _ = ask(vendor, tmp_path, REQUESTS)
    vendor.batches.clear()
    again, notes = ask(vendor, tmp_path, REQUESTS)
    assert again == outcomes and len(vendor.batches) == 1
    assert any("is gone at the vendor" in note for note in notes)
    vendor.files.clear()
    assert ask(vendor, tmp_path, REQUESTS)[0] == outcomes


def test_a_vendor_that_stumbles_is_looked_at_again(tmp_path: Path) -> None:
    vendor = BatchVendor()
    own, stumbled = vendor.serve, Counter[str]()

    def stumble(method: str, target: str, kind: str, content: bytes) -> tuple[int, bytes]:
        stumbled[target] += 1
        if stumbled[target] in (1, 2) and not target.endswith("/chat/completions"):
            return (503, b"busy") if stumbled[target] == 1 else (502, b"<html>")
        return own(method, target, kind, content)

    vendor.serve = stumble  # type: ignore[method-assign]
    outcomes, _ = ask(vendor, tmp_path, REQUESTS)
    assert outcomes == ask_live(REQUESTS)
    assert len(vendor.batches) == 1


def test_a_wrong_key_ends_it_at_once(tmp_path: Path) -> None:
    vendor = BatchVendor()
    vendor.serve = lambda *_: (401, b'{"error": "no such key"}')  # type: ignore[method-assign]
    outcomes, _ = ask(vendor, tmp_path, REQUESTS)
    assert all(isinstance(one, RequestFailed) and one.fatal for one in outcomes)
    assert "check the key" in str(outcomes[0])
