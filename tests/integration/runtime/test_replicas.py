"""Several replicas that share a divided project, on the memory broker and on a real NATS server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from zocket import Actor, App, method
from zocket.broker.memory import MemoryBroker
from zocket.broker.streams import transport_streams
from zocket.errors import BootError, Superseded
from zocket.ids import Scope
from zocket.protocol import envelopes, subjects
from zocket.runtime.replica import Replica
from zocket.runtime.runtime import Runtime
from zocket.settings import Limits
from zocket.testing import TestApp
from zocket.testing.app import SCOPE

if TYPE_CHECKING:
    from zocket.client import Client

PARTITIONS = 6
LEASE_S = 0.5
NAMES = [f"i{number}" for number in range(24)]

pytestmark = pytest.mark.each_broker


class Count(BaseModel):
    value: int = 0
    by: list[str] = []


class Counter(Actor[Count]):
    durability = "file"

    @method
    async def add(self, name: str, pause_s: float = 0.0) -> int:
        self.state.by.append(name)
        self.state.value += 1
        if pause_s:
            await asyncio.sleep(pause_s)
        return self.state.value

    @method
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(1, to + 1):
            yield number

    @method
    async def wait(self) -> None:
        self.state.by.append("waited")
        await asyncio.sleep(60)

    @method
    async def by(self) -> list[str]:
        return self.state.by


app = App(actors={"counter": Counter})


class Fleet(TestApp):
    """A gateway on a divided stream; replicas join by hand."""

    partitions = PARTITIONS

    def __init__(self, served: App = app) -> None:
        super().__init__(served)
        self.stacks: dict[Replica, AsyncExitStack] = {}

    async def _start_server(self) -> None:
        await super()._start_server()
        async with AsyncExitStack() as stack:
            broker = await self._connect_broker("first", stack)
            for spec in transport_streams("file", self.partitions):
                await broker.ensure_stream(spec)

    async def start(self) -> None:
        pass

    async def join(self, deployment: str = "d1", partitions: int = PARTITIONS) -> Replica:
        stack = AsyncExitStack()
        broker = await self._connect_broker("replica", stack)
        replica = await stack.enter_async_context(
            Replica.open(
                self.app.definition,
                SCOPE,
                broker,
                clock=self.clock,
                limits=Limits(),
                process_name="test",
                deployment_id=deployment,
                partitions=partitions,
                lease_s=LEASE_S,
                storage="file",
            )
        )
        self.stacks[replica] = stack
        self._stack.push_async_callback(self.leave, replica)
        return replica

    async def leave(self, replica: Replica) -> None:
        stack = self.stacks.pop(replica, None)
        if stack is not None:
            await stack.aclose()

    async def until(self, *held: int) -> None:
        """Waits until the replicas that are there hold so many partitions each, all together every one once."""
        for _ in range(1_000):
            numbers = [number for replica in self.stacks for number in replica.held]
            if sorted(numbers) == list(range(PARTITIONS)) and sorted(len(r.held) for r in self.stacks) == sorted(held):
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"shares: {[replica.held for replica in self.stacks]}")


async def call_all(client: Client, name: str, pause_s: float = 0.0) -> list[int]:
    return await asyncio.gather(*(client.actor(Counter, one).add(name=name, pause_s=pause_s) for one in NAMES))


async def test_replicas_share_the_partitions_evenly_as_they_join_and_leave() -> None:
    async with Fleet() as fleet:
        client = await fleet.connect(rpc_timeout=30)
        first = await fleet.join()
        assert first.held == list(range(PARTITIONS))
        assert await call_all(client, "one") == [1] * len(NAMES)
        second = await fleet.join()
        await fleet.until(3, 3)
        assert await call_all(client, "two") == [2] * len(NAMES)
        third = await fleet.join()
        await fleet.until(2, 2, 2)
        assert await call_all(client, "three") == [3] * len(NAMES)
        await fleet.leave(first)
        await fleet.until(3, 3)
        await fleet.leave(third)
        await fleet.until(6)
        assert second.held == list(range(PARTITIONS))
        assert await call_all(client, "four") == [4] * len(NAMES)


async def test_nothing_is_released_to_a_replica_before_it_takes() -> None:
    async with Fleet() as fleet, AsyncExitStack() as stack:
        words: list[envelopes.RollCall] = []
        listener = await fleet._connect_broker("listener", stack)
        await listener.subscribe(
            subjects.roll_call(SCOPE),
            lambda messages: words.extend(envelopes.decode_roll_call(message.payload) for message in messages),
        )
        first = await fleet.join()
        second = await fleet.join()
        await fleet.until(3, 3)
        [asked] = [place for place, word in enumerate(words) if word.replica == second.replica_id and word.asks]
        ready = next(place for place, word in enumerate(words) if word.replica == second.replica_id and not word.asks)
        assert all(len(word.held) == PARTITIONS for word in words[asked:ready] if word.replica == first.replica_id)


async def test_chunks_are_credited_and_calls_cancelled_where_their_instance_lives() -> None:
    async with Fleet() as fleet:
        client = await fleet.connect(rpc_timeout=30)
        for _ in range(2):
            await fleet.join()
        await fleet.until(3, 3)
        for name in NAMES[:6]:
            counter = client.actor(Counter, name)
            assert [number async for number in counter.count(to=200)] == list(range(1, 201))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(counter.wait(), 0.1)
            assert await counter.by() == []


async def test_calls_in_progress_survive_moves_once_each_and_in_order() -> None:
    async with Fleet() as fleet:
        client = await fleet.connect(rpc_timeout=60)
        first = await fleet.join()
        rounds = [asyncio.create_task(call_all(client, str(number), 0.02)) for number in range(5)]
        await fleet.join()
        await fleet.until(3, 3)
        rounds += [asyncio.create_task(call_all(client, str(number), 0.02)) for number in range(5, 10)]
        await fleet.leave(first)
        await fleet.until(6)
        assert [await one for one in rounds] == [[number] * len(NAMES) for number in range(1, 11)]
        assert await client.actor(Counter, NAMES[0]).by() == [str(number) for number in range(10)]


async def test_the_partitions_of_a_replica_that_died_are_taken_and_its_calls_run_again() -> None:
    async with Fleet() as fleet:
        client = await fleet.connect(rpc_timeout=60)
        first = await fleet.join()
        await fleet.join()
        await fleet.until(3, 3)
        calls = asyncio.create_task(call_all(client, "in flight", 0.2))
        await asyncio.sleep(0.05)
        await first.abort()
        await fleet.leave(first)
        await fleet.until(6)
        assert await calls == [1] * len(NAMES)
        assert await call_all(client, "after") == [2] * len(NAMES)


async def test_subscribers_of_moved_instances_go_on() -> None:
    async with Fleet() as fleet:
        client = await fleet.connect(rpc_timeout=60)
        first = await fleet.join()
        seen: dict[str, int] = {}

        async def watch(one: str) -> None:
            async for state in client.state(client.actor(Counter, one)):
                seen[one] = state.value

        watchers = [asyncio.create_task(watch(one)) for one in NAMES]
        await call_all(client, "a")
        await fleet.join()
        await fleet.until(3, 3)
        await call_all(client, "b")
        await first.abort()
        await fleet.leave(first)
        await fleet.until(6)
        await call_all(client, "c")
        for _ in range(500):
            if seen == dict.fromkeys(NAMES, 3):
                break
            await asyncio.sleep(0.02)
        assert seen == dict.fromkeys(NAMES, 3)
        for watcher in watchers:
            watcher.cancel()


async def test_a_new_deployment_takes_the_project_from_all_replicas_of_the_old_one() -> None:
    async with Fleet() as fleet:
        client = await fleet.connect(rpc_timeout=60)
        old = [await fleet.join("d1"), await fleet.join("d1")]
        await fleet.until(3, 3)
        new = await fleet.join("d2")
        for replica in old:
            with pytest.raises(Superseded, match="d2"):
                await asyncio.wait_for(replica.wait_stopped(), 20)
            await fleet.leave(replica)
        await fleet.until(6)
        assert new.held == list(range(PARTITIONS))
        assert await call_all(client, "new") == [1] * len(NAMES)


async def test_a_project_is_divided_and_undivided_by_a_new_deployment() -> None:
    async with Fleet() as fleet, AsyncExitStack() as stack:
        client = await fleet.connect(rpc_timeout=60)
        replica = await fleet.join()
        assert await call_all(client, "divided") == [1] * len(NAMES)
        broker = await fleet._connect_broker("whole", stack)
        await stack.enter_async_context(
            Runtime.open(
                app.definition, SCOPE, broker, clock=fleet.clock, limits=Limits(), process_name="whole", storage="file"
            )
        )
        with pytest.raises(Superseded):
            await asyncio.wait_for(replica.wait_stopped(), 20)
        await fleet.leave(replica)
        assert await call_all(client, "whole") == [2] * len(NAMES)
        await fleet.join("d2")
        await fleet.until(6)
        assert await call_all(client, "divided again") == [3] * len(NAMES)


async def test_a_stream_that_is_not_divided_so_is_refused_with_the_reason() -> None:
    async with Fleet() as fleet:
        with pytest.raises(BootError, match=r"PARTITIONS=4.*not divided so.*nats stream rm INBOUND"):
            await fleet.join(partitions=4)


async def test_a_gateway_that_does_not_announce_itself_is_refused_with_the_reason() -> None:
    async with Fleet() as fleet, AsyncExitStack() as stack:
        await fleet.join()
        broker = await fleet._connect_broker("foreign", stack)
        answers: list[bytes] = []
        await broker.subscribe("outbound.>", lambda messages: answers.extend(item.payload for item in messages))
        envelope = (
            b'{"scope":{"workspaceId":"%b","projectId":"%b"},"sessionId":"old","userId":null,"claims":null,"message":'
            b'{"type":"rpc","id":7,"actor":"counter","actorId":"i1","method":"add","input":{"name":"x"}}}'
        ) % (SCOPE.workspace_id.encode(), SCOPE.project_id.encode())
        broker.publish(subjects.inbound(SCOPE, "counter", "i1"), envelope, "m1", lambda _: None)
        for _ in range(500):
            if answers:
                break
            await asyncio.sleep(0.02)
        assert b"PARTITIONS" in answers[0]
        assert b'"id":7' in answers[0]


async def test_two_projects_on_one_divided_stream_do_not_meet() -> None:
    async with Fleet() as fleet, AsyncExitStack() as stack:
        client = await fleet.connect(rpc_timeout=30)
        await fleet.join()
        broker = await fleet._connect_broker("other", stack)
        await stack.enter_async_context(
            Replica.open(
                app.definition,
                Scope("other", "project"),
                broker,
                clock=fleet.clock,
                limits=Limits(),
                process_name="other",
                partitions=PARTITIONS,
                lease_s=LEASE_S,
                storage="file",
            )
        )
        assert await call_all(client, "one") == [1] * len(NAMES)


async def test_a_replica_that_was_cut_off_gives_up_what_others_took_and_shares_again() -> None:
    async with Fleet() as fleet:
        if fleet.memory is None:
            pytest.skip("a cut needs a proxy on NATS; the chaos run has one")
        client = await fleet.connect(rpc_timeout=60)
        first = await fleet.join()
        await fleet.join()
        await fleet.until(3, 3)
        broker = first._broker
        assert isinstance(broker, MemoryBroker)
        fleet.memory.cut(broker, 5.0)
        calls = asyncio.create_task(call_all(client, "meanwhile"))
        await asyncio.sleep(2)
        assert await calls == [1] * len(NAMES)
        await asyncio.sleep(5)
        await fleet.until(3, 3)
        assert await call_all(client, "again") == [2] * len(NAMES)
