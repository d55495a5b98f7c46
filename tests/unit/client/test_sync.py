"""The synchronous client: results in the caller's thread, iterations that end, errors of the same classes."""

from __future__ import annotations

import asyncio
import gc
import queue
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pydantic import BaseModel

from zocket import Actor, Event, method
from zocket.client import Client, SyncClient
from zocket.errors import (
    ActorError,
    CallTimeout,
    Disconnected,
    EventError,
    HandleError,
    Unauthorized,
    Unavailable,
    UsageError,
)
from zocket.protocol import frames

if TYPE_CHECKING:
    from zocket.client import Receiver

LIMIT_S = 15.0


class Message(BaseModel):
    text: str


class RoomState(BaseModel):
    messages: list[Message] = []


class Room(Actor[RoomState]):
    posted = Event(Message)

    @method
    async def post(self, text: str) -> Message:
        return Message(text=text)

    @method
    async def words(self, text: str) -> AsyncIterator[str]:
        yield text

    @method
    async def hang(self) -> None: ...


class Server:
    """A transport and the one connection behind it, in the client's loop; tells every frame to the test's thread."""

    def __init__(self) -> None:
        self.frames: queue.Queue[dict[str, Any]] = queue.Queue()
        self.refusal: BaseException | None = None
        self.hung: Callable[[], None] | None = None
        self.listens = asyncio.Event()
        self.listens.set()

    async def connect(self, receiver: Receiver, /) -> Server:
        await self.listens.wait()
        if self.refusal is not None:
            raise self.refusal
        self._loop, self._receiver = asyncio.get_running_loop(), receiver
        self.tell(frames.welcome("s_1", ["rpc:cancel"]))
        return self

    def send(self, frame: bytes, /) -> None:
        head = msgspec.json.decode(frame)
        self.frames.put(head)
        call_id = msgspec.json.encode(head.get("id"))
        match head.get("method"):
            case "post":
                self.tell(frames.result(call_id, msgspec.json.encode(head["input"])))
            case "words":
                for number, word in enumerate(head["input"]["text"].split(), 1):
                    self.tell(frames.chunk(call_id, number, msgspec.json.encode(word)))
                self.tell(frames.result(call_id, None))
            case "refuse":
                self.tell(frames.failure(call_id, ActorError("no", code="forbidden", data=[1])))
            case "hang" if self.hung is not None:
                self.hung()
        if head["type"] == "state:sub":
            self.state(b'{"messages":[]}')

    async def close(self) -> None:
        self.frames.put({"type": "closed"})

    def tell(self, frame: bytes) -> None:
        self._loop.call_soon_threadsafe(self._receiver.on_frame, frame)

    def state(self, state: bytes) -> None:
        self.tell(frames.snapshot(frames.address("room", "a"), state))

    def event(self, payload: bytes) -> None:
        self.tell(frames.event(frames.address("room", "a"), b'"posted"', payload))

    def later(self, callback: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(callback)

    def drop(self) -> None:
        self._loop.call_soon_threadsafe(self._receiver.on_closed, 1006, "")

    def until(self, kind: str) -> dict[str, Any]:
        """Waits for a frame of this type."""
        while (frame := self.frames.get(timeout=LIMIT_S))["type"] != kind:
            pass
        return frame


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def client(server: Server) -> Iterator[SyncClient]:
    with SyncClient(Client(server)) as client:
        yield client


@pytest.fixture
def room(client: SyncClient) -> Room:
    return client.actor(Room, "a", name="room")


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    """Another thread."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_call_gives_its_result(client: SyncClient, room: Room) -> None:
    assert client.call(room.post, text="hi") == Message(text="hi")
    assert client.call(room.post, "hi") == Message(text="hi")
    assert client.dynamic("room", "a").post(text="hi") == {"text": "hi"}
    assert client.dynamic("room", "a").call("post", text="hi") == {"text": "hi"}


def test_options_go_with_the_calls_of_their_handles(client: SyncClient, server: Server) -> None:
    options = client.options(timeout=60, idempotency_key="order-17")
    client.call(options.actor(Room, "a", name="room").post, text="hi")
    assert server.until("rpc")["idempotencyKey"] == "order-17"
    options.dynamic("room", "a").post(text="hi")
    assert server.until("rpc")["idempotencyKey"] == "order-17"


def test_errors_are_those_of_the_asynchronous_client(client: SyncClient, room: Room, server: Server) -> None:
    with pytest.raises(ActorError, match="no") as refused:
        client.dynamic("room", "a").refuse()
    assert (refused.value.code, refused.value.data) == ("forbidden", [1])
    with pytest.raises(CallTimeout):
        client.call(client.options(timeout=0.001).actor(Room, "a", name="room").hang)
    with pytest.raises(TypeError):
        client.call(room.post, txt="hi")  # type: ignore[call-arg]
    with pytest.raises(EventError):
        client.events(room, "shouted")
    server.hung = server.drop
    with pytest.raises(Disconnected):
        client.call(room.hang)


@pytest.mark.parametrize("refusal", [Unauthorized("the token has expired"), Unavailable("nobody there")])
def test_a_client_that_cannot_be_opened_leaves_no_thread(server: Server, refusal: ActorError) -> None:
    server.refusal = refusal
    before = set(threading.enumerate())
    with pytest.raises(type(refusal)):
        SyncClient(Client(server))
    assert set(threading.enumerate()) <= before


def test_a_typed_handle_that_is_called_says_how(client: SyncClient, room: Room) -> None:
    with pytest.raises(HandleError, match=r"client\.call\(handle\.post, …\)"):
        room.post(text="hi")  # type: ignore[unused-coroutine]
    with pytest.raises(HandleError, match=r"client\.stream\(handle\.words, …\)"):
        room.words(text="hi")


def test_methods_of_anything_else_are_refused(client: SyncClient, room: Room) -> None:
    with SyncClient(Client(Server())) as other, pytest.raises(UsageError, match="of this client"):
        other.call(room.post, text="hi")
    with pytest.raises(UsageError, match="of this client"):
        client.call(asyncio.sleep, 0)
    with pytest.raises(UsageError, match=r"words yields: use client\.stream"):
        client.call(room.words, text="hi")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"post returns one result: use client\.call"):
        client.stream(room.post, text="hi")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a handle of this client"):
        client.state("room")  # type: ignore[call-overload]


def test_states_are_iterated_over(client: SyncClient, room: Room, server: Server) -> None:
    states = client.state(room)
    assert next(states) == RoomState()
    server.state(b'{"messages":[{"text":"hi"}]}')
    assert next(states) == RoomState(messages=[Message(text="hi")])
    assert next(client.state(room, raw=True)) == {"messages": [{"text": "hi"}]}
    assert next(client.state(client.dynamic("room", "a"))) == {"messages": [{"text": "hi"}]}


def test_events_are_heard_from_the_moment_the_stream_is_there(client: SyncClient, room: Room, server: Server) -> None:
    with client.events(room, Room.posted) as messages:
        server.event(b'{"text":"one"}')
        server.event(b'{"text":"two"}')
        assert next(messages) == Message(text="one")
        assert next(messages) == Message(text="two")
    assert server.until("event:unsub")
    assert list(messages) == []


def test_streams_are_plain_iterators(client: SyncClient, room: Room) -> None:
    assert list(client.stream(room.words, text="one two three")) == ["one", "two", "three"]
    assert list(client.dynamic("room", "a").stream("words", text="one two")) == ["one", "two"]


def test_leaving_an_iteration_ends_its_subscription(client: SyncClient, room: Room, server: Server) -> None:
    for _ in client.state(room):
        break
    gc.collect()
    assert server.until("state:unsub")


def test_leaving_a_stream_cancels_its_call(client: SyncClient, server: Server) -> None:
    words = client.dynamic("room", "a").stream("hang")
    server.hung = partial(server.frames.put, {"type": "hung"})
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(next, words, None)
        server.until("hung")
        words.close()
        assert reading.result(LIMIT_S) is None
    assert server.until("rpc:cancel")


def test_ctrl_c_ends_a_waiting_call_and_takes_it_back(client: SyncClient, room: Room, server: Server) -> None:
    main = threading.main_thread()
    assert threading.current_thread() is main
    assert main.ident is not None
    server.hung = partial(signal.pthread_kill, main.ident, signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            client.call(room.hang)
    finally:
        signal.signal(signal.SIGINT, before)
    assert server.until("rpc:cancel")
    assert client.call(room.post, text="hi") == Message(text="hi")


def test_closing_from_another_thread_ends_calls_and_iterations(
    client: SyncClient, room: Room, server: Server, beside: ThreadPoolExecutor
) -> None:
    messages = client.events(room, Room.posted)
    reading = beside.submit(list, messages)
    with ThreadPoolExecutor(1) as pool:
        calling = pool.submit(client.call, room.hang)
        server.until("rpc")
        client.close()
        with pytest.raises(Disconnected, match="the client was closed"):
            calling.result(LIMIT_S)
    assert reading.result(LIMIT_S) == []
    assert (client.status, list(messages)) == ("closed", [])
    with pytest.raises(Disconnected, match="the client was closed"):
        client.call(room.post, text="hi")
    with pytest.raises(Disconnected, match="the client was closed"):
        client.state(room)
    client.close()


def test_two_threads_cannot_read_one_stream(
    client: SyncClient, room: Room, server: Server, beside: ThreadPoolExecutor
) -> None:
    server.hung = partial(server.frames.put, {"type": "hung"})
    words = client.dynamic("room", "a").stream("hang")
    reading = beside.submit(next, words, None)
    server.until("hung")
    with pytest.raises(UsageError, match="another thread reads this stream already"):
        next(words)
    words.close()
    assert reading.result(LIMIT_S) is None


def test_the_status_can_be_asked_for_and_followed(client: SyncClient, server: Server) -> None:
    assert client.status == "open"
    with client.statuses() as statuses:
        assert next(statuses) == "open"
        server.later(server.listens.clear)
        server.drop()
        assert next(statuses) == "reconnecting"
        server.later(server.listens.set)
        assert next(statuses) == "open"
    assert repr(client).startswith("<SyncClient of ")


def test_it_works_in_a_thread_whose_loop_is_running(server: Server) -> None:
    async def cell() -> Message:
        with SyncClient(Client(server)) as client:
            return client.call(client.actor(Room, "a", name="room").post, text="hi")

    assert asyncio.run(cell()) == Message(text="hi")


def test_its_own_thread_cannot_wait_for_it(client: SyncClient, room: Room, server: Server) -> None:
    raised: queue.Queue[BaseException] = queue.Queue()

    def call_from_the_loop() -> None:
        try:
            client.call(room.post, text="hi")
        except UsageError as error:
            raised.put(error)

    server.hung = call_from_the_loop
    with pytest.raises(CallTimeout):
        client.call(client.options(timeout=0.001).actor(Room, "a", name="room").hang)
    assert "in its own thread" in str(raised.get(timeout=LIMIT_S))


def test_a_client_that_nothing_refers_to_is_closed(server: Server) -> None:
    client = SyncClient(Client(server))
    del client
    gc.collect()
    assert server.until("closed")
