"""Proves that no batch is sent that a budget could not hold."""

import asyncio
from pathlib import Path

import pytest

from infra.engines.batch.allowance import Allowance, Claim, Purse
from infra.errors import RequestFailed
from infra.protocol import Completion
from tests.e2e.batch_vendor import BatchVendor
from tests.unit.infra.engines.test_batch_engine import REQUESTS, ask_all, open_engine


def test_what_is_under_way_and_not_counted_yet_is_held_back() -> None:
    purse = Purse()
    assert purse.take([Claim(10**9, 10**9)])[0] == 1
    purse.allow(Allowance(tokens=100))
    claims = [Claim(20, 10)] * 4
    assert purse.take(claims) == (3, Claim(60, 30))
    with purse.hold(Claim(30, 20)):
        assert purse.take(claims) == (1, Claim(20, 10))
    purse.note(Completion("Moo", "stop", 10, 5))
    assert purse.take(claims)[0] == 2
    was_settled = purse.settled
    assert not was_settled
    purse.allow(Allowance(tokens=100))
    assert purse.take(claims)[0] == 2
    purse.allow(Allowance(tokens=85))
    assert purse.take(claims)[0] == 2 and purse.settled
    purse.allow(Allowance(usd=1.0, usd_per_prompt_token=0.02, usd_per_output_token=0.04))
    assert purse.take(claims)[0] == 1


@pytest.mark.parametrize(("tokens", "batches"), [(10_000, [8]), (260, [5, 3]), (30, [])])
def test_no_batch_is_sent_that_could_break_the_budget(
    tmp_path: Path, tokens: int, batches: list[int]
) -> None:
    vendor = BatchVendor()

    async def main() -> list[Completion | BaseException]:
        engine = open_engine(vendor, tmp_path)
        engine.allow(Allowance(tokens=tokens))
        asking = asyncio.create_task(ask_all(engine, REQUESTS))
        while not asking.done():
            await asyncio.sleep(0.02)
            engine.allow(Allowance(tokens=tokens))
        await engine.close()
        return asking.result()

    outcomes = asyncio.run(main())
    assert [len(batch.lines) for batch in vendor.batches.values()] == batches
    failed = [one for one in outcomes if isinstance(one, RequestFailed)]
    assert len(failed) == (0 if batches else 8)
    assert all("the budget leaves 30 tokens" in str(one) for one in failed)
