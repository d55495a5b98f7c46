"""Why a restored record begins a new epoch and tells nothing again. More about stores: tests/integration/upkeep."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tests.unit.host.conftest import Recorder
from zocket import Actor, method
from zocket.broker.memory import MemoryServer
from zocket.core import AppDefinition
from zocket.host import Host
from zocket.host.store import Key, Record, decode_record, encode_record
from zocket.host.unsent import Told
from zocket.ids import Scope
from zocket.protocol.frames import StateSub
from zocket.runtime.state_store import BrokerStateStore
from zocket.settings import Limits
from zocket.testing import VirtualClock, finalizers
from zocket.upkeep import backup_file, operations


class Total(Actor[dict[str, int]]):
    durability = "file"

    @method
    async def add(self, by: int) -> None:
        self.state["total"] = self.state.get("total", 0) + by


async def test_a_client_does_not_go_on_from_a_version_that_the_restore_took_back(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "state.jsonl"
    store = BrokerStateStore(MemoryServer(clock).connect(), Scope("ws", "prj"))

    def start() -> Recorder:
        host = Host(AppDefinition({"it": Total}), clock=clock, limits=Limits(), store=store)
        finalizers.get().push_async_callback(host.abort)
        return Recorder(host, "s")

    async def add(session: Recorder, by: int) -> None:
        session.call("add", by=by)
        await clock.sleep(1)

    first = start()
    first.watch()
    await add(first, 1)
    with backup_file.create(path, backup_file.Header(backup_file.FORMAT)) as writer:
        await operations.back_up(store, writer)
    await add(first, 1)
    known = next(frame for frame in reversed(first.frames) if frame["type"] == "state:patch")
    await first.host.abort()
    await operations.restore(store, await operations.plan(store, operations.check(path), replace=True))
    second = start()
    await add(second, 10)
    second.host.submit(second, StateSub("it", "x", since={"epoch": known["epoch"], "seq": known["seq"]}), "r")
    await clock.sleep(1)
    assert second.frames[-1]["type"] == "state:snapshot"
    assert (second.frames[-1]["state"], second.frames[-1]["seq"]) == ({"total": 11}, known["seq"])


async def test_what_a_backup_had_still_to_tell_is_not_told_again(tmp_path: Path) -> None:
    clock, path = VirtualClock(), tmp_path / "state.jsonl"
    store = BrokerStateStore(MemoryServer(clock).connect(), Scope("ws", "prj"))
    told = Told("r1.1", "it", "y", "add", msgspec.Raw(b'{"by":1}'))
    record = Record(1, msgspec.Raw(b"{}"), {}, {}, "e", 0, "w", 1, outbox=[told])
    await store.write(Key("it", "x"), encode_record(record), 0)
    with backup_file.create(path, backup_file.Header(backup_file.FORMAT)) as writer:
        await operations.back_up(store, writer)
    await operations.restore(store, await operations.plan(store, operations.check(path), replace=True))
    stored = await store.load("it", "x")
    assert stored is not None
    assert decode_record(stored.record).outbox == []
