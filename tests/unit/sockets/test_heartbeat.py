"""When a quiet client is pinged, and when it is given up; no loop, the test does the ticking."""

from __future__ import annotations

import asyncio
from typing import Any

from zocket.sockets.heartbeat import Heartbeat
from zocket.sockets.limits import Counts, SocketLimits
from zocket.sockets.peer import OPEN, SocketPeer, Sockets


class FakeTransport:
    aborted = False

    def write(self, octets: bytes) -> None:
        raise AssertionError

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.aborted = True


class FakeWire:
    pings = 0

    def send_ping(self) -> None:
        self.pings += 1


def open_peer(limits: SocketLimits) -> tuple[Any, FakeTransport, FakeWire]:
    sockets = Sockets(limits, Counts())
    heartbeat = Heartbeat(sockets)
    heartbeat.cancel()
    transport, wire = FakeTransport(), FakeWire()
    transport_: Any = transport
    peer: Any = SocketPeer(sockets, transport_, "remote")
    peer._state = OPEN
    peer._ws = wire
    return peer, transport, wire


def test_a_quiet_client_is_pinged_once_and_then_cut() -> None:
    async def body() -> None:
        peer, transport, wire = open_peer(SocketLimits(ping_idle_s=30, pong_timeout_s=20))
        peer.beat()  # it was active since it was opened
        ticks = 0
        while not transport.aborted:
            peer.beat()
            ticks += 1
            if wire.pings == 0:
                assert ticks * 4 < 30 + 4
            assert wire.pings <= 1
        assert wire.pings == 1
        assert 50 <= ticks * 4 <= 52

    asyncio.run(body())


def test_any_sign_of_life_starts_the_time_anew() -> None:
    async def body() -> None:
        peer, transport, wire = open_peer(SocketLimits(ping_idle_s=30, pong_timeout_s=20))
        for _ in range(200):
            peer.beat()
            peer.beat()
            peer._active = True
        assert wire.pings == 0
        assert not transport.aborted

    asyncio.run(body())


def test_without_an_idle_time_nobody_is_looked_at() -> None:
    async def body() -> None:
        sockets = Sockets(SocketLimits(ping_idle_s=0), Counts())
        heartbeat = Heartbeat(sockets)
        assert heartbeat._timer is None
        heartbeat.cancel()

    asyncio.run(body())
