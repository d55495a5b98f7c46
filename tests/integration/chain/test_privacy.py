"""What a spy on the subjects towards gateways sees of private fields and views: nothing that nobody may see."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from zocket import Actor, App, Event, Private, method, view
from zocket.testing import TestApp

if TYPE_CHECKING:
    from tests.integration.chain.conftest import Outside


class State(BaseModel):
    open: int = 0
    secrets: Private[dict[str, str]] = {}


class Shown(Actor[State]):
    changed = Event(State)

    @method
    async def keep(self, name: str) -> State:
        self.state.open += 1
        self.state.secrets[f"SECRET of {name}"] = f"SECRET for {name}"
        self.changed.emit(self.state)
        return self.state


class Viewed(Shown):
    durability = "file"

    @view(key=lambda session: session.user_id)
    def own(self, user_id: str | None) -> dict[str, Any]:
        return {"open": self.state.open, "own": self.state.secrets.get(f"SECRET of {user_id}")}


app = App(actors={"shown": Shown, "viewed": Viewed})


@pytest.mark.each_broker
async def test_no_private_byte_is_on_any_subject_towards_a_gateway(outside: type[Outside]) -> None:
    async with TestApp(app) as t:
        spies = [await (await outside.wire(t)).spy(subject) for subject in ("gateway.>", "outbound.>")]
        alice, bob = outside.socket(t, user_id="alice"), outside.socket(t, user_id="bob")
        for socket in (alice, bob):
            for actor in ("shown", "viewed"):
                socket.subscribe("state:sub", actor, "x")
                socket.subscribe("event:sub", actor, "x")
                await socket.wait_frames("state:snapshot", 1 if actor == "shown" else 2)
        for number, actor in enumerate(("shown", "viewed")):
            alice.call(number, actor, "x", "keep", name="alice")
            assert (await alice.wait_answer(number))["result"] == {"open": 1}
        await alice.wait_frames("state:patch", 2)
        await bob.wait_frames("state:patch", 2)

        def sent() -> bytes:
            return b"".join(message.payload for spy in spies for message in spy.seen)

        await outside.until(lambda: sent().count(b"state:patch") >= 3, "a patch for all, and one for each audience")
        assert sent().count(b"SECRET") == 1  # in the view of its own audience
        assert alice.replica() == {"open": 1, "own": "SECRET for alice"}
        assert not any(b"SECRET" in raw for raw in bob.raw)
