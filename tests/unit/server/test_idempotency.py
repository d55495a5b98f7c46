"""A call with an idempotency key to a standalone server with a state file, over a restart of the server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, Limits, method
from zocket.core import AppDefinition
from zocket.server.local import Identity, LocalServer

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_S = 20.0


class Kept(Actor[dict[str, int]]):
    durability = "file"

    @method
    async def add(self, by: int) -> int:
        self.state["total"] = self.state.get("total", 0) + by
        return self.state["total"]


class Peer:
    """Hands out answers, one after the other."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[Any] = asyncio.Queue()

    def send(self, frame: bytes) -> None:
        decoded = json.loads(frame)
        if decoded["type"] == "rpc:result":
            self.frames.put_nowait(decoded)

    def close(self, code: int, reason: str = "") -> None:
        pass

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        """Reads on."""


@pytest.mark.realtime
async def test_a_retry_after_a_restart_gets_the_first_answer(tmp_path: Path) -> None:
    definition = AppDefinition({"kept": Kept})
    for number, (by, key) in enumerate([(5, "a"), (5, "a"), (1, "b"), (5, "a"), (7, "a")]):
        async with LocalServer.open(definition, limits=Limits(), state_file=str(tmp_path / "state.db")) as server:
            peer = Peer()
            session = server.open_session(peer, Identity("alice"))
            frame = {"type": "rpc", "id": number, "actor": "kept", "actorId": "x", "method": "add", "input": {"by": by}}
            session.received(json.dumps({**frame, "idempotencyKey": key}).encode())
            answer = await asyncio.wait_for(peer.frames.get(), LIMIT_S)
            assert answer["id"] == number
            if by == 7:
                assert answer["code"] == "idempotency_mismatch"
            else:
                assert answer["result"] == (5 if key == "a" else 6)
