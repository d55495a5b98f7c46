"""Sessions that an actor has parted with, the gateway's side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.gateway.conftest import SCOPE, Client, World
from zocket.broker.port import Message
from zocket.ids import Scope
from zocket.protocol import envelopes, subjects
from zocket.protocol.edge import KICKED_CODE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Open = Callable[..., AbstractAsyncContextManager[World]]

KICKED: dict[str, Any] = {"type": "error", "code": "kicked", "message": "be nice", "actor": "room", "actorId": "a"}
SNAPSHOT: dict[str, Any] = {"type": "state:snapshot", "actor": "room", "actorId": "a", "state": {}}


async def dismiss(w: World, *clients: Client, scope: Scope = SCOPE) -> None:
    """A kick that closes, as a runtime of the scope sends it."""
    listed = envelopes.session_list([client.session_id for client in clients])
    entry = envelopes.delivery(listed, envelopes.encode(KICKED), close=True)
    payload = envelopes.batch(envelopes.encode(envelopes.wire_scope(scope)), [entry])
    w.server.connect().send([Message(subjects.gateway(scope, w.gateway.gateway_id), payload)])
    await w.settle()


async def test_a_dismissed_session_is_told_closed_and_not_served_any_more(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e1")
        client = w.client()
        client.taken()
        await dismiss(w, client)
        assert client.taken() == [KICKED]
        assert client.closed == (KICKED_CODE, "kicked")
        client.calls(1)
        await w.settle()
        assert runtime.requests == []


async def test_only_one_session_at_a_time_and_none_of_another_project_is_closed(world: Open) -> None:
    async with world() as w:
        one, two = w.client(), w.client()
        await dismiss(w, one, scope=Scope("rival", "chat"))
        await dismiss(w, one, two)
        assert [one.closed, two.closed] == [None, None]


@pytest.mark.parametrize("code", ["kicked", "unavailable"])
async def test_of_a_kicked_session_nothing_is_asked_for_again(world: Open, code: str) -> None:
    """Neither of a new runtime, nor for the snapshots that a slow reader is owed."""
    async with world() as w:
        runtime = await w.runtime("room", epoch="e1")
        client = w.client()
        client.subscribes()
        client.subscribes(kind="event:sub")
        client.subscribes(actor_id="b")
        await w.settle()
        client.session.fell_behind()
        problem = envelopes.encode({**KICKED, "code": code})
        runtime.batches(w.gateway, ([client], envelopes.encode(SNAPSHOT)), ([client], problem), epoch="e1")
        await w.settle()
        runtime.requests.clear()
        client.session.caught_up()
        runtime.announce("e2", "room")
        await w.settle()
        again = sorted(f"{item['message']['type']} {item['message']['actorId']}" for item in runtime.requests)
        if code == "kicked":
            assert again == ["state:sub b"]
        else:
            assert again == ["event:sub a", "state:sub a", "state:sub a", "state:sub b"]
