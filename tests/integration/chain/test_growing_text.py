"""Growing text over the whole chain: the announcement survives what a subscription survives, and each gets its form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from zocket import Actor, App, method
from zocket.testing import TestApp

if TYPE_CHECKING:
    from tests.integration.chain.conftest import Outside, RawSocket

pytestmark = pytest.mark.each_broker

OLD = "x" * 500


class Draft(Actor[dict[str, Any]]):
    @classmethod
    def initial_state(cls) -> dict[str, Any]:
        return {"text": OLD}

    @method
    async def say(self, text: str) -> None:
        self.state["text"] += text

    @method
    async def work(self, words: str) -> None:
        for word in words:
            self.state["text"] += word
            await self.flush()


app = App(actors={"draft": Draft})

ANNOUNCED = {"type": "state:sub", "actor": "draft", "actorId": "a", "append": True}
PLAIN = {"type": "state:sub", "actor": "draft", "actorId": "a"}


def appended(text: str) -> list[Any]:
    return [{"op": "append", "path": "/text", "value": text}]


def replaced(text: str) -> list[Any]:
    return [{"op": "replace", "path": "/text", "value": OLD + text}]


async def say(socket: RawSocket, number: int, text: str) -> None:
    socket.call(number, "draft", "a", "say", text=text)
    assert "error" not in await socket.wait_answer(number)


async def test_r14_one_batch_has_a_delivery_for_each_form_and_an_existing_gateways_sessions_get_theirs(
    outside: Outside,
) -> None:
    async with TestApp(app) as t:
        wire = await (await outside.wire(t)).spy()
        ours = [outside.socket(t) for _ in range(10)]
        for number, socket in enumerate(ours):
            socket.write(ANNOUNCED if number < 6 else PLAIN)
        wire.inbound(ANNOUNCED, session="s_new")
        wire.inbound(PLAIN, session="s_old")
        for name in ("s_new", "s_old"):
            await wire.wait_frames_to(name, "state:snapshot", 1)
        for socket in ours:
            await socket.wait_frames("state:snapshot", 1)
        wire.seen.clear()
        await say(ours[0], 1, "more")
        for socket in ours:
            await socket.wait_frames("state:patch", 1)
        [new] = await wire.wait_frames_to("s_new", "state:patch", 1)
        [old] = await wire.wait_frames_to("s_old", "state:patch", 1)
        assert (new["patches"], old["patches"]) == (appended("more"), replaced("more"))
        assert (new["epoch"], new["seq"]) == (old["epoch"], old["seq"])
        batches = [json.loads(message.payload)["deliveries"] for message in wire.seen_on("gateway.")]
        [batch] = [deliveries for deliveries in batches if "state:patch" in str(deliveries)]
        patches = [delivery for delivery in batch if delivery["message"]["type"] == "state:patch"]
        assert {len(delivery["sessions"]): delivery["message"] for delivery in patches} == {6: new, 4: old}
        assert [socket.frames("state:patch") for socket in ours] == [[new]] * 6 + [[old]] * 4


@pytest.mark.parametrize("how", ["another runtime", "a slow reader"])
async def test_what_the_gateway_subscribes_again_is_announced_again(outside: Outside, how: str) -> None:
    async with TestApp(app) as t:
        new, old = outside.socket(t), outside.socket(t)
        new.write(ANNOUNCED)
        old.write(PLAIN)
        for socket in (new, old):
            await socket.wait_frames("state:snapshot", 1)
        await say(new, 1, "a")
        if how == "another runtime":
            await t.stop()
            await t.start()
        else:
            for socket in (new, old):
                socket.session.fell_behind()
            await say(new, 2, "left out")
            for socket in (new, old):
                socket.session.caught_up()
        for socket in (new, old):
            await socket.wait_frames("state:snapshot", 2)
        await say(new, 3, "b")
        for socket, form in ((new, "append"), (old, "replace")):
            patches = await socket.wait_frames("state:patch", 2)
            assert [frame["patches"][0]["op"] for frame in patches] == [form, form]
        assert new.frames("state:patch")[-1]["patches"] == appended("b")
        late = outside.socket(t)
        late.write(PLAIN)
        [snapshot] = await late.wait_frames("state:snapshot", 1)
        assert old.replica() == snapshot["state"]


async def test_the_python_client_takes_what_was_added(outside: Outside) -> None:
    async with TestApp(app) as t:
        raw = outside.socket(t)
        raw.write(ANNOUNCED)
        client = await t.connect()
        draft = client.actor(Draft, "a")
        async with client.state(draft) as states:
            assert (await anext(states))["text"] == OLD
            await raw.wait_frames("state:snapshot", 1)
            await draft.work(words="abcdef")
            while True:
                state = await anext(states)
                assert state["text"].startswith(OLD)
                if state["text"] == OLD + "abcdef":
                    break
        patches = await raw.wait_frames("state:patch", 6)
        assert [frame["patches"] for frame in patches] == [appended(word) for word in "abcdef"]
