from __future__ import annotations

import asyncio
import json

import pytest

from zocket.broker.memory import MemoryBroker, MemoryServer
from zocket.errors import Superseded
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.runtime.ownership import OwnerRecord, Ownership
from zocket.testing.clock import VirtualClock
from zocket.testing.loop import START

SCOPE = Scope("ws", "proj")
BUCKET = subjects.owner_bucket(SCOPE)


def claimant(broker: MemoryBroker, epoch: str) -> Ownership:
    return Ownership(broker, SCOPE, OwnerRecord(epoch, f"process {epoch}", 7, ["room"]), VirtualClock())


async def test_the_last_claim_counts_and_the_record_is_readable() -> None:
    broker = MemoryServer(VirtualClock()).connect()
    first, second = claimant(broker, "e1"), claimant(broker, "e2")
    assert await first.claim() is None
    await first.confirm()
    before = await second.claim()
    assert before is not None
    assert (before.epoch, before.actor_types) == ("e1", ["room"])
    with pytest.raises(Superseded, match="process e2"):
        await first.confirm()
    entry = await broker.get(BUCKET, "ws.proj")
    assert entry is not None
    assert json.loads(entry.value) == {"epoch": "e2", "process": "process e2", "since": 7, "actorTypes": ["room"]}


async def test_a_claim_that_is_overtaken_while_it_writes_tries_again() -> None:
    broker = MemoryServer(VirtualClock()).connect()
    slow, fast = claimant(broker, "e1"), claimant(broker, "e2")
    read, interfered = broker.get, False

    async def get(bucket: str, key: str) -> object:
        nonlocal interfered
        entry = await read(bucket, key)
        if not interfered:
            interfered = True
            await fast.claim()
        return entry

    broker.get = get  # type: ignore[method-assign, assignment]
    assert (await slow.claim() or OwnerRecord("", "", 0)).epoch == "e2"
    assert not await fast.is_ours()


async def test_a_record_that_is_gone_is_written_again_by_the_owner_that_is_there() -> None:
    broker = MemoryServer(VirtualClock()).connect()
    owner = claimant(broker, "e1")
    await owner.claim()
    entry = await broker.get(BUCKET, "ws.proj")
    assert entry is not None
    await broker.delete(BUCKET, "ws.proj", entry.revision)
    assert not await owner.is_ours()
    await owner.confirm()
    assert await owner.is_ours()


async def test_only_the_owner_removes_the_record() -> None:
    broker = MemoryServer(VirtualClock()).connect()
    first, second = claimant(broker, "e1"), claimant(broker, "e2")
    await first.claim()
    await second.claim()
    await first.release()
    assert await second.is_ours()
    await second.release()
    assert await broker.get(BUCKET, "ws.proj") is None


async def test_r19_a_claim_waits_for_an_owner_that_is_leaving() -> None:
    clock = VirtualClock()
    broker = MemoryServer(clock).connect()
    first, second = claimant(broker, "e1"), claimant(broker, "e2")
    await first.claim()
    await first.leave(within_s=17.0)
    await first.confirm()
    claiming = asyncio.create_task(second.claim())
    await clock.sleep(10)
    assert not claiming.done()
    assert await first.is_ours()
    await first.release()
    assert await claiming is None
    assert clock.now() - START == pytest.approx(10, abs=0.1)
    assert await second.is_ours()


async def test_r19_a_claim_waits_no_longer_than_the_owner_said() -> None:
    clock = VirtualClock()
    broker = MemoryServer(clock).connect()
    first, second, third = (claimant(broker, f"e{number}") for number in range(3))
    await first.claim()
    await first.leave(within_s=17.0)
    claims = [asyncio.create_task(item.claim()) for item in (second, third)]
    await clock.sleep(16.9)
    assert not any(claim.done() for claim in claims)
    await clock.sleep(0.3)
    assert all(claim.done() for claim in claims)
    assert not await first.is_ours()
    assert await second.is_ours() is not await third.is_ours()


async def test_r18_an_owner_that_leaves_too_late_is_told_that_another_has_claimed() -> None:
    broker = MemoryServer(VirtualClock()).connect()
    first, second = claimant(broker, "e1"), claimant(broker, "e2")
    await first.claim()
    await second.claim()
    with pytest.raises(Superseded):
        await first.leave(within_s=17.0)
    assert await second.is_ours()


async def test_a_record_that_nobody_can_read_is_somebody_elses() -> None:
    broker = MemoryServer(VirtualClock()).connect()
    owner = claimant(broker, "e1")
    await broker.put(BUCKET, "ws.proj", b"odd", None)
    assert await owner.claim() is None
    await owner.confirm()
