"""The keys of durable state on a broker, and what is changed there beside the runtime."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.broker.memory import MemoryServer
from zocket.broker.port import Message
from zocket.core import StoredReminder
from zocket.errors import Conflict, UsageError
from zocket.host.alarms import decode_alarm
from zocket.host.store import Key, Record, Stored, decode_record, encode_record
from zocket.ids import MAX_ACTOR_ID_BYTES, Scope
from zocket.protocol import subjects
from zocket.runtime.state_store import BrokerStateStore, instance_of, key_of
from zocket.testing import VirtualClock

SCOPE = Scope("ws", "proj")
ACTORS = st.sampled_from(["room", "_a-B9", "x" * 64])
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_ACTOR_ID_BYTES // 4)


@given(ACTORS, IDS)
def test_every_instance_comes_back_from_its_key(actor: str, actor_id: str) -> None:
    assert instance_of(key_of(actor, actor_id)) == Key(actor, actor_id)


@given(st.text("ab.=02F4e", max_size=12))
def test_a_key_is_of_one_instance_or_of_none(key: str) -> None:
    named = instance_of(key)
    assert named is None or key_of(*named) == key


@pytest.mark.parametrize(
    "key", ["room", "room.", ".x", "1room.x", "room.a.b", "room.=61", "room.=2f", "room.=FF", "room.="]
)
def test_a_key_that_no_instance_has_is_of_none(key: str) -> None:
    assert instance_of(key) is None


async def test_a_change_is_told_to_the_runtime_of_the_project() -> None:
    server = MemoryServer(VirtualClock())
    broker, listener = server.connect(), server.connect()
    told: list[dict[str, str]] = []

    def heard(messages: list[Message]) -> None:
        told.extend(json.loads(message.payload) for message in messages)

    await listener.subscribe(subjects.rewritten(SCOPE), heard)
    store, key = BrokerStateStore(broker, SCOPE), Key("room", "a/ü")
    await store.write(key, b"one", 0)
    with pytest.raises(Conflict):
        await store.write(key, b"two", 0)
    stored = await store.load(*key)
    assert stored == Stored(b"one", 1)
    with pytest.raises(Conflict):
        await store.delete(key, 7)
    await store.delete(key, 1)
    await VirtualClock().sleep(0.01)
    assert told == [{"actor": "room", "actorId": "a/ü"}] * 2


async def test_a_key_that_somebody_put_there_by_hand_is_left_out() -> None:
    broker = MemoryServer(VirtualClock()).connect()
    store = BrokerStateStore(broker, SCOPE)
    await store.write(Key("room", "b"), b"x", 0)
    await store.write(Key("room", "a"), b"x", 0)
    await broker.put(subjects.state_bucket(SCOPE), "room.by.hand", b"x", None)
    assert await store.keys() == [Key("room", "a"), Key("room", "b")]


async def test_a_reminder_that_is_set_beside_the_host_makes_the_record_nobodys_commit_and_sets_the_alarm() -> None:
    store, key = BrokerStateStore(MemoryServer(VirtualClock()).connect(), SCOPE), Key("room", "a")
    with pytest.raises(UsageError, match="room/a: is not stored any more"):
        await store.add_reminder(key, "again", StoredReminder("ring", 5.0), durable=True)
    kept = {"own": StoredReminder("ring", 9.0)}
    written = Record(1, msgspec.Raw(b"{}"), {}, {}, "e", 4, "runtime", 7, reminders=kept)
    await store.write(key, encode_record(written), 0)
    await store.add_reminder(key, "again", StoredReminder("ring", 5.0), durable=True)
    stored, alarm = await store.load(*key), await store.alarms.load(*key)
    assert stored is not None
    assert alarm is not None
    record = decode_record(stored.record)
    assert {name: entry.due for name, entry in record.reminders.items()} == {"own": 9.0, "again": 5.0}
    assert (record.epoch, record.seq) == ("e", 4)
    assert (record.writer == "runtime", record.commit) == (False, 0)
    assert decode_alarm(alarm.record).due == 5.0


async def test_a_reminder_of_an_actor_in_memory_is_added_to_its_alarm() -> None:
    store, key = BrokerStateStore(MemoryServer(VirtualClock()).connect(), SCOPE), Key("room", "a")
    for name, due in (("one", 9.0), ("two", 5.0)):
        await store.add_reminder(key, name, StoredReminder("ring", due), durable=False)
    stored = await store.alarms.load(*key)
    assert stored is not None
    alarm = decode_alarm(stored.record)
    assert (alarm.due, list(alarm.reminders)) == (5.0, ["one", "two"])
