"""Looking after stored state: the same bodies on SQLite, on the memory broker and on a real NATS server."""

from __future__ import annotations

import json
import secrets
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from zocket.broker.memory import MemoryServer
from zocket.broker.nats import NatsBroker
from zocket.errors import Conflict, PlatformError, StoredStateError, TooLarge, UsageError
from zocket.host.alarms import decode_alarm
from zocket.host.store import Key, StateAdministration, Stored, decode_record
from zocket.ids import Scope
from zocket.runtime.state_store import BrokerStateStore
from zocket.server.sqlite_store import SqliteStore
from zocket.testing import VirtualClock
from zocket.upkeep import backup_file, operations
from zocket.upkeep.backup_file import Header

SQLITE = pytest.param("sqlite", marks=pytest.mark.realtime)
NATS = pytest.param("nats", marks=pytest.mark.nats)
KEYS = sorted([Key("ledger", "x y"), Key("room", "a/b.c*>%é"), Key("room", "general"), Key("room2", "\n$")])


class Stores:
    """Makes empty stores of one kind; entered, it closes them at the end."""

    def __init__(self, kind: str, directory: Path, nats_url: str = "") -> None:
        self.kind = kind
        self.directory = directory
        self._nats_url = nats_url
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Stores:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def empty(self, kind: str = "") -> StateAdministration:
        kind = kind or self.kind
        if kind == "sqlite":
            path = self.directory / f"{secrets.token_hex(4)}.db"
            return await self._stack.enter_async_context(SqliteStore.open(path))
        scope = Scope("ws_" + secrets.token_hex(4), "prj")
        if kind == "memory":
            return BrokerStateStore(MemoryServer(VirtualClock()).connect(), scope)
        broker = await NatsBroker.open(self._nats_url, name="test")
        self._stack.push_async_callback(broker.aclose)
        return BrokerStateStore(broker, scope)

    async def filled(self, count: int = 0) -> StateAdministration:
        store = await self.empty()
        for number, key in enumerate([*KEYS, *(Key("many", f"{n:04}") for n in range(count))]):
            await store.write(key, record(number=number), 0)
        return store


@pytest.fixture(params=[SQLITE, "memory", NATS])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Stores:
    return Stores(request.param, tmp_path, request.getfixturevalue("nats_url") if request.param == "nats" else "")


def record(due: float = 0.0, **state: Any) -> bytes:
    fields = {"version": 1, "state": state, "watermarks": {"INBOUND:1": 7}, "answers": {"INBOUND:1/7": {"id": 1}}}
    if due:
        fields["reminders"] = {"memo": {"method": "note", "due": due}}
    return json.dumps(fields | {"epoch": "e_old", "seq": 3, "writer": "w_old", "commit": 9}).encode()


async def back_up(store: StateAdministration, path: Path) -> Path:
    with backup_file.create(path, Header(backup_file.FORMAT)) as writer:
        await operations.back_up(store, writer)
    return path


async def restore(store: StateAdministration, path: Path, *, replace: bool = False) -> operations.Plan:
    planned = await operations.plan(store, operations.check(path), replace=replace)
    await operations.restore(store, planned)
    return planned


async def contents(store: StateAdministration) -> dict[Key, Stored]:
    return {key: stored async for key, stored in operations.records(store, await store.keys())}


async def test_keys_are_sorted_and_by_type(stores: Stores) -> None:
    async with stores:
        store = await stores.filled()
        assert await store.keys() == KEYS
        assert await store.keys("room") == [key for key in KEYS if key.actor == "room"]
        assert await store.keys("nobody") == await (await stores.empty()).keys() == []


async def test_a_deleted_instance_is_gone_and_may_come_again(stores: Stores) -> None:
    async with stores:
        store = await stores.filled()
        key = KEYS[1]
        stored = await operations.find(store, key)
        await store.write(key, record(number="newer"), stored.revision)
        with pytest.raises(Conflict):
            await store.delete(key, stored.revision)
        await store.delete(key, (await operations.find(store, key)).revision)
        assert list(await contents(store)) == [other for other in KEYS if other != key]
        with pytest.raises(UsageError, match=r"is not stored here; `zocket actors list room`"):
            await operations.find(store, key)
        await store.write(key, record(number="again"), 0)
        assert list(await contents(store)) == KEYS


async def test_alarms_are_written_by_compare_and_set(stores: Stores) -> None:
    async with stores:
        alarms = (await stores.empty()).alarms
        key = KEYS[0]
        assert await alarms.load(*key) is None
        first = await alarms.put(key, b"1", 0)
        with pytest.raises(Conflict):
            await alarms.put(key, b"2", 0)
        second = await alarms.put(key, b"2", first)
        assert await alarms.load(*key) == Stored(b"2", second)
        assert [entry async for page in alarms.entries() for entry in page] == [(key, Stored(b"2", second))]
        with pytest.raises(Conflict):
            await alarms.delete(key, first)
        await alarms.delete(key, second)
        assert await alarms.load(*key) is None
        third = await alarms.put(key, b"3", 0)
        assert await alarms.load(*key) == Stored(b"3", third)


