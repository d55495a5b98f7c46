"""Tokens of a standalone server's sockets: their end, and another one before it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, Limits, method
from zocket.core import AppDefinition
from zocket.protocol.edge import EXPIRED_CODE
from zocket.server.local import Identity, LocalServer
from zocket.testing import VirtualClock
from zocket.testing.clock import EPOCH_S

if TYPE_CHECKING:
    from zocket.server.local import LocalSession


class Who(Actor[dict[str, Any]]):
    @method
    async def role(self) -> Any:
        return self.session.claims.get("role")

    @method
    async def later(self) -> Any:
        role = self.session.claims.get("role")
        await asyncio.sleep(1)
        return [role, self.session.claims.get("role")]


class Peer:
    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.closed: int | None = None

    def send(self, frame: bytes) -> None:
        self.frames.append(json.loads(frame))

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""


async def authorize(token: str | None) -> Identity | None:
    if token == "broken":
        raise RuntimeError("secret")
    if token in (None, "wrong"):
        return None
    user, _, role = str(token).partition(":")
    return Identity(user, {"role": role, "exp": EPOCH_S + 90})


GUEST = Identity("ada", {"role": "guest", "exp": EPOCH_S + 30})


def says(session: LocalSession, **frame: Any) -> None:
    session.received(json.dumps(frame).encode())


def calls(session: LocalSession, call_id: int, name: str = "role") -> None:
    says(session, type="rpc", id=call_id, actor="who", actorId="x", method=name)


async def test_the_socket_of_an_expired_token_is_closed_and_served_no_more() -> None:
    clock = VirtualClock()
    async with LocalServer.open(AppDefinition({"who": Who}), limits=Limits(), clock=clock) as server:
        peer, other = Peer(), Peer()
        session = server.open_session(peer, GUEST)
        server.open_session(other, Identity("bob", {"exp": "soon"}))
        named = {"features": ["rpc:cancel"], "expiresAt": 1_800_000_030_000}
        assert peer.frames == [{"type": "welcome", "clientId": session.edge.session_id, **named}]
        await clock.sleep(29)
        assert peer.closed is None
        await clock.sleep(2.5)
        assert [peer.closed, other.closed] == [EXPIRED_CODE, None]
        calls(session, 1)
        await clock.sleep(1)
        assert len(peer.frames) == 1


async def test_another_token_of_the_user_gives_new_claims_to_later_turns_and_a_later_end() -> None:
    clock = VirtualClock()
    definition = AppDefinition({"who": Who})
    async with LocalServer.open(definition, limits=Limits(), clock=clock, authorize=authorize) as server:
        peer = Peer()
        session = server.open_session(peer, GUEST)
        assert peer.frames[0]["features"] == ["rpc:cancel", "auth:refresh"]
        calls(session, 1, "later")
        await clock.sleep(0.1)
        says(session, type="auth:refresh", token="ada:admin")
        await clock.sleep(0.1)
        assert peer.frames[-1] == {"type": "auth:refreshed", "expiresAt": 1_800_000_090_000}
        calls(session, 2)
        await clock.sleep(2)
        assert [frame["result"] for frame in peer.frames[-2:]] == [["guest", "guest"], "admin"]
        await clock.sleep(60)
        assert peer.closed is None
        await clock.sleep(30)
        assert peer.closed == EXPIRED_CODE


@pytest.mark.parametrize(
    ("token", "code"), [("mallory:admin", "unauthorized"), ("wrong", "unauthorized"), ("broken", "internal")]
)
async def test_a_refused_token_changes_nothing(token: str, code: str) -> None:
    clock = VirtualClock()
    definition = AppDefinition({"who": Who})
    async with LocalServer.open(definition, limits=Limits(), clock=clock, authorize=authorize) as server:
        peer = Peer()
        session = server.open_session(peer, GUEST)
        says(session, type="auth:refresh", token=token)
        await clock.sleep(0.1)
        assert (peer.frames[-1]["type"], peer.frames[-1]["code"]) == ("error", code)
        assert "secret" not in str(peer.frames)
        calls(session, 1)
        await clock.sleep(0.1)
        assert peer.frames[-1]["result"] == "guest"
        await clock.sleep(31)
        assert peer.closed == EXPIRED_CODE
