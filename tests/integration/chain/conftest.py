"""The whole chain in one process, seen from outside: raw sockets of a gateway, an existing gateway, a spy."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import jsonpatch
import pytest

from zocket.broker.port import Message
from zocket.gateway.session import Identity
from zocket.ids import Scope
from zocket.protocol import subjects
from zocket.state import encode
from zocket.testing import app as kit

if TYPE_CHECKING:
    from collections.abc import Callable

    from zocket.broker.port import Broker
    from zocket.gateway.gateway import Gateway
    from zocket.gateway.session import GatewaySession
    from zocket.runtime.runtime import Runtime
    from zocket.testing import TestApp

DEADLINE_S = 40.0
POLL_S = 0.002

Frame = dict[str, Any]


async def until(condition: Callable[[], object], what: str) -> None:
    """Waits for a condition of any kind, with a deadline (virtual where the loop is)."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 — nothing tells when it becomes true
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:g} s: {what}") from None


class RawSocket:
    """A client that sends whatever bytes it likes and keeps what it gets, as a socket of the kit's gateway.

    Attributes:
        received: every frame, in order.
        raw: their bytes.
        closed_with: the close code, None while it is open.
    """

    def __init__(self) -> None:
        self.received: list[Frame] = []
        self.raw: list[bytes] = []
        self.closed_with: int | None = None
        self.session: GatewaySession

    # What the gateway sees of a socket.

    def send(self, frame: bytes) -> None:
        assert self.closed_with is None, "a frame after the close"
        self.raw.append(frame)
        self.received.append(json.loads(frame))

    def close(self, code: int, reason: str = "") -> None:
        self.closed_with = code

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""

    # What a test does with it.

    @property
    def id(self) -> str:
        """Of the session, as its client knows it."""
        return str(self.session.socket.session_id)

    def write(self, frame: Frame | bytes) -> None:
        self.session.received(frame if isinstance(frame, bytes) else json.dumps(frame).encode())

    def call(self, call_id: Any, actor: str, actor_id: str, method: str, **values: Any) -> None:
        self.write(
            {"type": "rpc", "id": call_id, "actor": actor, "actorId": actor_id, "method": method, "input": values}
        )

    def subscribe(self, kind: str, actor: str, actor_id: str) -> None:
        self.write({"type": kind, "actor": actor, "actorId": actor_id})

    def frames(self, kind: str) -> list[Frame]:
        return [frame for frame in self.received if frame["type"] == kind]

    def answers(self) -> dict[Any, Frame]:
        """The answer of each call; two for one would be an error."""
        answers = self.frames("rpc:result")
        by_id = {json.dumps(frame["id"]): frame for frame in answers}
        assert len(by_id) == len(answers), "a call was answered twice"
        return {frame["id"]: frame for frame in answers}

    async def wait_answer(self, call_id: Any) -> Frame:
        await until(lambda: any(frame["id"] == call_id for frame in self.frames("rpc:result")), f"answer to {call_id}")
        found: Frame = self.answers()[call_id]
        return found

    async def wait_frames(self, kind: str, count: int) -> list[Frame]:
        await until(lambda: len(self.frames(kind)) >= count, f"{count} {kind}, there are {len(self.frames(kind))}")
        return self.frames(kind)

    def replica(self) -> Any:
        """The state as the last snapshot and the patches after it give it, by an independent library."""
        state: Any = None
        for frame in self.received:
            if frame["type"] == "state:snapshot":
                state = frame["state"]
            elif frame["type"] == "state:patch":
                state = jsonpatch.apply_patch(state, frame["patches"])
        return state


class Wire:
    """A further connection to the kit's broker: a spy, or an existing gateway made by hand.

    Attributes:
        seen: every message of every subject, in order.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.scope = kit.SCOPE
        self.seen: list[Message] = []
        self.refused: list[Exception] = []
        self._number = 0

    async def spy(self, subject: str = ">") -> Wire:
        await self.broker.subscribe(subject, self.seen.extend)
        return self

    def seen_on(self, front: str) -> list[Message]:
        return [message for message in self.seen if message.subject.startswith(front)]

    def publish(self, subject: str, payload: Frame | bytes) -> None:
        self._number += 1
        self.broker.publish(
            subject,
            payload if isinstance(payload, bytes) else json.dumps(payload).encode(),
            f"wire:{id(self)}:{self._number}",
            lambda error: self.refused.append(error) if error else None,
        )

    def send(self, subject: str, payload: Frame | bytes) -> None:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.broker.send([Message(subject, body)])

    def envelope(self, frame: Any, session: str = "s_foreign", **more: Any) -> Frame:
        scope = {"workspaceId": self.scope.workspace_id, "projectId": self.scope.project_id}
        return {"scope": scope, "sessionId": session, "userId": None, "claims": None, "message": frame} | more

    def inbound(self, frame: Frame, session: str = "s_foreign", **more: Any) -> None:
        """A request as an existing gateway publishes it."""
        subject = subjects.inbound(self.scope, frame["actor"], frame["actorId"])
        self.publish(subject, self.envelope(frame, session, **more))

    def frames_to(self, session: str) -> list[Frame]:
        """Messages of an existing gateway's session."""
        subject = subjects.outbound(self.scope, session)
        return [json.loads(message.payload)["message"] for message in self.seen if message.subject == subject]

    async def wait_frames_to(self, session: str, kind: str, count: int) -> list[Frame]:
        def found() -> list[Frame]:
            return [frame for frame in self.frames_to(session) if frame["type"] == kind]

        await until(lambda: len(found()) >= count, f"{count} {kind} for {session}, there are {len(found())}")
        return found()


class Outside:
    """What the tests of the chain need beside the kit; `memory` and NATS alike."""

    Frame = Frame
    until = staticmethod(until)

    @staticmethod
    def gateway(t: TestApp) -> Gateway:
        assert t.gateway is not None
        return t.gateway

    @staticmethod
    def runtime(t: TestApp) -> Runtime:
        assert t.runtime is not None
        return t.runtime

    @classmethod
    def socket(
        cls,
        t: TestApp,
        *,
        user_id: str | None = None,
        claims: Any = None,
        scope: Scope = kit.SCOPE,
        expires_at: float | None = None,
        resume: str = "",
        gateway: Gateway | None = None,
    ) -> RawSocket:
        socket = RawSocket()
        identity = Identity(scope, user_id, encode(claims), expires_at)
        socket.session = (gateway or cls.gateway(t)).open_session(socket, identity, resume=resume)
        return socket

    @staticmethod
    async def wire(t: TestApp) -> Wire:
        """A connection of its own, closed with the kit."""
        return Wire(await t._connect_broker("wire", t._stack))


@pytest.fixture
def outside() -> type[Outside]:
    return Outside
