"""Proves how the adaptive limit rises, falls, pauses and keeps its permits together."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

from infra.engines.endpoint.concurrency import AdaptiveLimit


class Clock:
    """Is a clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def simulate(
    limit: AdaptiveLimit, clock: Clock, rounds: int, latency_s: Callable[[int], float]
) -> list[int]:
    """Let many callers press in, and answer all open requests at once, round after round."""
    gates: list[asyncio.Event] = []

    async def call() -> None:
        async with limit.slot() as permit:
            gate = asyncio.Event()
            gates.append(gate)
            await gate.wait()
            limit.record_success(permit, tokens=10)

    callers = [asyncio.create_task(call()) for _ in range(rounds * 512)]
    limits = []
    for _ in range(rounds):
        for _ in range(4):
            await asyncio.sleep(0)
        opened, gates[:] = list(gates), []
        clock.now_s += latency_s(len(opened))
        for gate in opened:
            gate.set()
        for _ in range(4):
            await asyncio.sleep(0)
        limits.append(limit.limit)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert limit.in_flight == limit.waiting == 0
    return limits


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_slow_start_doubles_up_to_the_ceiling() -> None:
    async def main() -> None:
        clock = Clock()
        limit = AdaptiveLimit(64, start=4, clock=clock)
        limits = await simulate(limit, clock, 6, lambda width: 1.0)
        assert limits[-1] == 64
        assert all(b <= 2 * a for a, b in itertools.pairwise([4, *limits]))
        assert limits.index(64) <= 4

    run(main())


def test_growth_is_additive_after_a_decrease() -> None:
    async def main() -> None:
        clock = Clock()
        limit = AdaptiveLimit(64, start=16, clock=clock)
        async with limit.slot() as permit:
            assert limit.record_overload(permit)
        assert limit.limit == 8
        limits = await simulate(limit, clock, 5, lambda width: 1.0)
        assert all(b - a <= 1 for a, b in itertools.pairwise([8, *limits]))
        assert 11 <= limits[-1] <= 13

    run(main())


def test_overload_halves_once_a_round_trip_and_never_below_one() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(8)
        async with limit.slot() as first, limit.slot() as second:
            assert limit.record_overload(first)
            assert not limit.record_overload(second)
        assert limit.limit == 4
        for _ in range(5):
            async with limit.slot() as permit:
                limit.record_overload(permit)
        assert limit.limit == 1

    run(main())


def test_limit_does_not_grow_while_it_is_not_used() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(64, start=8)
        for _ in range(50):
            async with limit.slot() as permit:
                limit.record_success(permit, tokens=1)
        assert limit.limit == 8

    run(main())


def test_guard_stops_growth_where_requests_only_queue() -> None:
    async def main() -> None:
        # A server that handles eight at once: latency is flat up to 8, then proportional.
        clock = Clock()
        limit = AdaptiveLimit(512, start=4, clock=clock)
        limits = await simulate(limit, clock, 15, lambda width: max(1.0, width / 8))
        assert 8 <= limits[-1] <= 40

    run(main())


def test_guard_lets_a_batching_server_fill_its_batch() -> None:
    async def main() -> None:
        # Batching: latency grows with the square root of the batch, so throughput keeps rising.
        clock = Clock()
        limit = AdaptiveLimit(128, start=4, clock=clock)
        limits = await simulate(limit, clock, 12, lambda width: float(width) ** 0.5)
        assert limits[-1] == 128

    run(main())


def test_pause_holds_everyone_and_ends_by_itself() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(4)
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        limit.pause(0.05)

        async def call() -> float:
            async with limit.slot():
                return loop.time() - started_s

        waits = await asyncio.gather(*(call() for _ in range(8)))
        assert min(waits) >= 0.049
        assert limit.in_flight == limit.waiting == 0

    run(main())


def test_cancellation_leaves_no_stuck_permit() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(2, start=2)

        async def call(seconds: float) -> None:
            async with limit.slot():
                await asyncio.sleep(seconds)

        calls = [asyncio.create_task(call(0.01 if n % 3 else 10)) for n in range(30)]
        for n, task in enumerate(calls):
            if n % 3 == 0 or n % 5 == 0:
                asyncio.get_running_loop().call_later(0.001 * (n % 4), task.cancel)
        await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
        assert limit.in_flight == limit.waiting == 0
        await asyncio.wait_for(call(0), 1)

    run(main())


def test_permit_granted_to_a_cancelled_caller_is_passed_on() -> None:
    async def main() -> None:
        limit = AdaptiveLimit(1, start=1)
        release = asyncio.Event()
        entered = []

        async def call(name: str) -> None:
            async with limit.slot():
                entered.append(name)
                await release.wait()

        holder = asyncio.create_task(call("holder"))
        await asyncio.sleep(0)
        waiter, last = asyncio.create_task(call("waiter")), asyncio.create_task(call("last"))
        await asyncio.sleep(0)
        release.set()
        await asyncio.sleep(0)  # The holder is done and has handed its permit to the waiter.
        waiter.cancel()
        await asyncio.wait_for(asyncio.gather(holder, waiter, last, return_exceptions=True), 1)
        assert entered == ["holder", "last"]
        assert limit.in_flight == 0

    run(main())
