"""One ASGI socket's frames: without a wake-up where `send` does not wait, in its own task and order where it does."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from zocket.server.asgi_peer import AsgiPeer, Outbound
from zocket.sockets.backlog import Backlog
from zocket.sockets.limits import SocketLimits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

whose: ContextVar[str] = ContextVar("whose", default="nobody")


class Wire:
    """An ASGI server's `send` that takes a frame at once, or waits while it is blocked."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.tasks: set[asyncio.Task[Any] | None] = set()
        self.contexts: set[str] = set()
        self.open = asyncio.Event()
        self.open.set()
        self.cancelled = 0

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self.tasks.add(asyncio.current_task())
        self.contexts.add(whose.get())
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.tasks.add(asyncio.current_task())
        self.taken.append(message.get("text") or str(message["code"]))


def peer_on(send: Callable[[MutableMapping[str, Any]], Awaitable[None]], outbound: Outbound | None = None) -> AsgiPeer:
    limits = SocketLimits()
    return AsgiPeer(send, limits, Backlog(limits), outbound or Outbound())


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_the_sockets_of_a_turn_are_served_in_one_callback_each_in_its_own_task_and_context() -> None:
    outbound, wires = Outbound(), [Wire(), Wire()]
    peers = []
    for name, wire in zip(("a", "b"), wires, strict=True):
        whose.set(name)
        peers.append(peer_on(wire.send, outbound))
    whose.set("somebody else")
    for peer in peers:
        peer.send(b"1")
        peer.send(b"2")
    assert [wire.taken for wire in wires] == [[], []], "sending never writes"
    await asyncio.sleep(0)
    assert [wire.taken for wire in wires] == [["1", "2"], ["1", "2"]]
    assert [wire.contexts for wire in wires] == [{"a"}, {"b"}]
    tasks = [next(iter(wire.tasks)) for wire in wires]
    assert tasks[0] is not tasks[1]
    assert asyncio.current_task() not in tasks
    for peer in peers:
        await peer.aclose()


async def test_what_is_planned_before_the_frames_takes_them_along() -> None:
    wire, outbound = Wire(), Outbound()
    peer = peer_on(wire.send, outbound)
    asyncio.get_running_loop().call_soon(peer.send, b"1")
    outbound.plan()
    await asyncio.sleep(0)
    assert wire.taken == ["1"]
    await peer.aclose()


async def test_a_send_that_waits_goes_on_in_the_sockets_task_and_the_rest_follows_in_order() -> None:
    wire = Wire()
    peer = peer_on(wire.send)
    peer.send(b"0")
    await turns()
    wire.open.clear()
    peer.send(b"1")
    peer.send(b"2")
    await turns()
    peer.send(b"3")
    await turns()
    assert wire.taken == ["0"]
    assert peer.unsent_bytes() == 3
    wire.open.set()
    await turns()
    peer.send(b"4")
    await turns()
    assert wire.taken == ["0", "1", "2", "3", "4"]
    assert peer.unsent_bytes() == 0
    assert len(wire.tasks) == 1
    await peer.aclose()


async def test_a_send_may_have_a_time_limit_of_its_own() -> None:
    stuck, wire = asyncio.Event(), Wire()

    async def send(message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(3):
                await stuck.wait()
        except TimeoutError:
            await wire.send(message)

    peer = peer_on(send)
    peer.send(b"1")
    peer.send(b"2")
    await asyncio.sleep(10)
    assert wire.taken == ["1", "2"]
    await peer.aclose()


async def test_what_is_no_coroutine_is_awaited_too() -> None:
    futures: list[asyncio.Future[None]] = []

    def send(message: MutableMapping[str, Any]) -> asyncio.Future[None]:
        futures.append(asyncio.get_running_loop().create_future())
        return futures[-1]

    peer = peer_on(send)
    peer.send(b"1")
    peer.send(b"2")
    await turns()
    assert len(futures) == 1
    futures[0].set_result(None)
    await turns()
    assert len(futures) == 2
    await peer.aclose()


@pytest.mark.parametrize("waits", [False, True])
async def test_a_send_that_fails_ends_its_socket_and_no_other(waits: bool) -> None:
    async def send(message: MutableMapping[str, Any]) -> None:
        if waits:
            await asyncio.sleep(0)
        raise RuntimeError("the client is gone")

    outbound, wire = Outbound(), Wire()
    broken, other = peer_on(send, outbound), peer_on(wire.send, outbound)
    for _ in range(2):
        broken.send(b"1")
        other.send(b"1")
        await turns()
    assert wire.taken == ["1", "1"]
    await broken.aclose()
    await other.aclose()


async def test_closing_sends_what_waits_first() -> None:
    wire = Wire()
    peer = peer_on(wire.send)
    peer.send(b"1")
    peer.close(1001, "server stops")
    peer.send(b"2")
    await turns()
    assert wire.taken == ["1", "1001"]
    await peer.aclose()


async def test_the_end_of_a_socket_cancels_the_send_that_waits() -> None:
    wire = Wire()
    peer = peer_on(wire.send)
    wire.open.clear()
    peer.send(b"1")
    await turns()
    await peer.aclose()
    assert wire.cancelled == 1
