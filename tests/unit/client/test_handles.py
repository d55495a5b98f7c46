"""Handles: calls by the class's signature, decoded answers, and named errors for everything else."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pydantic import BaseModel, Field

from zocket.core.actor import Actor, Event, method
from zocket.core.definition import AppDefinition
from zocket.errors import AnswerMismatch, EventError, HandleError, InvalidId, StateValueError, UsageError

if TYPE_CHECKING:
    from tests.unit.client.conftest import World


class Message(BaseModel):
    author: str
    text: str = Field(alias="body", default="")


class RoomState(BaseModel):
    messages: list[Message] = []


class ChatRoom(Actor[RoomState]):
    posted = Event(Message)
    user_left = Event[int | None]()

    async def on_connect(self) -> None: ...

    @method
    async def post_message(self, text: str, times: int = 1) -> Message:
        raise AssertionError("runs on the server only")

    @method
    async def clear(self) -> None: ...

    @method
    async def last(self) -> Message | None: ...

    @method
    async def anything(self, value: object) -> Any: ...

    def helper(self) -> int:
        return 1


class Other(Actor[dict[str, int]]):
    posted = Event(Message)


class Nowhere(Actor[dict[str, int]]):
    @method
    async def ping(self) -> str:
        return "pong"


APP = AppDefinition({"chat": ChatRoom, "other": Other}, rename="camel")


async def answered(world: World, call: Any, value: bytes | None) -> tuple[dict[str, Any], Any]:
    """The frame of a call, and what the caller gets for the answer."""
    task = asyncio.ensure_future(call)
    await world.settle()
    [frame] = world.server.taken()
    world.server.answer(frame, value)
    return frame, await task


async def test_a_method_is_called_by_its_signature_and_its_wire_name(world: World) -> None:
    async with await world.client().open() as client:
        room = client.actor(ChatRoom, "general")
        frame, message = await answered(world, room.post_message(text="hi"), b'{"author":"a","body":"hi"}')
        assert (frame["actor"], frame["actorId"], frame["method"]) == ("chat", "general", "postMessage")
        assert frame["input"] == {"text": "hi"}
        assert isinstance(message, Message)
        assert message.text == "hi"
        frame, _ = await answered(world, room.post_message("hi", 2), b'{"author":"a"}')
        assert frame["input"] == {"text": "hi", "times": 2}


async def test_results_are_what_the_annotation_says(world: World) -> None:
    async with await world.client().open() as client:
        room = client.actor(ChatRoom, "general")
        assert (await answered(world, room.clear(), None))[1] is None
        assert (await answered(world, room.last(), b"null"))[1] is None
        assert (await answered(world, room.last(), b'{"author":"a"}'))[1] == Message(author="a")
        assert (await answered(world, room.anything([1]), b'{"n":[1]}'))[1] == {"n": [1]}


async def test_a_result_that_does_not_fit_is_a_named_error(world: World) -> None:
    async with await world.client().open() as client:
        room = client.actor(ChatRoom, "general")
        with pytest.raises(AnswerMismatch, match=r"the result of chat/general\.postMessage") as caught:
            await answered(world, room.post_message("hi"), b'{"author":7}')
        assert caught.value.data[0]["path"] == ["author"]


async def test_wrong_arguments_raise_at_once_and_nothing_is_sent(world: World) -> None:
    async with await world.client().open() as client:
        room = client.actor(ChatRoom, "general")
        with pytest.raises(TypeError, match=r"ChatRoom\.post_message\(\)"):
            await room.post_message(txt="hi")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match=r"ChatRoom\.clear\(\)"):
            await room.clear("now")  # type: ignore[call-arg]
        with pytest.raises(StateValueError):
            await room.anything(object())
        await world.settle()
        assert world.server.frames == []


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("state", "client.state"),
        ("on_connect", "hooks are run by the server"),
        ("on_activate", "hooks are run by the server"),
        ("session", "client.id"),
        ("clients", "only there inside the actor"),
        ("posted", "client.events"),
        ("helper", "@method"),
        ("post_mesage", r"did you mean post_message\?"),
        ("nothing_like_it", "it has anything, clear, last, post_message"),
    ],
)
async def test_what_is_no_method_raises_an_error_that_says_what_to_do(world: World, name: str, advice: str) -> None:
    room = world.client().actor(ChatRoom, "general")
    with pytest.raises(HandleError, match=advice) as caught:
        getattr(room, name)
    assert isinstance(caught.value, AttributeError)
    assert "<ChatRoom handle chat/general>" in caught.value.message


async def test_a_handle_takes_no_attributes(world: World) -> None:
    room: Any = world.client().actor(ChatRoom, "general")
    with pytest.raises(HandleError, match="the actor lives on the server"):
        room.topic = "news"
    with pytest.raises(HandleError, match="the actor lives on the server"):
        room.posted = 1
    with pytest.raises(HandleError, match="the actor lives on the server"):
        del room.id
    assert not hasattr(room, "topic")


async def test_handles_are_equal_by_instance_and_client(world: World) -> None:
    client, other = world.client(), world.client()
    room = client.actor(ChatRoom, "general")
    assert room == client.actor(ChatRoom, "general")
    assert len({room, client.actor(ChatRoom, "general"), client.actor(ChatRoom, "other")}) == 2
    assert room != client.actor(ChatRoom, "other")
    assert room != other.actor(ChatRoom, "general")
    assert room != client.dynamic("chat", "general")
    assert client.dynamic("chat", "general") == client.dynamic("chat", "general")
    assert copy.deepcopy(room) is copy.copy(room) is room


async def test_a_handle_knows_its_id_and_methods(world: World) -> None:
    client = world.client()
    room = client.actor(ChatRoom, "general")
    assert room.id == client.dynamic("chat", "general").id == "general"
    assert dir(room) == ["anything", "clear", "id", "last", "post_message"]
    assert repr(client.dynamic("chat", "general")) == "<dynamic handle chat/general>"


@pytest.mark.parametrize("actor_id", ["", "x" * 257, "\ud800"])
async def test_an_id_that_cannot_be_is_refused_at_once(world: World, actor_id: str) -> None:
    client = world.client()
    with pytest.raises(InvalidId):
        client.actor(ChatRoom, actor_id)
    with pytest.raises(InvalidId):
        client.dynamic("chat", actor_id)


async def test_an_actor_type_that_cannot_be_is_refused_at_once(world: World) -> None:
    with pytest.raises(InvalidId, match="actor type"):
        world.client().dynamic("chat.room", "general")


async def test_a_class_of_no_app_needs_a_name(world: World) -> None:
    async with await world.client().open() as client:
        with pytest.raises(UsageError, match="Nowhere is in no App"):
            client.actor(Nowhere, "1")
        frame, result = await answered(world, client.actor(Nowhere, "1", name="nowhere").ping(), b'"pong"')
        assert (frame["actor"], result) == ("nowhere", "pong")


async def test_a_dynamic_handle_calls_any_method_with_plain_values(world: World) -> None:
    async with await world.client().open() as client:
        room = client.dynamic("chat", "general")
        frame, result = await answered(world, room.postMessage(text="hi"), b'{"author":"a"}')
        assert (frame["method"], frame["input"], result) == ("postMessage", {"text": "hi"}, {"author": "a"})
        frame, result = await answered(world, room.call("class", method="m", self=1), b"[1]")
        assert (frame["method"], frame["input"], result) == ("class", {"method": "m", "self": 1}, [1])
        frame, result = await answered(world, room.clear(), None)
        assert "input" not in frame
        assert result is None
        with pytest.raises(StateValueError):
            await room.post(value=object())
        with pytest.raises(HandleError):
            room.topic = "news"


async def test_a_dynamic_result_that_cannot_be_read_is_a_named_error(world: World) -> None:
    async with await world.client().open() as client:
        with pytest.raises(AnswerMismatch):
            await answered(world, client.dynamic("chat", "general").post(), b"1e999")


async def test_typed_states_are_the_actors_state(world: World) -> None:
    async with await world.client().open() as client:
        room = client.actor(ChatRoom, "general")
        states, again, raw = client.state(room), client.state(room), client.state(room, raw=True)
        world.server.snapshot(b'{"messages":[]}')
        assert await anext(states) == RoomState()
        world.server.patch(b'[{"op":"add","path":"/messages/0","value":{"author":"a","body":"hi"}}]')
        state = await anext(states)
        assert state.messages == [Message.model_validate({"author": "a", "body": "hi"})]
        assert await anext(again) is state
        assert await anext(raw) == {"messages": [{"author": "a", "body": "hi"}]}


async def test_a_state_that_does_not_fit_is_a_named_error_and_the_next_one_comes(world: World) -> None:
    async with await world.client().open() as client:
        states = client.state(client.actor(ChatRoom, "general"))
        world.server.snapshot(b'{"messages":7}')
        with pytest.raises(AnswerMismatch, match="the state of chat/general"):
            await anext(states)
        world.server.patch(b'[{"op":"replace","path":"/messages","value":[]}]')
        assert await anext(states) == RoomState()


async def test_typed_events_are_the_declared_payloads(world: World) -> None:
    async with await world.client().open() as client:
        room = client.actor(ChatRoom, "general")
        posted, left = client.events(room, ChatRoom.posted), client.events(room, ChatRoom.user_left)
        by_name = client.events(room, "userLeft")
        world.server.event("posted", b'{"author":"a"}')
        world.server.event("userLeft", b"null")
        world.server.event("userLeft", b"7")
        assert await anext(posted) == Message(author="a")
        assert [await anext(left), await anext(left)] == [None, 7]
        assert [await anext(by_name), await anext(by_name)] == [None, 7]


async def test_a_payload_that_does_not_fit_is_a_named_error(world: World) -> None:
    async with await world.client().open() as client:
        posted = client.events(client.actor(ChatRoom, "general"), ChatRoom.posted)
        world.server.event("posted", b"7")
        world.server.event("posted", msgspec.json.encode({"author": "a"}))
        with pytest.raises(AnswerMismatch, match="the payload of posted of chat/general"):
            await anext(posted)
        assert await anext(posted) == Message(author="a")


@pytest.mark.parametrize("event", [Other.posted, "left", None])
async def test_an_event_of_another_actor_is_refused(world: World, event: Any) -> None:
    async with await world.client().open() as client:
        with pytest.raises(EventError, match="no event of ChatRoom; it has posted, userLeft"):
            client.events(client.actor(ChatRoom, "general"), event)
        assert world.server.frames == []
