"""A full server of ours with clients of old on its sockets: standalone, or gateway, broker and runtime.

Rules: a frame reaches its client in the call that sends it; what a client says leaves in the turn in which it says it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from tests.integration.golden.everything import app
from tests.integration.golden.oldclient import OldClient
from zocket.broker.port import Message
from zocket.gateway.session import Identity as GatewayIdentity
from zocket.protocol import subjects
from zocket.server.local import Identity, LocalServer
from zocket.settings import Limits
from zocket.sockets.refresh import expiry_of
from zocket.state import encode
from zocket.testing import TestApp, VirtualClock
from zocket.testing.app import SCOPE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from zocket.broker.port import Broker
    from zocket.ids import Scope
    from zocket.sockets.port import Peer
    from zocket.testing.clock import MovableClock

DEADLINE_S: Final = 60.0


class _Socket:
    """One socket, as a server of ours sees it: a `Peer`. Nothing passes it once it is closed."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self.open = True
        self.session: Any = None

    def send(self, frame: bytes) -> None:
        if self.open:
            self._seat.client.hears(frame)

    def close(self, code: int, reason: str = "") -> None:
        if self.open:
            self.open = False
            self._seat.client.closed_with = code
            asyncio.get_running_loop().call_soon(self.session.closed)

    def unsent_bytes(self) -> int:
        return self._seat.unsent

    def pause(self) -> None:
        """Reads on."""


class Seat:
    """A client of old and its present socket.

    Attributes:
        unsent: bytes that wait in the socket.
        session: the server's end.
    """

    def __init__(self, world: World, user_id: str, claims: dict[str, Any]) -> None:
        self.client = OldClient()
        self.user_id = user_id
        self.claims = claims
        self.unsent = 0
        self._world = world
        self._socket: _Socket

    @property
    def session(self) -> Any:
        return self._socket.session

    def connect(self) -> None:
        """Opens a socket, the first one or another one, and subscribes to what it was subscribed to."""
        frames = self.client.reopened()
        self._socket = _Socket(self)
        self._socket.session = self._world.open_session(self._socket, self.user_id, self.claims)
        for frame in frames:
            self.session.received(frame)

    def vanish(self) -> None:
        """The socket is gone without a goodbye."""
        self._socket.close(1006)

    def subscribe(self, kind: str, actor: str, actor_id: str) -> None:
        self.session.received(self.client.subscribe(kind, actor, actor_id))

    def say(self, **frame: Any) -> None:
        """A frame that no client of old says."""
        self.session.received(json.dumps(frame).encode())

    def begin(self, actor: str, method: str, actor_id: str = "a", **given: Any) -> int:
        """Makes a call and gives its id."""
        call_id, frame = self.client.call(actor, actor_id, method, **given)
        self.session.received(frame)
        return call_id

    async def call(self, actor: str, method: str, actor_id: str = "a", **given: Any) -> dict[str, Any]:
        """Makes a call and gives its answer."""
        return await self.answer(self.begin(actor, method, actor_id, **given))

    async def answer(self, call_id: int) -> dict[str, Any]:
        """Waits for the answer of a call."""
        answers = self.client.answers
        await self._world.until(lambda: call_id in answers or self.client.closed_with is not None, f"answer {call_id}")
        return answers.get(call_id, {"error": "the socket was closed"})


class World:
    """Whoever serves.

    Attributes:
        t: the kit of a chain; None for a standalone server.
    """

    def __init__(
        self, clock: MovableClock, open_session: Callable[[Peer, str, dict[str, Any]], Any], t: TestApp | None = None
    ) -> None:
        self.clock = clock
        self.open_session = open_session
        self.t = t
        self.seats: list[Seat] = []

    def seat(self, user_id: str, expires_in_s: float | None = None) -> Seat:
        """A client that is connected."""
        claims = {} if expires_in_s is None else {"exp": self.clock.wall() + expires_in_s}
        seat = Seat(self, user_id, claims)
        self.seats.append(seat)
        seat.connect()
        return seat

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Waits for a condition; the deadline is virtual where the loop is."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not condition():  # noqa: ASYNC110 — nothing tells when it becomes true
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise AssertionError(f"not within {DEADLINE_S:g} s: {what}") from None

    async def settle(self) -> None:
        """Waits until everything that was said has its consequences."""
        if self.t is not None:
            await self.t.settle()
        else:
            await asyncio.sleep(0.1)

    def check(self) -> None:
        """Nobody got what it could not bear."""
        for seat in self.seats:
            assert seat.client.unbearable == [], seat.client.unbearable[0]

    async def check_states(self) -> None:
        """Every subscriber that is connected has what the actor has, where no view and no guard is in between."""
        await self.settle()
        self.check()
        for seat in self.seats:
            for place in list(seat.client.replicas):
                if place[0] in ("box", "kept") and seat.client.closed_with is None:
                    whole = await seat.call(place[0], "whole", place[1])
                    assert seat.client.replicas[place].standard == whole.get("result"), place
        self.check()


