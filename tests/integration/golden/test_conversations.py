"""Golden conversations: existing clients, gateways and runtimes, each with our side of the same recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nats
import pytest

from tests.integration.golden.__main__ import recorded
from tests.integration.golden.brokers import our_gateway, our_runtime
from tests.integration.golden.contract import Contract, read_additions
from tests.integration.golden.conversation import Conversation, Mismatch, path_of
from tests.integration.golden.player import replay
from tests.integration.golden.scripts import SCRIPTS
from tests.integration.golden.servers import Place, asgi, sockets, standalone, whole_chain

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from nats.aio.msg import Msg

    from tests.integration.golden.player import Stage
    from zocket.ids import Scope

every = pytest.mark.parametrize("name", sorted(SCRIPTS))


def conversation(name: str) -> Conversation:
    return Conversation.read(name)


@every
async def test_our_halves_hold_the_recorded_conversation(name: str) -> None:
    again = (await recorded(name)).text()
    assert again == path_of(name).read_text(), "record it anew (python -m tests.integration.golden) and review the diff"


@every
@pytest.mark.parametrize("opened", [standalone, asgi], ids=["standalone", "asgi"])
async def test_an_existing_client_with_our_server(
    name: str, opened: Callable[[], AbstractAsyncContextManager[Stage]]
) -> None:
    async with opened() as stage:
        await replay(conversation(name), stage)


@pytest.mark.realtime
async def test_an_existing_client_with_our_server_over_websockets() -> None:
    for name in sorted(SCRIPTS):
        async with sockets() as stage:
            await replay(conversation(name), stage)


@pytest.mark.each_broker
@every
async def test_an_existing_client_with_our_gateway_and_runtime(name: str, place: Place, scope: Scope) -> None:
    async with whole_chain(place, scope) as stage:
        await replay(conversation(name), stage)


@pytest.mark.each_broker
@every
async def test_an_existing_gateway_with_our_runtime(name: str, place: Place, scope: Scope) -> None:
    async with our_runtime(place, scope) as stage:
        await replay(conversation(name), stage)


@pytest.mark.each_broker
@every
async def test_an_existing_runtime_with_our_gateway(name: str, place: Place, scope: Scope) -> None:
    async with our_gateway(place, scope) as stage:
        await replay(conversation(name), stage)


def changed(name: str, number: int, **changes: Any) -> Conversation:
    """A recording in which one message of ours has other fields."""
    lines = conversation(name).lines
    lines[number] = {**lines[number], **changes}
    return Conversation(name, lines)


async def test_a_server_that_says_something_else_or_less_or_more_is_found_out() -> None:
    recorded = conversation("unknown-actor")
    answer = next(
        number for number, line in enumerate(recorded.lines) if line.get("frame", {}).get("type") == "rpc:result"
    )
    frame = recorded.lines[answer]["frame"]
    for wrong in (frame | {"error": "Unknown actor: somebody"}, frame | {"later": 1}, {**frame, "id": 1}):
        async with standalone() as stage:
            with pytest.raises(Mismatch):
                await replay(changed("unknown-actor", answer, frame=wrong), stage)
    async with standalone() as stage:
        with pytest.raises(AssertionError, match="said besides"):
            await replay(Conversation("less", recorded.lines[:answer]), stage)
    async with standalone() as stage:
        stage.contract = Contract([item for item in stage.contract.additions if item.name != "requestId"])
        with pytest.raises(AssertionError, match="unknown field 'requestId'"):
            await replay(recorded, stage)


@pytest.mark.nats
@pytest.mark.parametrize(
    ("opened", "fronts"),
    [(our_gateway, ("inbound", "session")), (our_runtime, ("outbound",))],
    ids=["gateway", "runtime"],
)
async def test_messages_of_ours_have_no_header_that_is_no_addition(
    opened: Callable[[Place, Scope], AbstractAsyncContextManager[Stage]],
    fronts: tuple[str, ...],
    nats_url: str,
    scope: Scope,
) -> None:
    connection = await nats.connect(nats_url)
    found: dict[str, set[str]] = {front: set() for front in fronts}

    async def heard(message: Msg) -> None:
        front = message.subject.split(".")[0]
        if scope.project_id in message.subject and not message.reply.startswith("$JS.ACK."):
            found.setdefault(front, set()).update(name.lower() for name in message.headers or {})

    await connection.subscribe(">", cb=heard)
    await connection.flush()
    async with opened(Place(nats_url), scope) as stage:
        await replay(conversation("state"), stage)
        await connection.flush()
    await connection.close()
    for front in fronts:
        assert found[front] == set(Contract(read_additions()).added("header", front)), front
