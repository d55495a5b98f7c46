"""NATS users with the permissions that we print: everything works for the owner, nothing for a neighbour."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.nats.conftest import SCOPE, Kit, until
from tests.integration.nats.test_cluster import Kept, app
from zocket.broker.access import open_broker
from zocket.broker.credentials import Credentials
from zocket.broker.permissions import Permissions, gateway_permissions, runtime_permissions
from zocket.broker.server import NatsServer
from zocket.broker.streams import inbound_stream
from zocket.errors import Unavailable
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.settings import NatsAccess, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zocket.broker.nats import NatsBroker

pytestmark = pytest.mark.nats

HOSTILE = Scope("ws", "hostile")
USERS = [
    gateway_permissions(),
    runtime_permissions(SCOPE, app.definition.actors),
    runtime_permissions(HOSTILE, ["kept"]),
]
GATEWAY, RUNTIME, NEIGHBOUR = USERS


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    blocks = "".join(user.user_block('"secret"') for user in USERS)
    made = NatsServer(config=f"authorization {{ users: [ {{ user: operator, password: secret }}\n{blocks} ] }}")
    asyncio.run(made.start())
    yield made
    asyncio.run(made.aclose())


def credentials(user: Permissions) -> Credentials:
    return Credentials(user=user.user, password="secret", inbox_prefix=user.inbox_prefix)


async def as_operator(kit: Kit, server: NatsServer) -> NatsBroker:
    """What `zocket nats provision` makes, made."""
    operator = await kit.broker("operator", server.url.replace("//", "//operator:secret@"))
    for scope in (SCOPE, HOSTILE):
        for bucket in (subjects.owner_bucket(scope), subjects.state_bucket(scope), subjects.reminder_bucket(scope)):
            await operator.ensure_bucket(bucket)
    return operator


async def test_with_its_own_user_each_process_does_all_its_work(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    kit = Kit(server.url)
    await as_operator(kit, server)
    await kit.start_gateway(await kit.broker("gateway", credentials=credentials(GATEWAY)))
    client = await kit.client()
    kept = client.actor(Kept, "one")
    states = client.state(kept)
    async with kit.runtime(app, await kit.broker("first", credentials=credentials(RUNTIME))):
        assert await kept.add(line="a") == 1
    async with kit.runtime(app, await kit.broker("second", credentials=credentials(RUNTIME))) as second:
        assert await kept.add(line="b") == 2
        third = await kit.start_runtime(app, await kit.broker("third", credentials=credentials(RUNTIME)))
        assert await kept.add(line="c") == 3
        await until(lambda: not second.serving, "the second one stands down")
        assert third.serving
        await kept.add_later(line="d")
        async with asyncio.timeout(30):
            async for state in states:
                if state.lines == ["a", "b", "c", "d"]:
                    break
        assert not third._missing
        assert [number async for number in kept.count(to=200)][-1] == 200
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(kept.wait(), 0.1)
        assert await kept.add(line="e") == 5
    assert "permissions violation" not in caplog.text


async def test_without_its_buckets_a_runtime_says_what_it_may_not_make() -> None:
    user = runtime_permissions(SCOPE, ["kept"])
    config = f"authorization {{ users: [ {user.user_block(chr(34) + 'secret' + chr(34))} ] }}"
    async with NatsServer(config=config) as server:
        kit = Kit(server.url)
        with pytest.raises(Unavailable, match=r"INBOUND cannot be created.*may not publish to \$JS.API.STREAM.CREATE"):
            await kit.start_runtime(app, await kit.broker("runtime", credentials=credentials(user)))


class Attack:
    """A runtime of another project with its own user, and the raw connection that it has."""

    def __init__(self, broker: NatsBroker) -> None:
        self.broker = broker

    async def refused(self, subject: str, body: Any = None) -> None:
        """The server lets this request reach nobody."""
        with pytest.raises(Unavailable, match="may not publish"):
            await self.broker.request(subject, json.dumps(body or {}).encode(), 10.0)

    async def api_error(self, verb: str, body: Any) -> int:
        answer = json.loads(await self.broker.request(f"$JS.API.{verb}", json.dumps(body).encode(), 10.0))
        return int(answer["error"]["err_code"])

    async def deaf(self, subject: str) -> None:
        with pytest.raises(Unavailable, match="may not subscribe"):
            await self.broker.subscribe(subject, lambda _: None)


async def test_a_hostile_runtime_reaches_nothing_of_another_project(server: NatsServer) -> None:
    kit = Kit(server.url)
    operator = await as_operator(kit, server)
    gateway = await kit.broker("gateway", credentials=credentials(GATEWAY))
    await kit.start_gateway(gateway)
    await kit.start_runtime(app, await kit.broker("runtime", credentials=credentials(RUNTIME)))
    client = await kit.client()
    kept = client.actor(Kept, "victim")
    assert await kept.add(line="a") == 1
    owner, state, alarms = subjects.owner_bucket(SCOPE), subjects.state_bucket(SCOPE), subjects.reminder_bucket(SCOPE)
    before = [await operator.get(owner, subjects.owner_key(SCOPE)), await operator.get(state, "kept.victim")]
    assert None not in before
    attack = Attack(await kit.broker("hostile", credentials=credentials(NEIGHBOUR)))

    await read_requests(attack)
    for subject in (
        subjects.outbound(SCOPE, "s_1"),
        subjects.gateway(SCOPE, "g_1"),
        subjects.announcement(SCOPE),
        subjects.disconnected(SCOPE),
        subjects.inbound(SCOPE, "kept", "victim"),
        f"$KV.{owner}.{subjects.owner_key(SCOPE)}",
        f"$KV.{state}.kept.victim",
        f"$KV.{alarms}.kept.victim",
        f"$KV.{owner}.{subjects.owner_key(HOSTILE)}",
        f"$JS.ACK.INBOUND.{subjects.consumer(SCOPE, 'kept')}.1.1.1.1.0",
    ):
        await attack.refused(subject)
    for bucket in (owner, state, alarms):
        await attack.refused(f"$JS.API.STREAM.MSG.GET.KV_{bucket}", {"seq": 1})
        await attack.refused(f"$JS.API.DIRECT.GET.KV_{bucket}", {"seq": 1})
        await attack.refused(f"$JS.API.STREAM.INFO.KV_{bucket}", {"subjects_filter": ">"})
        await attack.refused(f"$JS.API.CONSUMER.CREATE.KV_{bucket}", {})
    for name in ("INBOUND", f"KV_{state}", "NEW"):
        for verb in ("PURGE", "DELETE", "UPDATE", "CREATE", "MSG.GET", "MSG.DELETE", "SNAPSHOT"):
            await attack.refused(f"$JS.API.STREAM.{verb}.{name}", {"mirror": {"name": f"KV_{state}"}})
    for subject in (
        ">",
        "inbound.>",
        "outbound.>",
        "gateway.>",
        "_INBOX.>",
        f"{RUNTIME.inbox_prefix}.>",
        f"{GATEWAY.inbox_prefix}.>",
        "_INBOX_runtime.>",
        subjects.announcement(SCOPE),
        "$KV.>",
        "$JS.>",
    ):
        await attack.deaf(subject)

    assert before == [await operator.get(owner, subjects.owner_key(SCOPE)), await operator.get(state, "kept.victim")]
    assert await kept.add(line="b") == 2


async def read_requests(attack: Attack) -> None:
    """Every form of the call that makes a consumer, for the neighbour's requests; and the neighbour's own consumer."""
    theirs = subjects.inbound_filter(SCOPE, "kept")
    ours, name = subjects.inbound_filter(HOSTILE, "kept"), subjects.consumer(HOSTILE, "kept")
    victim = subjects.consumer(SCOPE, "kept")
    create, inbox = "CONSUMER.CREATE.INBOUND", f"{NEIGHBOUR.inbox_prefix}.x"

    def body(consumer: str, **config: Any) -> dict[str, Any]:
        fixed = {"name": consumer, "durable_name": consumer, "deliver_subject": inbox, "ack_policy": "explicit"}
        return {"stream_name": "INBOUND", "config": fixed | config}

    await attack.refused(f"$JS.API.{create}.{name}.{theirs}", body(name, filter_subject=theirs))
    await attack.refused(f"$JS.API.{create}.{name}.>", body(name, filter_subject=">"))
    await attack.refused(f"$JS.API.{create}.{name}", body(name, filter_subject=theirs))
    await attack.refused(f"$JS.API.{create}", body(name, filter_subject=theirs))
    await attack.refused(f"$JS.API.{create}.{victim}.{ours}", body(victim, filter_subject=ours))
    await attack.refused(f"$JS.API.CONSUMER.DURABLE.CREATE.INBOUND.{name}", body(name, filter_subject=theirs))
    await attack.refused(f"$JS.API.CONSUMER.MSG.NEXT.INBOUND.{victim}")
    await attack.refused(f"$JS.API.CONSUMER.DELETE.INBOUND.{victim}")
    await attack.refused("$JS.API.CONSUMER.NAMES.INBOUND")
    permitted = f"{create}.{name}.{ours}"
    assert await attack.api_error(permitted, body(name, filter_subject=theirs)) == 10131, "the body must agree"
    assert await attack.api_error(permitted, body(name, filter_subjects=[theirs])) == 10137
    assert await attack.api_error(permitted, body(victim, filter_subject=ours)) != 0


async def test_the_variables_that_are_printed_are_those_of_the_user(server: NatsServer) -> None:
    environment = GATEWAY.environment() | {"NATS_PASSWORD": "secret"}
    broker = await open_broker(server.url, read(NatsAccess, environment), name="gateway")
    try:
        await broker.ensure_stream(inbound_stream("file"))  # needs the inbox for its answer
        with pytest.raises(Unavailable, match="may not publish"):
            await broker.stream_info("ELSE")
    finally:
        await broker.aclose()
