"""The chat's actors, in process: no port, no broker, no waiting."""

from collections.abc import AsyncIterable, Callable

import pytest

from examples.chat.app import KEPT_MESSAGES, TRIM_AT, ChatRoom, Lobby, RoomState, app
from zocket import ZocketError
from zocket.testing import TestApp


async def first_state(states: AsyncIterable[RoomState], condition: Callable[[RoomState], bool]) -> RoomState:
    """The first state that meets the condition."""
    async for state in states:
        if condition(state):
            return state
    raise AssertionError("the states ended")


def names(state: RoomState) -> list[str]:
    return sorted(person.name for person in state.online.values())


async def test_a_message_reaches_everybody_with_author_and_time() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        room = alice.actor(ChatRoom, "general")
        await room.join(name="Alice")
        sent = await room.post(text="  hello  ")
        assert (sent.id, sent.author, sent.text) == (1, "Alice", "hello")
        assert sent.sent_at_ms > 1_700_000_000_000
        seen = await first_state(bob.state(bob.actor(ChatRoom, "general")), lambda state: state.messages != [])
        assert seen.messages == [sent]


async def test_people_are_online_from_their_first_word_to_their_disconnect() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(user_id="alice"), await t.connect()
        watched = alice.actor(ChatRoom, "general")
        states = alice.state(watched)
        await first_state(states, lambda state: names(state) == ["alice"])
        await bob.actor(ChatRoom, "general").join(name="Bob")
        await first_state(states, lambda state: names(state) == ["Bob", "alice"])
        await bob.aclose()
        await first_state(states, lambda state: names(state) == ["alice"])


async def test_who_goes_to_another_room_is_no_longer_online_in_the_old_one() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        old = bob.actor(ChatRoom, "general")
        await old.join(name="Bob")
        await old.leave()
        await bob.actor(ChatRoom, "ideas").join(name="Bob")
        watched = alice.actor(ChatRoom, "general")
        await watched.join(name="Alice")
        seen = await first_state(alice.state(watched), lambda state: "Alice" in names(state))
        assert names(seen) == ["Alice"]
        with pytest.raises(ZocketError, match="join the room first") as caught:
            await old.post(text="from outside")
        assert caught.value.code == "not_joined"


async def test_typing_reaches_the_others_and_leaves_no_trace() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        heard = alice.events(alice.actor(ChatRoom, "general"), ChatRoom.typing)
        await alice.actor(ChatRoom, "general").join(name="Alice")
        room = bob.actor(ChatRoom, "general")
        await room.join(name="Bob")
        await room.keystroke()
        async for typing in heard:
            assert typing.name == "Bob"
            break
        seen = await first_state(bob.state(room), lambda state: "Bob" in names(state))
        assert seen.messages == []


@pytest.mark.parametrize("text", ["", "   ", "x" * 2_001])
async def test_a_message_without_text_or_with_too_much_is_refused(text: str) -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        room = alice.actor(ChatRoom, "general")
        with pytest.raises(ZocketError) as caught:
            await room.post(text=text)
        assert caught.value.code == "validation_failed"
        assert (await room.post(text="fine")).id == 1


async def test_a_room_forgets_its_oldest_messages_in_one_step() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        room = alice.actor(ChatRoom, "general")
        for number in range(1, TRIM_AT + 1):
            await room.post(text=f"number {number}")
        seen = await first_state(alice.state(room), lambda state: state.last_id == TRIM_AT)
        assert [message.id for message in seen.messages] == list(range(TRIM_AT - KEPT_MESSAGES + 1, TRIM_AT + 1))


async def test_after_a_crash_a_room_is_empty_and_works() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        room = alice.actor(ChatRoom, "general")
        await room.post(text="lost with the process: the state is in memory")
        await t.crash()
        assert (await room.post(text="first of the new one")).id == 1


async def test_the_lobby_lists_a_room_once() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        lobby = alice.actor(Lobby, "main")
        await lobby.open(room="book-club")
        await lobby.open(room="book-club")
        async for state in alice.state(lobby):
            assert state.rooms == ["general", "ideas", "random", "book-club"]
            break


@pytest.mark.parametrize("room", ["", "-a", "With Space", "ä", "x" * 25])
async def test_a_room_needs_a_name_that_fits_into_an_address(room: str) -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        with pytest.raises(ZocketError) as caught:
            await alice.actor(Lobby, "main").open(room=room)
        assert caught.value.code == "validation_failed"


async def test_the_lobby_tells_the_others_where_somebody_wrote() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        heard = bob.events(bob.actor(Lobby, "main"), Lobby.activity)
        await bob.actor(Lobby, "main").open(room="ideas")
        await alice.actor(Lobby, "main").announce(room="ideas")
        async for activity in heard:
            assert activity.room == "ideas"
            break
