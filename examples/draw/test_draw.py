"""The drawing board, in process: no port, no broker, no waiting."""

import pytest

from examples.draw.app import MAX_CHUNKS, Board, BoardState, app
from zocket import ZocketError
from zocket.client import Client
from zocket.testing import TestApp


async def state_of(client: Client, board: Board) -> BoardState:
    async for state in client.state(board):
        return state
    raise AssertionError("there was no state")


async def test_a_stroke_grows_chunk_by_chunk() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        board = alice.actor(Board, "main")
        await board.begin(stroke="sfirst00", color="red", size=14, points=[1, 2])
        await board.extend(stroke="sfirst00", points=[3, 4, 5, 6])
        (stroke,) = (await state_of(alice, board)).strokes.values()
        assert (stroke.color, stroke.size, stroke.chunks) == ("red", 14, [[1, 2], [3, 4, 5, 6]])


async def test_undo_takes_away_the_callers_newest_stroke_only() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        hers, his = alice.actor(Board, "main"), bob.actor(Board, "main")
        await hers.begin(stroke="sfirst00", color="ink", size=6, points=[0, 0])
        await hers.begin(stroke="ssecond0", color="ink", size=6, points=[0, 0])
        await his.begin(stroke="sthird00", color="ink", size=6, points=[0, 0])
        assert await hers.undo() is True
        assert list((await state_of(alice, hers)).strokes) == ["sfirst00", "sthird00"]
        assert await hers.undo() is True
        assert await hers.undo() is False
        assert list((await state_of(bob, his)).strokes) == ["sthird00"]


async def test_nobody_draws_on_with_somebody_elses_stroke() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        await alice.actor(Board, "main").begin(stroke="sfirst00", color="ink", size=6, points=[0, 0])
        his = bob.actor(Board, "main")
        with pytest.raises(ZocketError) as caught:
            await his.extend(stroke="sfirst00", points=[9, 9])
        assert caught.value.code == "not_yours"
        with pytest.raises(ZocketError) as caught:
            await his.begin(stroke="sfirst00", color="ink", size=6, points=[0, 0])
        assert caught.value.code == "stroke_exists"
        assert (await state_of(bob, his)).strokes["sfirst00"].chunks == [[0, 0]]


async def test_clearing_under_the_pen_is_no_error() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        board = alice.actor(Board, "main")
        await board.begin(stroke="sfirst00", color="ink", size=6, points=[0, 0])
        await board.clear()
        await board.extend(stroke="sfirst00", points=[1, 1])
        assert (await state_of(alice, board)).strokes == {}


async def test_a_stroke_that_never_ends_is_refused() -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        board = alice.actor(Board, "main")
        await board.begin(stroke="sfirst00", color="ink", size=6, points=[0, 0])
        for _ in range(MAX_CHUNKS - 1):
            await board.extend(stroke="sfirst00", points=[1, 1])
        with pytest.raises(ZocketError) as caught:
            await board.extend(stroke="sfirst00", points=[1, 1])
        assert caught.value.code == "stroke_too_long"


@pytest.mark.parametrize("points", [[], [1], [1, 2, 3], [-1, 0], [0, 1_441], [1, 2] * 129])
async def test_points_that_are_no_points_of_the_board_are_refused(points: list[int]) -> None:
    async with TestApp(app) as t:
        alice = await t.connect()
        board = alice.actor(Board, "main")
        with pytest.raises(ZocketError) as caught:
            await board.begin(stroke="sfirst00", color="ink", size=6, points=points)
        assert caught.value.code == "validation_failed"
        assert (await state_of(alice, board)).strokes == {}


async def test_a_cursor_is_seen_by_the_others_under_the_name_of_its_owner() -> None:
    async with TestApp(app) as t:
        alice, bob = await t.connect(), await t.connect()
        hers, his = alice.actor(Board, "main"), bob.actor(Board, "main")
        heard = bob.events(his, Board.cursor)
        await his.point(x=0, y=0)
        await hers.point(x=700, y=600)
        async for cursor in heard:
            assert (cursor.x, cursor.y) == (700, 600)
            people = (await state_of(bob, his)).people
            assert sorted(person.name for person in people.values()) == ["Heron", "Otter"]
            assert people[cursor.session].name == "Heron"
            break