@asynccontextmanager
async def standalone_world(directory: Path, **limits: Any) -> AsyncIterator[World]:
    """A standalone server, on virtual time."""
    clock = VirtualClock()
    state_file = str(directory / "state.db")
    async with LocalServer.open(
        app.definition, limits=Limits(**limits), clock=clock, state_file=state_file, drain_timeout_s=0.1
    ) as server:
        yield World(clock, lambda peer, user_id, claims: server.open_session(peer, Identity(user_id, claims)))


@asynccontextmanager
async def chain_world(**limits: Any) -> AsyncIterator[World]:
    """Gateway, broker and runtime: the test kit on the broker of the test."""
    async with TestApp(app, limits=Limits(**limits)) as t:
        assert t.gateway is not None
        gateway = t.gateway

        async def renewed(token: str) -> GatewayIdentity:
            return GatewayIdentity(SCOPE, token, encode({"sub": token}))

        def open_session(peer: Peer, user_id: str, claims: dict[str, Any]) -> Any:
            identity = GatewayIdentity(SCOPE, user_id, encode(claims), expiry_of(claims))
            return gateway.open_session(peer, identity, renewed)

        yield World(t.clock, open_session, t)
        t.failures.clear()


class ExistingGateway:
    """A gateway that knows the contract alone: every frame that names an instance goes out, every answer goes in.

    It announces nothing, sends no `welcome` of its own, subscribes nobody again, and closes no socket.
    """

    def __init__(self, broker: Broker, scope: Scope) -> None:
        self._broker = broker
        self._scope = scope
        self._wire_scope = {"workspaceId": scope.workspace_id, "projectId": scope.project_id}
        self._peers: dict[str, Peer] = {}
        self._number = 0

    async def listen(self) -> None:
        """Hears what runtimes say to its sessions."""
        await self._broker.subscribe(subjects.ANY_SESSION, self._heard)

    def _heard(self, messages: list[Message]) -> None:
        for message in messages:
            envelope = json.loads(message.payload)
            peer = self._peers.get(envelope["sessionId"])
            if peer is not None:
                peer.send(json.dumps(envelope["message"]).encode())

    def open_session(self, peer: Peer, user_id: str, claims: dict[str, Any]) -> ExistingSession:
        """The session of a socket."""
        self._number += 1
        session_id = f"existing-{self._number}"
        self._peers[session_id] = peer
        identity = {"scope": self._wire_scope, "sessionId": session_id, "userId": user_id, "claims": claims}
        return ExistingSession(self, identity)

    def publish(self, envelope: dict[str, Any]) -> None:
        """A request; its subject has the raw id of the instance."""
        frame = envelope["message"]
        subject = f"{subjects.inbound_prefix(self._scope)}{frame['actor']}.{frame['actorId']}"
        self._number += 1
        self._broker.publish(subject, json.dumps(envelope).encode(), f"existing:{self._number}", lambda _: None)

    def ended(self, identity: dict[str, Any]) -> None:
        """A socket is gone."""
        del self._peers[identity["sessionId"]]
        notice = {"scope": self._wire_scope, "sessionId": identity["sessionId"], "disconnectedAt": 1_700_000_000_000}
        self._broker.send([Message(subjects.disconnected(self._scope), json.dumps(notice).encode())])


class ExistingSession:
    """One client of an `ExistingGateway`: what a `Seat` needs of a session."""

    def __init__(self, gateway: ExistingGateway, identity: dict[str, Any]) -> None:
        self._gateway = gateway
        self._identity = identity

    def received(self, frame: bytes) -> None:
        """The client says something."""
        message = json.loads(frame)
        if "actor" in message:
            self._gateway.publish({**self._identity, "message": message})

    def closed(self) -> None:
        """The client is gone."""
        self._gateway.ended(self._identity)


@asynccontextmanager
async def existing_gateway_world() -> AsyncIterator[World]:
    """A runtime of ours, and in front of it a gateway of old."""
    async with TestApp(app) as t:
        gateway = ExistingGateway(await t._connect_broker("existing gateway", t._stack), SCOPE)
        await gateway.listen()
        yield World(t.clock, gateway.open_session, t)
        t.failures.clear()
