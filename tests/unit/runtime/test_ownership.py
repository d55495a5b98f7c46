from __future__ import annotations

import json

import pytest

from zocket.broker.memory import MemoryBroker, MemoryServer
from zocket.errors import Superseded
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.runtime.ownership import OwnerRecord, Ownership
from zocket.testing.clock import VirtualClock

SCOPE = Scope("ws", "proj")


def claimant(broker: MemoryBroker, epoch: str) -> Ownership:
    return Ownership(broker, SCOPE, OwnerRecord(epoch, f"process {epoch}", 7, ["room"]))


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
    entry = await broker.get(subjects.OWNER_BUCKET, "ws.proj")
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
    entry = await broker.get(subjects.OWNER_BUCKET, "ws.proj")
    assert entry is not None
    await broker.delete(subjects.OWNER_BUCKET, "ws.proj", entry.revision)
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
    assert await broker.get(subjects.OWNER_BUCKET, "ws.proj") is None


async def test_a_record_that_nobody_can_read_is_somebody_elses() -> None:
    broker = MemoryServer(VirtualClock()).connect()
    owner = claimant(broker, "e1")
    await broker.put(subjects.OWNER_BUCKET, "ws.proj", b"odd", None)
    assert await owner.claim() is None
    await owner.confirm()
