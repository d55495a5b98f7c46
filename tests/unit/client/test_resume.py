"""What a client shows to go on with its session, and when it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from zocket.errors import Disconnected
from zocket.protocol import frames
from zocket.protocol.client_session import Instance
from zocket.protocol.edge import KICKED_CODE

if TYPE_CHECKING:
    from tests.unit.client.conftest import World

CHAT = Instance("chat", "general")


async def test_the_next_connection_shows_what_the_last_welcome_gave(world: World) -> None:
    async with await world.client().open() as client:
        assert world.transport.resumes == [""]
        world.server.tell(frames.welcome("s_1", resume="one"))
        world.server.tell(frames.welcome("s_1", resume="two"))
        world.server.drop()
        await world.clock.advance(0.25)
        assert world.transport.resumes == ["", "two"]
        world.server.drop()  # before it was welcomed: the server may not have heard of this connection
        await world.clock.advance(1)
        assert world.transport.resumes == ["", "two", "two"]
        world.server.tell(frames.welcome("s_1", resume="three"))
        assert client.id == "s_1"
        world.server.tell(frames.welcome("s_2"))
        world.server.drop()
        await world.clock.advance(1)
        assert world.transport.resumes[-1] == ""


async def test_what_resumes_is_in_no_text_about_the_client(world: World) -> None:
    async with await world.client().open() as client:
        world.server.tell(frames.welcome("s_1", resume="a secret"))
        assert "secret" not in repr(client) + str(vars(client))


async def test_a_client_whose_session_went_on_elsewhere_stays_closed(world: World) -> None:
    client = await world.client().open()
    world.server.tell(frames.welcome("s_1", resume="one"))
    world.server.tell(frames.replaced())
    world.server.drop(KICKED_CODE, "replaced")
    assert world.status_of(client) == "closed"
    with pytest.raises(Disconnected, match="4403: replaced"):
        await client.invoke(CHAT, "post", None)
    await world.clock.advance(60)
    assert world.transport.attempts == 1


async def test_a_server_of_another_kind_may_send_anything(world: World) -> None:
    async with await world.client().open():
        world.server.tell(b'{"type":"welcome","clientId":"s_1","resume":["x"]}')
        world.server.drop()
        await world.clock.advance(0.25)
        assert world.transport.resumes == ["", ""]
