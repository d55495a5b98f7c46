"""Stages around a broker: an existing gateway with our runtime, an existing runtime with our gateway, and both of ours
with nothing between them but the contract.

Rules: a spy hears everything that is published, and what is not said by the foreign peer is said by ours; an existing
peer announces nothing, and what is announced to it does not reach it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.integration.golden.conversation import stripped_payload
from tests.integration.golden.player import FENCE, Stage
from tests.integration.golden.servers import PeerStage, Place, identity
from zocket.broker.port import ConsumerSpec, Message
from zocket.broker.streams import transport_streams
from zocket.protocol import subjects

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.integration.golden.conversation import Line
    from tests.integration.golden.servers import Socket
    from zocket.broker.port import Broker, Delivered
    from zocket.ids import Scope

ACTORS = ("room", "counter")


class Wire:
    """The broker as a foreign peer uses it.

    Attributes:
        hears: called with the subject and the payload of everything that others publish.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.hears: Callable[[str, bytes], None] = lambda _, __: None
        self._own: Counter[tuple[str, bytes]] = Counter()
        self._number = 0

    async def listen(self) -> Wire:
        """Hears from now on."""
        await self.broker.subscribe(">", self._heard)
        return self

    def _heard(self, messages: list[Message]) -> None:
        for message in messages:
            key = (message.subject, message.payload)
            if message.reply.startswith("$JS.ACK."):
                continue  # the same once more, on its way to a consumer
            if self._own[key]:
                self._own[key] -= 1
            else:
                self.hears(message.subject, message.payload)

    def publish(self, subject: str, payload: Any) -> None:
        """Says something: into the stream that has the subject, else by core NATS."""
        body = json.dumps(payload).encode()
        self._own[subject, body] += 1
        if subject.startswith("session."):
            self.broker.send([Message(subject, body)])
            return
        self._number += 1
        self.broker.publish(subject, body, f"{subject}:{self._number}", _published)

    async def consume(self, scope: Scope) -> None:
        """Takes the requests of the project, as an existing runtime does; `hears` has heard them."""
        for spec in transport_streams():
            await self.broker.ensure_stream(spec)

        def taken(messages: list[Delivered]) -> None:
            self.broker.ack(messages)

        for actor in ACTORS:
            name, every = subjects.consumer(scope, actor), subjects.inbound_filter(scope, actor)
            await self.broker.take_over(ConsumerSpec(subjects.INBOUND_STREAM, name, every), taken, lambda: None)


def _published(error: object) -> None:
    assert error is None


class RuntimeStage(Stage):
    """An existing gateway, and our runtime."""

    foreign = frozenset({"gateway"})
    ours = frozenset({"runtime"})

    def __init__(self, wire: Wire, **known: Any) -> None:
        super().__init__(**known)
        self.wire = wire
        self.sessions: dict[str, Line] = {}

    async def say(self, line: Line) -> None:
        """See `Stage.say`."""
        payload = {**line["payload"]}
        for name, value in payload.items():
            if value == "<ms>":
                payload[name] = 1_700_000_000_000
        if line["subject"].startswith("inbound."):
            self.sessions[payload["sessionId"]] = payload
        else:
            self.sessions.pop(payload["sessionId"], None)
        self.wire.publish(line["subject"], payload)

    async def settle(self) -> None:
        """Everything before a further call of each session has been said."""
        for session, envelope in self.sessions.items():
            call = {"type": "rpc", "id": FENCE, "actor": "counter", "actorId": FENCE, "method": "increment"}
            scope = envelope["scope"]
            self.wire.publish(
                f"inbound.{scope['workspaceId']}.{scope['projectId']}.counter.{FENCE}", {**envelope, "message": call}
            )
            outbound = f"outbound.{scope['workspaceId']}.{scope['projectId']}.{session}"
            said = await self.wait_heard(outbound)
            assert said.line["payload"]["message"].get("id") == FENCE, f"said besides: {said.line}"


class GatewayStage(PeerStage):
    """Existing clients, an existing runtime, and our gateway."""

    foreign = frozenset({"client", "runtime"})
    ours = frozenset({"server", "gateway"})

    def __init__(self, wire: Wire, **known: Any) -> None:
        super().__init__(**known)
        self.wire = wire

    async def say(self, line: Line) -> None:
        """See `Stage.say`."""
        if line["from"] == "runtime":
            self.wire.publish(line["subject"], line["payload"])
        else:
            await super().say(line)

    async def settle(self) -> None:
        """The gateway answers a call of each socket by itself, after everything that it was given."""
        for name, session in self.sessions.items():
            call = {"type": "rpc", "id": FENCE, "actor": "", "actorId": FENCE, "method": "increment"}
            session.received(json.dumps(call).encode())
            await self.wait_heard(f"{FENCE} {name}")


class RelayStage(PeerStage):
    """Existing clients, and our gateway and our runtime on two brokers, between which the contract alone passes."""

    foreign = frozenset({"client"})
    ours = frozenset({"server", "gateway", "runtime"})

    def join(self, front: Wire, back: Wire) -> None:
        """Everything of the contract passes from one broker to the other, without what we add."""

        def passes(publisher: str, to: Wire) -> Callable[[str, bytes], None]:
            def heard(subject: str, payload: bytes) -> None:
                self.hear_message(publisher, subject, payload)
                if subject.split(".")[0] in ("inbound", "outbound", "session"):
                    to.publish(subject, stripped_payload(self.contract, subject, json.loads(payload)))

            return heard

        front.hears = passes("gateway", back)
        back.hears = passes("runtime", front)


@asynccontextmanager
async def our_runtime(place: Place, scope: Scope) -> AsyncIterator[RuntimeStage]:
    """Our runtime among existing peers."""
    async with place.connection("existing gateway") as broker:
        wire = await Wire(broker).listen()
        stage = RuntimeStage(wire, ws=scope.workspace_id, proj=scope.project_id)
        for socket in "ab":
            stage.bindings.bind(f"session:{socket}", f"s_of_{socket}_{scope.project_id}")
        wire.hears = lambda subject, payload: stage.hear_message("runtime", subject, payload)
        async with place.runtime(scope):
            yield stage


@asynccontextmanager
async def our_gateway(place: Place, scope: Scope) -> AsyncIterator[GatewayStage]:
    """Our gateway among existing peers."""
    async with place.connection("existing runtime") as broker:
        wire = await Wire(broker).listen()
        await wire.consume(scope)
        stage = GatewayStage(wire, ws=scope.workspace_id, proj=scope.project_id)
        stage.real = place.real
        wire.hears = lambda subject, payload: stage.hear_message("gateway", subject, payload)
        async with place.gateway() as gateway:
            stage.open_session = _opens(gateway, scope)
            yield stage


@asynccontextmanager
async def our_halves(scope: Scope) -> AsyncIterator[RelayStage]:
    """Our gateway and our runtime, for each of which the other is an existing peer; on virtual time."""
    front, back = Place(None), Place(None)
    async with front.connection("relay") as one, back.connection("relay") as other:
        wires = await Wire(one).listen(), await Wire(other).listen()
        await wires[0].consume(scope)
        stage = RelayStage(ws=scope.workspace_id, proj=scope.project_id)
        stage.join(*wires)
        async with front.gateway() as gateway, back.runtime(scope):
            stage.open_session = _opens(gateway, scope)
            yield stage


def _opens(gateway: Any, scope: Scope) -> Callable[[Socket, str | None], Awaitable[Any]]:
    async def open_session(socket: Socket, token: str | None) -> Any:
        return gateway.open_session(socket, identity(scope, token))

    return open_session
