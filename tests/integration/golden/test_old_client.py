"""A client that knows the contract alone, beside everything that a server of ours can do: it bears every frame."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.golden.features import FEATURES, play, seated
from tests.integration.golden.oldclient import OldClient, assign
from tests.integration.golden.worlds import chain_world, existing_gateway_world, standalone_world
from zocket.testing import VirtualLoop

if TYPE_CHECKING:
    from pathlib import Path

every = pytest.mark.parametrize("name", sorted(FEATURES))


@every
async def test_a_client_of_old_bears_every_feature_of_a_standalone_server(name: str, tmp_path: Path) -> None:
    async with standalone_world(tmp_path) as world:
        await play(world, [name])


@every
async def test_a_client_of_old_bears_every_feature_of_gateway_and_runtime(name: str) -> None:
    async with chain_world() as world:
        await play(world, [name])


NEEDS_OUR_GATEWAY = {
    "cancelled_by_another": "a gateway of old ignores the frame",
    "errors": "it does not answer for actors that nobody serves",
    "kicked_and_closed": "it closes no socket",
    "runtime_crashes": "it subscribes nobody again",
    "slow_reader": "what it does with one is its own affair",
    "too_many_frames": "it counts no calls",
}


MOVE_TIME = {"call_that_takes_too_long", "idle_instances_leave", "timers_and_reminders"}
"""On a real server nothing arrives while the clock of the others is moved."""


@pytest.mark.parametrize("name", sorted(FEATURES.keys() - NEEDS_OUR_GATEWAY.keys()))
async def test_a_client_of_old_at_a_gateway_of_old_bears_every_feature_of_our_runtime(name: str) -> None:
    async with existing_gateway_world() as world:
        await play(world, [name])


@pytest.mark.nats
async def test_a_client_of_old_at_a_gateway_of_old_bears_all_features_over_nats() -> None:
    async with existing_gateway_world() as world:
        await play(world, sorted(FEATURES.keys() - NEEDS_OUR_GATEWAY.keys() - MOVE_TIME))


@pytest.mark.nats
async def test_a_client_of_old_bears_all_features_over_nats() -> None:
    async with chain_world() as world:
        await play(world, sorted(FEATURES.keys() - MOVE_TIME))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(st.sampled_from(sorted(FEATURES)), min_size=2, max_size=6))
def test_a_client_of_old_bears_features_in_any_order(names: list[str]) -> None:
    async def played() -> None:
        async with chain_world() as world:
            await play(world, names)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(played())


async def test_a_server_that_stops_says_so_by_closing_and_answers_first(tmp_path: Path) -> None:
    async with standalone_world(tmp_path) as world:
        me, _ = seated(world)
        call = me.begin("box", "change", how="append", at=0, value=1)
    assert me.client.closed_with == 1001
    assert call in me.client.answers
    world.check()
    async with chain_world() as world:
        me, _ = seated(world)
        call = me.begin("box", "change", how="append", at=0, value=1)
        assert world.t is not None
        assert world.t.gateway is not None
        await world.t.gateway.drain(5)
        assert me.client.closed_with == 1012
        assert call in me.client.answers
        world.check()


async def test_the_end_of_a_token_is_a_close_code(tmp_path: Path) -> None:
    async with standalone_world(tmp_path) as world:
        me = world.seat("ada", expires_in_s=30)
        await me.call("box", "whole")
        await world.clock.advance(31)
        assert me.client.closed_with == 4401
        world.check()
    async with chain_world() as world:
        me = world.seat("ada", expires_in_s=30)
        await me.call("box", "whole")
        await world.clock.advance(31)
        assert me.client.closed_with == 4401
        world.check()


async def test_a_call_that_is_given_up_is_answered_as_an_error() -> None:
    async with chain_world() as world:
        me, _other = seated(world)
        assert world.t is not None
        call = me.begin("box", "wait", seconds=10)
        for _ in range(3):
            await asyncio.sleep(2)
            assert call not in me.client.answers
            await world.t.kill()
            await world.t.start()
        answer = await me.answer(call)
        assert (answer["code"], isinstance(answer["error"], str)) == ("dead_letter", True)
        await world.check_states()


async def test_limits_are_answers_or_frames_that_are_ignored(tmp_path: Path) -> None:
    async with standalone_world(tmp_path, rate_per_s=5, rate_burst=20, max_subscriptions=9) as world:
        me, _ = seated(world)
        for number in range(3):
            me.subscribe("state:sub", "box", f"more {number}")
        calls = [me.begin("box", "whole") for _ in range(30)]
        answers = [await me.answer(call) for call in calls]
        assert {answer.get("code") for answer in answers} == {None, "rate_limited"}
        assert me.client.ignored["error"] == 2, "too many subscriptions"
        world.check()


def snapshot(state: Any) -> dict[str, Any]:
    return {"type": "state:snapshot", "actor": "a", "actorId": "b", "state": state}


def patch(*operations: Any) -> dict[str, Any]:
    return {"type": "state:patch", "actor": "a", "actorId": "b", "patches": operations}


WELCOME = {"type": "welcome", "clientId": "s"}


@pytest.mark.parametrize(
    "heard",
    [
        ["{"],
        ["5"],
        [snapshot({})],
        [WELCOME, {"type": "state:gone", "actor": "a", "actorId": "b"}],
        [WELCOME, snapshot({}) | {"more": 1}],
        [WELCOME, {"type": "welcome", "clientId": "another"}],
        [WELCOME, {"type": "rpc:result", "id": 1}],
        [WELCOME, {"type": "event", "actor": "a", "actorId": "b", "event": "e", "payload": 1}],
        [WELCOME, snapshot({}) | {"actorId": "elsewhere"}],
        [WELCOME, patch()],
        [WELCOME, '{"type":"state:snapshot","actor":"a","actorId":"b","state":NaN}'],
        [WELCOME, snapshot([1, 2]), patch({"op": "add", "path": "/0", "value": 0})],
        [WELCOME, snapshot([1, 2]), patch({"op": "move", "from": "/0", "path": "/1"})],
        [WELCOME, snapshot({"t": "a"}), patch({"op": "text", "path": "/t", "value": "b"})],
        [WELCOME, snapshot({"t": "a"}), patch({"op": "remove", "path": "/u"})],
        [WELCOME, snapshot({"t": "a"}), patch({"op": "replace", "path": "", "value": {}})],
    ],
    ids=lambda heard: str(heard[-1])[:60],
)
def test_a_client_of_old_cannot_bear(heard: list[Any]) -> None:
    client = OldClient()
    client.subscribe("state:sub", "a", "b")
    for frame in heard:
        client.hears(frame if isinstance(frame, str) else json.dumps(frame))
    assert len(client.unbearable) == 1, client.unbearable


def test_a_client_of_old_assigns_at_an_index() -> None:
    state: Any = {"a/b": [1, 2, 3]}
    for operation in (
        {"op": "add", "path": "/a~1b/0", "value": 9},
        {"op": "add", "path": "/a~1b/-", "value": 4},
        {"op": "remove", "path": "/a~1b/1"},
        {"op": "move", "path": "/a~1b/0", "from": "/a~1b/1"},
    ):
        assign(state, operation)
    assert state == {"a/b": [9, 3, 4]}
