"""What befalls streams, consumers and buckets of a real server while calls run, and what callers see of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.nats.conftest import SCOPE, Kit
from tests.integration.nats.test_cluster import Kept, Lines, Load, Quick
from zocket import Actor, App, ZocketError, method
from zocket.broker.port import StreamSpec
from zocket.broker.server import NatsServer
from zocket.errors import Superseded
from zocket.protocol import subjects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zocket.broker.nats import NatsBroker

pytestmark = pytest.mark.nats


class Slow(Actor[Lines]):
    @method
    async def add(self, line: str, seconds: float) -> int:
        self.state.lines.append(line)
        await asyncio.sleep(seconds)
        return len(self.state.lines)

    @method
    async def all(self) -> list[str]:
        return self.state.lines


app = App(actors={"kept": Kept, "quick": Quick, "slow": Slow})
STATE_STREAM = f"KV_{subjects.state_bucket(SCOPE)}"


@pytest.fixture
def server() -> Iterator[NatsServer]:
    made = NatsServer()
    asyncio.run(made.start())
    yield made
    asyncio.run(made.aclose())


@pytest.fixture
def quick_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.broker.nats.IDLE_HEARTBEAT_S", 0.3)
    monkeypatch.setattr("zocket.broker.deliveries.LOST_AFTER_S", 1.5)


async def platform(server: NatsServer) -> tuple[Kit, NatsBroker]:
    kit = Kit(server.url)
    await kit.start_gateway(await kit.broker("gateway"))
    await kit.start_runtime(app, await kit.broker("runtime"))
    return kit, await kit.broker("operator")


async def api(operator: NatsBroker, verb: str, body: Any = None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        await operator.request(f"$JS.API.{verb}", b"" if body is None else json.dumps(body).encode(), 10.0)
    )
    assert "error" not in answer, answer
    return answer


async def limit(operator: NatsBroker, stream: str, max_bytes: int) -> None:
    """Makes a stream take nothing above so many bytes; -1 for no limit."""
    config = (await api(operator, f"STREAM.INFO.{stream}"))["config"]
    await api(operator, f"STREAM.UPDATE.{stream}", config | {"max_bytes": max_bytes, "discard": "new"})


async def code(call: Any) -> str:
    with pytest.raises(ZocketError) as refused:
        await call
    return str(refused.value.code)


async def served_again(actor: Kept | Quick, line: str, *codes: str) -> int:
    """Calls until one is served, as a caller does who tries again."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await actor.add(line=line)
            except ZocketError as error:
                if error.code not in codes:
                    raise
                await asyncio.sleep(0.05)


async def test_a_stream_that_is_deleted_while_running_is_made_again(server: NatsServer, quick_heartbeats: None) -> None:
    kit, operator = await platform(server)
    kept = (await kit.client()).actor(Kept, "one")
    assert await kept.add(line="before") == 1
    await api(operator, "STREAM.DELETE.INBOUND")
    assert await served_again(kept, "after", "unavailable") == 2
    assert await kept.all() == ["before", "after"]


async def test_a_consumer_that_is_deleted_while_running_is_taken_again_and_nothing_is_lost(
    server: NatsServer, quick_heartbeats: None
) -> None:
    kit, operator = await platform(server)
    client = await kit.client(rpc_timeout=60)
    kept = client.actor(Kept, "one")
    assert await kept.add(line="before") == 1
    await operator.delete_consumer("INBOUND", subjects.consumer(SCOPE, "kept"))
    calls = [asyncio.create_task(kept.add(line=f"{number}")) for number in range(5)]
    assert await asyncio.gather(*calls) == [2, 3, 4, 5, 6]
    assert await kept.all() == ["before", "0", "1", "2", "3", "4"]


async def test_a_full_stream_is_overloaded_and_service_goes_on_when_there_is_room(server: NatsServer) -> None:
    kit, operator = await platform(server)
    kept = (await kit.client()).actor(Kept, "one")
    assert await kept.add(line="before") == 1
    await limit(operator, "INBOUND", 1)
    assert await code(kept.add(line="lost")) == "overloaded"
    await limit(operator, "INBOUND", -1)
    assert await kept.add(line="after") == 2
    assert await kept.all() == ["before", "after"]


async def test_a_full_bucket_of_state_is_overloaded_and_service_goes_on_when_there_is_room(server: NatsServer) -> None:
    kit, operator = await platform(server)
    client = await kit.client()
    kept, other = client.actor(Kept, "one"), client.actor(Kept, "other")
    assert await kept.add(line="before") == 1
    used = (await api(operator, f"STREAM.INFO.{STATE_STREAM}"))["state"]["bytes"]
    await limit(operator, STATE_STREAM, used + 200)
    assert await code(kept.add(line="x" * 1000)) == "overloaded"
    assert await code(other.add(line="x")) == "overloaded"
    assert await kept.all() == ["before"], "what is stored can be read"
    assert await client.actor(Quick, "one").add(line="x") == 1, "others go on"
    await limit(operator, STATE_STREAM, -1)
    assert await kept.add(line="after") == 2
    assert await served_again(other, "y", "overloaded") == 1  # it says so for a second


async def test_a_message_over_its_age_while_it_is_processed_is_answered_and_runs_once(server: NatsServer) -> None:
    kit = Kit(server.url)
    operator = await kit.broker("operator")
    await operator.ensure_stream(StreamSpec("INBOUND", (subjects.INBOUND_SUBJECTS,), "workqueue", 1.0, "file"))
    await kit.start_gateway(await kit.broker("gateway"))
    await kit.start_runtime(app, await kit.broker("runtime"), ack_wait_s=0.5)
    slow = (await kit.client()).actor(Slow, "one")
    call = asyncio.create_task(slow.add(line="long", seconds=3.0))
    await until_gone(operator)
    assert not call.done()
    assert await call == 1
    assert await slow.add(line="next", seconds=0.0) == 2
    assert await slow.all() == ["long", "next"]


async def until_gone(operator: NatsBroker) -> None:
    """The stream has held a message and holds none any more."""
    async with asyncio.timeout(30):
        while True:
            state = (await api(operator, "STREAM.INFO.INBOUND"))["state"]
            if state["last_seq"] and not state["messages"]:
                return
            await asyncio.sleep(0.02)


async def test_r18_runtimes_that_take_over_in_turns_lose_and_double_nothing(server: NatsServer) -> None:
    kit = Kit(server.url)
    await kit.start_gateway(await kit.broker("gateway"))
    brokers = [await kit.broker("even"), await kit.broker("odd")]
    runtime = await kit.start_runtime(app, brokers[0])
    load = Load(await kit.client(rpc_timeout=60), Kept)
    for turn in range(1, 6):
        await load.more(10)
        former, runtime = runtime, await kit.start_runtime(app, brokers[turn % 2])
        with pytest.raises(Superseded):
            await former.wait_stopped()
    await load.more(10)
    await load.stop()
    lines = await load.actor.all()
    assert load.refused == {}
    assert {line: lines.index(line) + 1 for line in load.answered} == load.answered
    assert len(lines) == len(load.answered)
