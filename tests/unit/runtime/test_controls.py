"""What gateways say of calls: cancelled at once, or when the call arrives, or never."""

from __future__ import annotations

import json
from typing import Any

from zocket.broker.port import Message
from zocket.ids import Scope
from zocket.protocol.frames import StateSub
from zocket.protocol.subjects import INBOUND_MAX_AGE_S
from zocket.runtime.controls import MAX_EARLY, Controls
from zocket.testing import VirtualClock

SCOPE = Scope("ws", "proj")


class Host:
    """Knows the calls in `calls`."""

    def __init__(self) -> None:
        self.calls: set[tuple[str, ...]] = set()

    def cancel(self, *name: str) -> bool:
        if name in self.calls:
            self.calls.discard(name)
            return True
        return False


def said(number: int = 1, **changes: Any) -> list[Message]:
    scope = {"workspaceId": "ws", "projectId": "proj"}
    control = {"scope": scope, "sessionId": "s", "requestId": f"r{number}", "actor": "a", "actorId": "x"}
    return [Message("runtime.control.ws.proj.0", json.dumps(control | changes).encode())]


async def test_a_cancellation_that_is_faster_than_its_call_waits_for_it() -> None:
    host: Any = Host()
    controls = Controls(SCOPE, host, VirtualClock())
    controls.received(said())
    controls.arrived(StateSub("a", "x"), "s", "other")
    assert list(controls.early) == [("s", "r1")]
    host.calls.add(("a", "x", "s", "r1"))
    controls.arrived(StateSub("a", "x"), "s", "r1")
    assert not controls.early
    assert not host.calls


async def test_one_that_comes_in_time_waits_for_nothing() -> None:
    host: Any = Host()
    host.calls.add(("a", "x", "s", "r1"))
    controls = Controls(SCOPE, host, VirtualClock())
    controls.received(said())
    assert not controls.early


async def test_they_are_forgotten_by_age_and_by_number() -> None:
    host: Any = Host()
    clock = VirtualClock()
    controls = Controls(SCOPE, host, clock)
    controls.received(said(0))
    await clock.sleep(INBOUND_MAX_AGE_S + 1)
    controls.received(said(1))
    assert list(controls.early) == [("s", "r1")]
    for number in range(2, MAX_EARLY + 3):
        controls.received(said(number))
    assert len(controls.early) == MAX_EARLY
    assert ("s", "r1") not in controls.early


async def test_what_cannot_be_read_or_is_of_another_project_changes_nothing() -> None:
    host: Any = Host()
    controls = Controls(SCOPE, host, VirtualClock())
    controls.received([Message("runtime.control.ws.proj.0", b"\xff")])
    controls.received(said(scope={"workspaceId": "ws", "projectId": "another"}))
    assert not controls.early