async def test_an_instance_takes_its_reminders_with_it_and_a_restore_brings_them_back(stores: Stores) -> None:
    async with stores:
        store, key = await stores.empty(), KEYS[1]
        await store.write(key, record(due=50.0), 0)
        alarm = await store.alarms.load(*key)
        assert alarm is not None
        assert decode_alarm(alarm.record).due == 50.0
        path = await back_up(store, stores.directory / "state.jsonl")
        await store.delete(key, (await operations.find(store, key)).revision)
        assert await store.alarms.load(*key) is None
        await restore(store, path)
        alarm = await store.alarms.load(*key)
        assert alarm is not None
        assert decode_alarm(alarm.record).due == 50.0
        await restore(store, path, replace=True)
        assert await store.alarms.load(*key) == alarm, "it rings early enough"


@pytest.mark.parametrize("other", [SQLITE, "memory", NATS])
async def test_a_backup_goes_from_every_kind_of_store_into_every_other(
    stores: Stores, other: str, request: pytest.FixtureRequest
) -> None:
    if other == "nats":
        stores._nats_url = request.getfixturevalue("nats_url")
    async with stores:
        source, target = await stores.filled(40), await stores.empty(other)
        path = await back_up(source, stores.directory / "state.jsonl.gz")
        planned = await restore(target, path)
        assert (planned.replaced, len(planned.revisions)) == (0, 44)
        before, after = await contents(source), await contents(target)
        assert before.keys() == after.keys()
        for key, stored in after.items():
            old, new = json.loads(before[key].record), json.loads(stored.record)
            assert new.pop("epoch") != old.pop("epoch")
            assert new.pop("writer") != old.pop("writer")
            assert (new.pop("commit"), old.pop("commit")) == (0, 9)
            assert new == old
        epochs = {decode_record(stored.record).epoch for stored in after.values()}
        assert len(epochs) == len(after)


async def test_what_is_stored_already_is_named_and_nothing_is_written(stores: Stores) -> None:
    async with stores:
        source = await stores.filled(10)
        path = await back_up(source, stores.directory / "state.jsonl")
        target = await stores.empty()
        for number in range(7):
            await target.write(Key("many", f"{number:04}"), record(number="here"), 0)
        deleted = Key("room", "general")
        await target.write(deleted, record(), 0)
        await target.delete(deleted, (await operations.find(target, deleted)).revision)
        before = await contents(target)
        with pytest.raises(UsageError, match=r"stored already: many/0000, .*, many/0004 and 2 more; --replace"):
            await restore(target, path)
        assert await contents(target) == before
        planned = await restore(target, path, replace=True)
        assert planned.replaced == 7
        states = {key: json.loads(stored.record)["state"]["number"] for key, stored in (await contents(target)).items()}
        assert states[Key("many", "0000")] == 4
        assert len(states) == 14


async def test_what_a_host_writes_meanwhile_is_replaced_or_found(stores: Stores) -> None:
    async with stores:
        store = await stores.filled()
        found = operations.check(await back_up(store, stores.directory / "state.jsonl"))
        planned = await operations.plan(store, found, replace=True)
        key = KEYS[0]
        await store.write(key, record(number="meanwhile"), (await operations.find(store, key)).revision)
        await operations.restore(store, planned)
        assert json.loads((await operations.find(store, key)).record)["state"] == {"number": 0}
        target = await stores.empty()
        planned = await operations.plan(target, found, replace=False)
        await target.write(key, record(number="meanwhile"), 0)
        with pytest.raises(
            PlatformError, match=r"ledger/x y: was stored by somebody else.*; 3 of 4 instances are"
        ) as error:
            await operations.restore(target, planned)
        assert error.value.code == "conflict"
        assert json.loads((await operations.find(target, key)).record)["state"] == {"number": "meanwhile"}


async def test_what_cannot_be_read_is_named_and_there_is_no_backup(stores: Stores) -> None:
    async with stores:
        store, path = await stores.filled(), stores.directory / "state.jsonl"
        await store.write(Key("room", "broken"), b"{", 0)
        with pytest.raises(StoredStateError, match="room/broken: the stored record cannot be read"):
            await back_up(store, path)
        with pytest.raises(UsageError, match="nothing is stored here"):
            await back_up(await stores.empty(), path)
        assert not path.exists()


class TestLimits:
    """What only a broker refuses."""

    async def test_a_record_that_the_store_does_not_take_is_found_before_anything_is_written(
        self, tmp_path: Path
    ) -> None:
        stores = Stores("memory", tmp_path)
        path = await back_up(await stores.filled(), tmp_path / "state.jsonl")
        small = BrokerStateStore(MemoryServer(VirtualClock(), max_payload_bytes=400).connect(), Scope("ws", "small"))
        with pytest.raises(TooLarge, match=r"ledger/x y: its record has \d+ bytes, the store takes 80 "):
            await restore(small, path)
        assert await small.keys() == []

    async def test_a_broker_that_goes_away_says_how_to_go_on(self, tmp_path: Path) -> None:
        stores, server = Stores("memory", tmp_path), MemoryServer(VirtualClock())
        path = await back_up(await stores.filled(30), tmp_path / "state.jsonl")
        store = BrokerStateStore(server.connect(), Scope("ws", "prj"))
        planned = await operations.plan(store, operations.check(path), replace=False)
        server.stop()
        with pytest.raises(PlatformError, match="0 of 34 instances are restored: begin again with --replace") as error:
            await operations.restore(store, planned)
        assert error.value.code == "unavailable"
