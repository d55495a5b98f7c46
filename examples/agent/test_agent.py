"""The agent, in process: no port, no broker, no model."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest

from examples.agent import app as agent
from examples.agent.app import ANSWER_LIMIT_S, Conversation, ConversationState, Exchange, Notes, app
from zocket import ActorError
from zocket.client import Client
from zocket.testing import TestApp

Delta = dict[str, Any]

LIMIT_S = 30.0


class Model:
    """An endpoint that says what it is told to, token by token.

    Attributes:
        says: deltas of each completion in turn; a future among them is waited for.
        asked: the bodies of the requests.
    """

    def __init__(self) -> None:
        self.says: list[list[Delta | asyncio.Event]] = []
        self.asked: list[dict[str, Any]] = []

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url="http://model/v1", transport=httpx.MockTransport(self.handle))

    async def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content))
        if not self.says:
            return httpx.Response(503)
        return httpx.Response(200, content=self.stream(self.says.pop(0)))

    async def stream(self, says: list[Delta | asyncio.Event]) -> AsyncIterator[bytes]:
        for delta in says:
            if isinstance(delta, asyncio.Event):
                await delta.wait()
            else:
                event = json.dumps({"choices": [{"delta": delta}]}, ensure_ascii=False)
                yield f"data: {event}\n\n".encode()
        yield b"data: [DONE]\n\n"


def words(*texts: str) -> list[Delta | asyncio.Event]:
    return [{"content": text} for text in texts]


def tool_call(name: str, *, index: int = 0, **arguments: Any) -> list[Delta | asyncio.Event]:
    """As endpoints send it: the name first, the arguments in pieces."""
    text = json.dumps(arguments)
    functions = [{"name": name, "arguments": ""}, {"arguments": text[:5]}, {"arguments": text[5:]}]
    return [{"tool_calls": [{"index": index, "id": "call_1", "function": function}]} for function in functions]


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    model = Model()
    monkeypatch.setattr(agent, "web", model.client)
    return model


def watch(client: Client) -> AbstractAsyncContextManager[AsyncIterator[ConversationState]]:
    return client.state(client.actor(Conversation, "tea"))


async def first(states: AsyncIterator[ConversationState], condition: Callable[[Exchange], bool]) -> Exchange:
    """The last exchange, once it meets the condition."""
    async with asyncio.timeout(LIMIT_S):
        async for state in states:
            if state.exchanges and condition(state.exchanges[-1]):
                return state.exchanges[-1]
    raise AssertionError("the states ended")


async def until(client: Client, condition: Callable[[Exchange], bool]) -> Exchange:
    """As `first`, of somebody who comes now."""
    async with watch(client) as states:
        return await first(states, condition)


def text(exchange: Exchange) -> str:
    return "".join(step.text for step in exchange.steps)


def is_done(exchange: Exchange) -> bool:
    return exchange.status == "done"


async def test_everybody_sees_the_answer_grow(model: Model) -> None:
    gate = asyncio.Event()
    model.says = [[*words("Two ", "cups"), gate, *words("\u2028a day.")]]
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        async with watch(alice) as hers, watch(bob) as his:
            assert await alice.actor(Conversation, "tea").send(text="How much?") == 1
            for states in (hers, his):
                seen = await first(states, lambda exchange: text(exchange) == "Two cups")
                assert (seen.question, seen.status) == ("How much?", "writing")
            gate.set()
            for states in (hers, his):
                assert text(await first(states, is_done)) == "Two cups\u2028a day."
    (asked,) = model.asked
    assert asked["stream"] is True
    assert [message["content"] for message in asked["messages"][1:]] == ["How much?"]


async def test_tools_are_actors_and_the_model_is_told_what_they_say(model: Model) -> None:
    model.says = [tool_call("keep_note", text="no sugar"), words("Noted."), words("As ever.")]
    async with TestApp(app) as t:
        alice = await t.connect()
        await alice.actor(Conversation, "tea").send(text="I take no sugar")
        done = await until(alice, is_done)
        assert [(call.name, call.result) for step in done.steps for call in step.calls] == [("keep_note", "kept")]
        assert text(done) == "Noted."
        assert await alice.actor(Notes, "tea").all() == ["no sugar"]
        assert model.asked[1]["messages"][-1] == {"role": "tool", "tool_call_id": "1-0-0", "content": "kept"}

        await alice.actor(Conversation, "tea").send(text="And today?")
        await until(alice, lambda exchange: exchange.id == 2 and is_done(exchange))
        roles = [message["role"] for message in model.asked[2]["messages"]]
        assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (tool_call("tell_time", zone="Nowhere/Land"), "there is no time zone"),
        (tool_call("tell_time"), "Field required"),
        (tool_call("launch"), "there is no tool launch"),
    ],
)
async def test_a_mistake_of_the_model_is_told_to_it(model: Model, call: list[Delta | asyncio.Event], said: str) -> None:
    model.says = [call, words("Sorry.")]
    async with TestApp(app) as t:
        alice = await t.connect()
        await alice.actor(Conversation, "tea").send(text="?")
        assert text(await until(alice, is_done)) == "Sorry."
    assert said in model.asked[1]["messages"][-1]["content"]


async def test_anybody_can_stop_it_and_what_was_seen_stays(model: Model) -> None:
    model.says = [[*words("On and "), asyncio.Event()], words("Yes?")]
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        async with watch(alice) as states:
            await alice.actor(Conversation, "tea").send(text="Go on for ever")
            await first(states, lambda exchange: text(exchange) == "On and ")
            assert await bob.actor(Conversation, "tea").stop() is True
            stopped = await first(states, lambda exchange: exchange.status == "stopped")
            assert text(stopped) == "On and "
            await t.settle()
            assert await bob.actor(Conversation, "tea").stop() is False

            await alice.actor(Conversation, "tea").send(text="Again")
            assert text(await first(states, lambda exchange: exchange.id == 2 and is_done(exchange))) == "Yes?"


async def test_an_endpoint_that_refuses_is_shown_and_the_next_question_is_taken(model: Model) -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        await alice.actor(Conversation, "tea").send(text="Hello?")
        failed = await until(alice, lambda exchange: exchange.status == "failed")
        assert "503" in failed.error
        model.says = [words("Hello.")]
        await alice.actor(Conversation, "tea").send(text="Hello?")
        assert text(await until(alice, is_done)) == "Hello."


async def test_clients_cannot_call_what_the_conversation_tells_itself(model: Model) -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        with pytest.raises(ActorError) as caught:
            await alice.actor(Conversation, "tea").settle(exchange=1)
        assert caught.value.code == "forbidden"


@pytest.mark.each_broker
async def test_an_answer_whose_process_died_is_begun_again_and_not_doubled(model: Model) -> None:
    model.says = [[*words("Once upon"), asyncio.Event()], words("Once upon", " a time.")]
    async with TestApp(app) as t:
        alice = await t.connect()
        async with watch(alice) as states:
            await alice.actor(Conversation, "tea").send(text="A story")
            await first(states, lambda exchange: text(exchange) == "Once upon")
            await t.kill()
            await t.start()
            done = await first(states, is_done)
            assert [step.text for step in done.steps] == ["Once upon a time."]
    assert model.asked[0] == model.asked[1]


@pytest.mark.each_broker
async def test_a_tool_that_was_called_before_a_crash_is_not_called_again(model: Model) -> None:
    model.says = [tool_call("keep_note", text="no sugar"), [*words("No"), asyncio.Event()], words("Noted.")]
    async with TestApp(app) as t:
        alice = await t.connect()
        async with watch(alice) as states:
            await alice.actor(Conversation, "tea").send(text="I take no sugar")
            await first(states, lambda exchange: text(exchange) == "No")
            await t.kill()
            await t.start()
            assert text(await first(states, is_done)) == "Noted."
        assert await alice.actor(Notes, "tea").all() == ["no sugar"]
    assert model.asked[1] == model.asked[2]


async def test_tools_that_a_crash_interrupts_are_called_once_in_effect(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, runs = asyncio.Event(), 0

    async def stand_still_once(of: Conversation, call_id: str, _: agent.Nothing) -> str:
        nonlocal runs
        runs += 1
        started.set()
        if runs == 1:
            await asyncio.Event().wait()
        return await of.actors.get(Notes, of.id).keep(key=call_id, text="second")

    monkeypatch.setitem(agent.TOOLS, "wait", agent.Tool("Waits.", agent.Nothing, stand_still_once))
    model.says = [[*tool_call("keep_note", text="first"), *tool_call("wait", index=1)], words("Noted.")]
    async with TestApp(app) as t:
        alice = await t.connect()
        async with watch(alice) as states:
            await alice.actor(Conversation, "tea").send(text="Two notes")
            await started.wait()
            await t.kill()
            await t.start()
            done = await first(states, is_done)
        assert [call.result for call in done.steps[0].calls] == ["kept", "kept"]
        assert await alice.actor(Notes, "tea").all() == ["first", "second"]
    assert (runs, len(model.asked)) == (2, 2)


async def test_a_stream_that_breaks_off_is_a_failure(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=b'data: {"choices": [{"delta": {"content": "Half"}}]}\n\ndata: {"cho')

    monkeypatch.setattr(model, "handle", broken)
    async with TestApp(app) as t:
        alice = await t.connect()
        await alice.actor(Conversation, "tea").send(text="Hello?")
        failed = await until(alice, lambda exchange: exchange.status == "failed")
        assert (text(failed), failed.error) == ("Half", "the endpoint broke off")


async def test_an_answer_is_begun_again_also_when_its_request_is_gone(model: Model) -> None:
    """A stream keeps a request for 60 s; the reminder is kept with the conversation."""
    model.says = [[*words("Once upon"), asyncio.Event()], words("Once upon", " a time.")]
    async with TestApp(app) as t:
        alice = await t.connect()
        async with watch(alice) as states:
            await alice.actor(Conversation, "tea").send(text="A story")
            await first(states, lambda exchange: text(exchange) == "Once upon")
            await t.kill()
            await t.clock.advance(600)
            await t.start()
            assert [step.text for step in (await first(states, is_done)).steps] == ["Once upon a time."]
        await t.clock.advance(600)
    assert len(model.asked) == 2


async def test_an_answer_that_takes_too_long_is_stopped(model: Model) -> None:
    model.says = [[*words("Hm"), asyncio.Event()]]
    async with TestApp(app) as t:
        alice = await t.connect()
        await alice.actor(Conversation, "tea").send(text="Think")
        await t.clock.advance(ANSWER_LIMIT_S + 1)
        assert text(await until(alice, lambda exchange: exchange.status == "stopped")) == "Hm"
