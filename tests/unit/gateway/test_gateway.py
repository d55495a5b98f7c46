"""Sessions on a broker: what goes to the runtime, what comes back, and what happens when either is away."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from zocket.broker.port import Message
from zocket.errors import Unavailable
from zocket.exposition import render
from zocket.gateway.gateway import LOST_AFTER_S, RESTARTING_CODE, RESUBSCRIPTIONS_PER_TURN
from zocket.ids import Scope
from zocket.metrics import MAX_CODES
from zocket.protocol import envelopes, subjects
from zocket.protocol.edge import EXPIRED_CODE
from zocket.testing.clock import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.unit.gateway.conftest import World

    Open = Callable[..., AbstractAsyncContextManager[World]]

OTHER = Scope("rival", "chat")


async def test_welcome_is_the_first_frame_and_names_the_session(world: Open) -> None:
    async with world() as w:
        client = w.client()
        assert client.frames == [{"type": "welcome", "clientId": client.session_id, "features": ["rpc:cancel"]}]


async def test_everyone_is_told_that_a_session_came_and_went(world: Open) -> None:
    """R6, the gateway's side."""
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client(user_id="ada")
        await w.settle()
        client.session.closed()
        client.session.closed()
        await w.settle()
        scope = {"workspaceId": "acme", "projectId": "chat"}
        at_ms = int(EPOCH_S * 1000)
        assert runtime.notices["connected"] == [
            {"scope": scope, "sessionId": client.session_id, "userId": "ada", "connectedAt": at_ms}
        ]
        assert runtime.notices["disconnected"] == [
            {"scope": scope, "sessionId": client.session_id, "disconnectedAt": at_ms}
        ]


async def test_a_request_reaches_the_runtime_in_an_envelope_around_the_clients_own_bytes(world: Open) -> None:
    """R20, inbound."""
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client(user_id="ada", claims=b'{"sub":"ada","role":1}')
        client.calls("c1", actor_id="x y", method="post", input={"text": "hé"}, extra=[1])
        await w.settle()
        assert runtime.subjects == ["inbound.acme.chat.room.x%20y"]
        assert runtime.requests == [
            {
                "scope": {"workspaceId": "acme", "projectId": "chat"},
                "sessionId": client.session_id,
                "userId": "ada",
                "claims": {"sub": "ada", "role": 1},
                "gateway": "g_test",
                "credits": True,
                "requestId": f"{client.session_id[-10:]}.1",
                "message": {
                    "type": "rpc",
                    "id": "c1",
                    "actor": "room",
                    "actorId": "x y",
                    "method": "post",
                    "input": {"text": "hé"},
                    "extra": [1],
                },
            }
        ]


async def test_requests_of_one_socket_keep_their_order(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", "board")
        client = w.client()
        for number in range(50):
            client.calls(number, actor=("room", "board")[number % 2])
        await w.settle()
        by_actor = {
            actor: [r["message"]["id"] for r in runtime.requests if r["message"]["actor"] == actor]
            for actor in ("room", "board")
        }
        assert by_actor == {"room": list(range(0, 50, 2)), "board": list(range(1, 50, 2))}


@pytest.mark.parametrize("own", [True, False], ids=["batch", "single"])
async def test_a_call_is_answered_once_and_a_second_result_is_dropped(world: Open, own: bool) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        client.calls("c1")
        await w.settle()
        client.taken()
        for result in (1, 2):
            frame = {"type": "rpc:result", "id": "c1", "result": result}
            runtime.batches(w.gateway, ([client], frame)) if own else runtime.sends(client, frame)
        await w.settle()
        assert client.taken() == [{"type": "rpc:result", "id": "c1", "result": 1}]


@pytest.mark.parametrize("own", [True, False], ids=["batch", "single"])
async def test_a_welcome_of_a_runtime_is_dropped(world: Open, own: bool) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        client.taken()
        frame = {"clientId": "me", "type": "welcome"}
        runtime.batches(w.gateway, ([client], frame)) if own else runtime.sends(client, frame)
        runtime.sends(client, {"future": 1, "type": "something:new"})
        await w.settle()
        assert client.taken() == [{"future": 1, "type": "something:new"}]


async def test_a_batch_reaches_its_audience_in_order(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        ada, bob, cyd = w.client(), w.client(), w.client()
        patch = {"type": "state:patch", "actor": "room", "actorId": "a", "patches": []}
        event = {"type": "event", "actor": "room", "actorId": "a", "event": "e", "payload": 1}
        ada.calls(7)
        for client in (ada, bob, cyd):
            client.taken()
        runtime.batches(w.gateway, ([ada, bob], patch), ([ada], event), ([ada], {"type": "rpc:result", "id": 7}))
        await w.settle()
        assert ada.taken() == [patch, event, {"type": "rpc:result", "id": 7}]
        assert bob.taken() == [patch]
        assert cyd.taken() == []


async def test_a_broadcast_is_never_an_answer(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        ada, bob = w.client(), w.client()
        ada.calls(1)
        for client in (ada, bob):
            client.taken()
        for frame in ({"type": "rpc:result", "id": 1}, {"id": 1, "type": "rpc:result"}, {"type": "welcome"}):
            runtime.batches(w.gateway, ([ada, bob], frame))
        await w.settle()
        assert ada.taken() == bob.taken() == []
        assert ada.session.edge.pending


async def test_a_runtime_reaches_no_session_of_another_tenant(world: Open) -> None:
    async with world() as w:
        rival = await w.runtime("room", scope=OTHER)
        victim = w.client()
        w.client(scope=OTHER)
        victim.calls(1)
        victim.taken()
        frame = {"type": "event", "actor": "room", "actorId": "a", "event": "e", "payload": "gotcha"}
        for scope in (OTHER, victim.session.project.scope):
            rival.batches(w.gateway, ([victim], frame), ([victim], {"type": "rpc:result", "id": 1}), scope=scope)
            rival.sends(victim, frame, scope=scope)
        await w.settle()
        assert victim.taken() == []


@pytest.mark.parametrize(
    "payload", [b"", b"nonsense", b"{}", b'{"scope":{"workspaceId":"acme"}}', b"\xff" * 9, b"[" * 5000]
)
async def test_broken_messages_of_a_runtime_harm_nobody(world: Open, payload: bytes) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        await w.settle()
        client.taken()
        for subject in (
            "gateway.acme.chat.g_test",
            f"outbound.acme.chat.{client.session_id}",
            "runtime.announce.acme.chat",
            "outbound.acme.chat.nobody",
        ):
            runtime.broker.send([Message(subject, payload)])
        runtime.sends(client, {"type": "event", "after": True})
        await w.settle()
        assert client.taken() == [{"type": "event", "after": True}]


async def test_a_call_without_a_result_is_answered_with_timeout(world: Open) -> None:
    async with world(call_timeout_s=60.0) as w:
        runtime = await w.runtime("room")
        client = w.client()
        client.calls("c1")
        await w.clock.advance(59.0)
        client.taken()
        await w.clock.advance(2.5)
        [answer] = client.taken()
        assert (answer["id"], answer["code"]) == ("c1", "timeout")
        assert answer["requestId"] == f"{client.session_id[-10:]}.1"
        runtime.sends(client, {"type": "rpc:result", "id": "c1", "result": "late"})
        await w.settle()
        assert client.taken() == []


async def test_an_actor_type_that_the_runtime_does_not_announce_is_unknown_at_once(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        await w.settle()
        client.taken()
        client.calls(1, actor="nobody")
        client.subscribes(actor="nobody")
        answer, problem = client.taken()
        assert (answer["id"], answer["error"], answer["code"]) == (1, "Unknown actor: nobody", "unknown_actor")
        assert (problem["type"], problem["message"], problem["actorId"]) == ("error", "Unknown actor: nobody", "a")
        assert not client.session.edge.subscriptions
        assert runtime.requests == []


async def test_a_call_that_is_faster_than_the_first_announcement_is_answered_when_it_comes(world: Open) -> None:
    async with world() as w:
        await w.runtime("room", epoch="e_1")
        client = w.client()
        client.calls(1, actor="nobody")
        client.calls(2, actor="room")
        await w.settle()
        assert [f.get("error") for f in client.taken()] == [None, "Unknown actor: nobody"]
        assert set(client.session.edge.pending) == {b"2"}


async def test_the_first_session_of_a_project_asks_its_runtime_to_announce_itself(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        first = w.client()
        w.client()
        await w.settle()
        assert runtime.discoveries == 1
        for client in list(first.session.project.sessions.values()):
            client.closed()
        w.client()
        await w.settle()
        assert runtime.discoveries == 2


async def test_a_runtime_that_announces_nothing_is_known_by_its_consumers(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        client.taken()
        client.calls(1, actor="room")
        client.calls(2, actor="nobody")
        await w.settle()
        assert [(f["id"], f["error"]) for f in client.taken()] == [(2, "Unknown actor: nobody")]
        assert [r["message"]["id"] for r in runtime.requests] == [1]
        client.calls(3, actor="nobody")
        assert [f["id"] for f in client.taken()] == [3]
        await runtime.consume("nobody")
        await w.clock.advance(3.0)
        client.calls(4, actor="nobody")
        await w.settle()
        assert client.taken() == []
        assert [r["message"]["id"] for r in runtime.requests][-1] == 4


async def test_where_nothing_is_known_of_a_project_its_calls_wait_for_a_runtime(world: Open) -> None:
    async with world() as w:
        client = w.client()
        client.calls(1)
        await w.settle()
        client.calls(2)
        await w.settle()
        assert len(client.taken()) == 1
        runtime = await w.runtime("room")
        assert [r["message"]["id"] for r in runtime.requests] == [1, 2]


async def test_the_consumers_are_listed_once_in_a_while_however_many_ask(
    world: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world() as w:
        listed = []
        original = w.broker.consumer_names

        async def counted(stream: str) -> list[str]:
            listed.append(stream)
            return await original(stream)

        monkeypatch.setattr(w.broker, "consumer_names", counted)
        client = w.client()
        for number in range(40):
            client.calls(number, actor=f"t{number}")
            await w.settle()
        assert listed == ["INBOUND"]
        await w.clock.advance(3.0)
        client.calls("later", actor="t1")
        await w.settle()
        assert listed == ["INBOUND"] * 2


async def test_where_the_consumers_cannot_be_listed_calls_go_out_and_the_broker_is_not_stormed(
    world: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        listed = []

        async def refused(stream: str) -> list[str]:
            listed.append(stream)
            raise Unavailable("no permission")

        monkeypatch.setattr(w.broker, "consumer_names", refused)
        client = w.client()
        client.taken()
        for number in range(20):
            client.calls(number)
            await w.settle()
        assert len(runtime.requests) == 20
        assert client.taken() == []
        assert len(listed) == 1


async def test_doubtful_requests_are_bounded(world: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.gateway.directory.MAX_DOUBTFUL", 3)
    async with world() as w:
        await w.runtime("room")
        client = w.client()
        client.taken()
        for number in range(5):
            client.calls(number, actor="nobody")
        assert len(client.session.project.doubtful) == 3
        await w.settle()
        assert [f["id"] for f in client.taken()] == [0, 1, 2]


async def test_a_new_epoch_sends_all_subscriptions_again_in_their_order(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client, idle = w.client(), w.client()
        client.subscribes(actor_id="a")
        client.subscribes(actor_id="b", kind="event:sub")
        client.subscribes(actor_id="c")
        client.subscribes(actor_id="c", kind="state:unsub")
        await w.settle()
        runtime.requests.clear()
        runtime.announce("e_1", "room")
        await w.settle()
        assert runtime.requests == []
        runtime.announce("e_2", "room")
        await w.settle()
        assert [(r["sessionId"], r["message"]) for r in runtime.requests] == [
            (client.session_id, {"type": "state:sub", "actor": "room", "actorId": "a"}),
            (client.session_id, {"type": "event:sub", "actor": "room", "actorId": "b"}),
        ]
        assert idle.session.edge.number == 0
        assert len({r["requestId"] for r in runtime.requests}) == 2


async def test_a_gateway_that_was_taken_for_dead_sends_the_subscriptions_of_that_project_again(world: Open) -> None:
    async with world() as w:
        runtime, other = await w.runtime("room", epoch="e_1"), await w.runtime("room", epoch="o_1", scope=OTHER)
        for client in (w.client(), w.client(OTHER)):
            client.subscribes()
        await w.settle()
        runtime.requests.clear()
        other.requests.clear()
        runtime.batches(w.gateway, epoch="e_1", lapsed=True)
        await w.settle()
        assert [r["message"]["type"] for r in runtime.requests] == ["state:sub"]
        assert other.requests == []


async def test_a_superseded_runtime_that_took_the_gateway_for_dead_changes_nothing(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        w.client().subscribes()
        await w.settle()
        runtime.announce("e_2", "room")
        await w.settle()
        runtime.requests.clear()
        runtime.batches(w.gateway, epoch="e_1", lapsed=True)
        await w.settle()
        assert runtime.requests == []


async def test_a_superseded_runtime_that_speaks_on_changes_nothing(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        client.subscribes()
        await w.settle()
        runtime.announce("e_2", "room", "board")
        await w.settle()
        runtime.requests.clear()
        runtime.announce("e_1", "room")
        await w.settle()
        assert runtime.requests == []
        assert client.session.project.reigns[0].epoch == "e_2"
        assert "board" in client.session.project.actor_types


async def test_a_runtime_that_invents_codes_fills_no_memory(world: Open) -> None:
    async with world(max_pending_calls=1_000) as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        for number in range(300):
            client.calls(number)
        await w.settle()
        for number in range(300):
            code = "x" * 10_000 if number == 0 else f"code{number}"
            answer = {"type": "rpc:result", "id": number, "error": "no", "code": code}
            runtime.batches(w.gateway, ([client], answer))
        await w.settle()
        calls = w.gateway.statistics.calls
        assert sum(calls.values()) == 300
        assert len(calls) <= MAX_CODES + 1
        assert max(map(len, calls)) <= 64
        assert len({frame.get("code") for frame in client.taken()}) == 301, "callers get them all the same"


async def test_r18_frames_of_a_superseded_runtime_reach_nobody(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        await w.settle()
        client.taken()
        runtime.announce("e_2", "room")
        await w.settle()
        for number, epoch in enumerate(("e_1", None, "e_2", "e_3")):
            runtime.batches(w.gateway, ([client], {"type": "event", "n": number}), epoch=epoch)
        await w.settle()
        assert [frame["n"] for frame in client.taken()] == [1, 2, 3]
        assert w.gateway.statistics.dropped == 1


async def test_a_superseded_epoch_is_believed_again_once_nothing_is_heard_of_its_successor(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_2")
        client = w.client()
        client.subscribes()
        await w.settle()
        runtime.announce("e_1", "room")  # the one that stands down was heard last
        await w.settle()
        runtime.announces = None
        for _ in range(3):
            await w.clock.advance(5.0)
            runtime.requests.clear()
            runtime.announce("e_2", "room")
            await w.settle()
        assert client.session.project.reigns[0].epoch == "e_2"
        assert [request["message"]["type"] for request in runtime.requests] == ["state:sub"]


async def test_r18_of_two_runtimes_that_announce_themselves_the_one_that_took_over_later_counts(world: Open) -> None:
    """A gateway that has just come up hears a late word of the superseded one after that of its successor."""
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        runtime.announce_partition("e_2", ["room"], rank=7)
        runtime.announce_partition("e_1", ["room"], rank=3)
        await w.settle()
        assert client.session.project.reigns[0].epoch == "e_2"
        client.taken()
        for number, epoch in enumerate(("e_1", "e_2")):
            runtime.batches(w.gateway, ([client], {"type": "event", "n": number}), epoch=epoch)
        await w.settle()
        assert [frame["n"] for frame in client.taken()] == [1]
        runtime.announce_partition("e_1", ["room"], rank=9)  # its record was gone, and it wrote it again
        await w.settle()
        assert client.session.project.reigns[0].epoch == "e_1"


async def test_a_lower_rank_stands_behind_for_as_long_as_the_higher_one_is_heard(world: Open) -> None:
    """Somebody may have made the bucket of owner records anew."""
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        runtime.announce_partition("e_1", ["room"], rank=7)
        await w.settle()
        for _ in range(3):
            await w.clock.advance(5.0)
            runtime.announce_partition("e_2", ["room"], rank=1)
            await w.settle()
        assert client.session.project.reigns[0].epoch == "e_2"


async def test_a_first_announcement_sends_again_only_if_the_runtime_has_just_come_up(world: Open) -> None:
    async with world() as w:
        client = w.client()
        client.subscribes()
        await w.settle()
        assert client.session.edge.number == 1
        await w.clock.advance(90.0)
        runtime = await w.runtime("room", epoch="e_1")
        await w.settle()
        assert [r["message"]["type"] for r in runtime.requests][-1] == "state:sub"
        late = w.client()
        late.subscribes()
        await w.settle()
        assert late.session.edge.number == 1


async def test_a_tenants_announcement_is_only_its_own(world: Open) -> None:
    async with world() as w:
        rival = await w.runtime("room", scope=OTHER)
        client = w.client()
        w.client(scope=OTHER)
        await w.settle()
        forged = envelopes.Announcement(envelopes.wire_scope(client.session.project.scope), "e_9", [])
        rival.broker.send([Message(subjects.announcement(OTHER), envelopes.encode(forged))])
        await w.settle()
        assert not client.session.project.reigns


async def test_thousands_of_subscriptions_are_sent_again_over_several_turns(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        clients = [w.client() for _ in range(30)]
        for client in clients:
            for number in range(50):
                client.subscribes(actor_id=str(number))
        await w.settle()
        before = sum(client.session.edge.number for client in clients)
        runtime.announce("e_2", "room")
        most, done = 0, before
        for _ in range(60):
            await asyncio.sleep(0)
            now = sum(client.session.edge.number for client in clients)
            most, done = max(most, now - done), now
        assert done - before == 1_500
        assert most < RESUBSCRIPTIONS_PER_TURN + 50


async def test_calls_go_first_while_the_broker_is_behind(world: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zocket.gateway.gateway.MAX_OUTSTANDING", 10)
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        client.subscribes()
        await w.settle()
        busy = w.client()
        monkeypatch.setattr(type(w.broker), "outstanding", property(lambda _: 11))
        runtime.announce("e_2", "room")
        await w.clock.advance(1.0)
        assert client.session.edge.number == 1
        busy.calls(1)
        monkeypatch.setattr(type(w.broker), "outstanding", property(lambda _: 10))
        await w.clock.advance(0.1)
        assert client.session.edge.number == 2
        monkeypatch.undo()  # the broker waits for what is outstanding before it closes


async def test_a_subscription_that_cannot_be_sent_again_is_tried_until_it_can(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        client.subscribes()
        await w.settle()
        client.taken()
        runtime.requests.clear()
        w.server.full_streams.add("INBOUND")
        runtime.announce("e_2", "room")
        await w.clock.advance(3.5)
        assert runtime.requests == []
        w.server.full_streams.clear()
        await w.clock.advance(1.0)
        assert [r["message"]["type"] for r in runtime.requests] == ["state:sub"]
        assert client.taken() == []


async def test_a_frame_that_contradicts_its_subject_is_dropped(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        ada, bob = w.client(), w.client()
        ada.taken()
        bob.taken()
        payload = envelopes.outbound(envelopes.outbound_head(runtime.scope, bob.session_id), b'{"type":"event"}')
        runtime.broker.send([Message(subjects.outbound(runtime.scope, ada.session_id), payload)])
        runtime.sends(ada, {"type": "event"}, scope=OTHER)
        runtime.batches(w.gateway, ([ada], {"type": "event"}), scope=OTHER)
        runtime.broker.send([Message("gateway.nobody.here.g_test", b"{}")])
        await w.settle()
        assert ada.taken() == bob.taken() == []
        assert w.gateway.statistics.dropped == 3


async def test_while_the_broker_is_away_calls_are_answered_unavailable(world: Open) -> None:
    async with world() as w:
        await w.runtime("room")
        client = w.client()
        client.taken()
        w.server.stop()
        assert not w.gateway.ready
        client.calls(1)
        client.subscribes()
        await w.settle()
        answer, problem = client.taken()
        assert (answer["id"], answer["code"]) == (1, "unavailable")
        assert (problem["type"], problem["code"], problem["actor"]) == ("error", "unavailable", "room")
        assert answer["requestId"] != problem["requestId"]
        assert not client.session.edge.pending


async def test_calls_that_the_lost_broker_had_not_acknowledged_are_answered(world: Open) -> None:
    async with world() as w:
        await w.runtime("room")
        client = w.client()
        await w.settle()
        client.taken()
        client.calls(1)
        w.server.stop()
        await w.settle()
        assert [(f["id"], f["code"]) for f in client.taken()] == [(1, "unavailable")]


async def test_calls_that_went_down_with_the_broker_are_answered_once_no_result_can_be_on_its_way(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        for number in range(3):
            client.calls(number)
        await w.settle()
        client.taken()
        w.server.stop()
        await w.clock.advance(3.0)
        w.server.start(lose_memory=True)
        await w.settle()
        await runtime.consume("room")
        await w.clock.advance(0.1)
        client.calls("new")
        await w.settle()
        runtime.batches(w.gateway, ([client], {"type": "rpc:result", "id": 1, "result": "late"}))
        await w.clock.advance(LOST_AFTER_S - 0.2)
        assert [(f["id"], f["result"]) for f in client.taken()] == [(1, "late")]
        await w.clock.advance(0.2)
        assert [(f["id"], f["code"]) for f in client.taken()] == [(0, "unavailable"), (2, "unavailable")]
        runtime.batches(w.gateway, ([client], {"type": "rpc:result", "id": 0, "result": "too late"}))
        runtime.batches(w.gateway, ([client], {"type": "rpc:result", "id": "new", "result": 1}))
        await w.settle()
        assert [(f["id"], f["result"]) for f in client.taken()] == [("new", 1)]


async def test_calls_that_a_restarted_broker_kept_wait_for_their_results(world: Open) -> None:
    async with world() as w:
        await w.runtime("room", epoch="e_1")
        client = w.client()
        client.calls(1)
        await w.settle()
        client.taken()
        w.server.stop()
        w.server.start()
        await w.clock.advance(2 * LOST_AFTER_S)
        assert client.taken() == []
        assert client.session.edge.pending


async def test_a_stream_that_somebody_deletes_is_missed_by_the_next_call(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        client.calls(1)
        await w.settle()
        client.taken()
        del w.server.streams["INBOUND"]
        client.calls(2)
        await w.settle()
        assert [(f["id"], f["code"]) for f in client.taken()] == [(2, "unavailable")]
        await runtime.consume("room")
        await w.clock.advance(0.1)
        client.calls(3)
        await w.clock.advance(LOST_AFTER_S + 0.1)
        assert [(f["id"], f["code"]) for f in client.taken()] == [(1, "unavailable")]
        assert [json.loads(call_id) for call_id in client.session.edge.pending] == [3]


async def test_after_a_broker_that_lost_its_memory_everything_works_again(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        client.subscribes()
        await w.settle()
        w.server.stop()
        client.subscribes(actor_id="meanwhile")
        await w.settle()
        runtime.requests.clear()
        client.taken()
        discoveries = runtime.discoveries
        w.server.start(lose_memory=True)
        await w.settle()
        assert w.gateway.ready
        assert runtime.discoveries == discoveries + 1
        assert set(w.server.streams) == {"INBOUND", "OUTBOUND"}
        await runtime.consume("room")
        await w.settle()
        assert [r["message"]["actorId"] for r in runtime.requests] == ["a", "meanwhile"]
        client.calls(5)
        await w.settle()
        assert runtime.requests[-1]["message"]["id"] == 5
        assert client.taken() == []


async def test_the_streams_are_tried_again_until_they_are_there(world: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as w:
        tries = []

        async def refused(spec: object) -> None:
            tries.append(spec)
            raise Unavailable("not yet")

        client = w.client()
        client.subscribes()
        await w.settle()
        with monkeypatch.context() as patched:
            patched.setattr(w.broker, "ensure_stream", refused)
            w.server.stop()
            w.server.start()
            await w.clock.advance(3.5)
            assert len(tries) == 4
            assert not w.gateway.ready
        number = client.session.edge.number
        await w.clock.advance(1.0)
        assert w.gateway.ready
        assert client.session.edge.number == number + 1


async def test_a_missing_stream_is_made_again_and_the_subscription_with_it(world: Open) -> None:
    async with world() as w:
        client = w.client()
        del w.server.streams["INBOUND"]
        client.calls(1)
        client.subscribes()
        await w.settle()
        assert [f.get("code") for f in client.taken()] == [None, "unavailable", "unavailable"]
        assert "INBOUND" in w.server.streams
        await w.clock.advance(1.1)
        runtime = await w.runtime("room")
        assert [r["message"]["type"] for r in runtime.requests] == ["state:sub"]
        assert client.taken() == []


async def test_a_full_stream_is_an_overload(world: Open) -> None:
    async with world() as w:
        client = w.client()
        client.taken()
        w.server.full_streams.add("INBOUND")
        client.calls(1)
        await w.settle()
        assert [(f["id"], f["code"]) for f in client.taken()] == [(1, "overloaded")]


async def test_a_frame_that_the_broker_does_not_take_is_too_large(world: Open) -> None:
    async with world() as w:
        client = w.client()
        client.taken()
        w.server.max_payload_bytes = 2_000
        client.calls(1, input="x" * 2_000)
        client.calls(2, input="x")
        await w.settle()
        assert [(f["id"], f["code"]) for f in client.taken()] == [(1, "too_large")]


async def test_a_socket_is_closed_when_its_token_expires(world: Open) -> None:
    async with world() as w:
        client = w.client(expires_at=EPOCH_S + 30)
        forever = w.client()
        await w.clock.advance(29.0)
        assert client.closed is None
        await w.clock.advance(2.5)
        assert client.closed == (EXPIRED_CODE, "the token has expired")
        assert forever.closed is None
        number = client.session.edge.number
        client.calls("too late")
        assert client.session.edge.number == number


async def test_a_gateway_whose_broker_is_closed_for_good_says_so(world: Open) -> None:
    closed = []

    async def lose_the_broker() -> None:
        async with world() as w:
            client = w.client()
            failed = asyncio.create_task(w.gateway.wait_failed())
            await w.settle()
            assert not failed.done()
            await w.broker.aclose()
            await failed
            assert not w.gateway.ready
            closed.append(client)

    with pytest.raises(Unavailable, match="closed"):
        await lose_the_broker()
    assert closed[0].closed is not None


async def test_a_drain_closes_idle_sockets_at_once_and_busy_ones_after_their_answer(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        idle, busy, stuck = w.client(), w.client(), w.client()
        busy.calls(1)
        stuck.calls(1)
        await w.settle()
        draining = asyncio.create_task(w.gateway.drain(5.0))
        await w.settle()
        assert not w.gateway.accepting
        assert idle.closed is not None
        assert idle.closed[0] == RESTARTING_CODE
        idle.session.closed()
        assert busy.closed is None
        runtime.sends(busy, {"type": "rpc:result", "id": 1, "result": "done"})
        await w.clock.advance(0.2)
        assert busy.frames[-1]["result"] == "done"
        assert busy.closed is not None
        busy.session.closed()
        assert stuck.closed is None
        late = w.client()
        assert late.closed is not None
        late.session.closed()
        await w.clock.advance(5.0)
        await draining
        assert stuck.closed is not None


async def test_the_end_of_a_gateway_closes_what_is_left_and_says_so(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
    await w.settle()
    assert client.closed is not None
    assert [n["sessionId"] for n in runtime.notices["disconnected"]] == [client.session_id]


async def test_what_was_counted_can_be_scraped(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room", epoch="e_1")
        client = w.client()
        await w.settle()
        for number in (1, 2, 3):
            client.calls(number)
        client.calls(4, actor="nobody")
        client.calls(5, actor="a.b")
        await w.settle()
        runtime.sends(client, {"type": "rpc:result", "id": 1})
        runtime.sends(client, {"type": "rpc:result", "id": 1})
        runtime.sends(client, {"type": "rpc:result", "id": 2, "error": "no", "code": "actor_error"})
        runtime.sends(client, {"type": "rpc:result", "id": 3, "error": "no"})
        await w.settle()
        text = render(w.gateway.samples()).decode()
        for line in (
            "zocket_gateway_sessions 1.0",
            'zocket_gateway_calls_total{code="ok"} 1.0',
            'zocket_gateway_calls_total{code="actor_error"} 1.0',
            'zocket_gateway_calls_total{code="error"} 1.0',
            'zocket_gateway_calls_total{code="unknown_actor"} 1.0',
            'zocket_gateway_calls_total{code="invalid_id"} 1.0',
            'zocket_gateway_frames_total{direction="in"} 5.0',
            'zocket_gateway_frames_total{direction="out"} 6.0',
            "zocket_gateway_dropped_total 1.0",
            "zocket_gateway_answer_seconds_count 3.0",
        ):
            assert line in text.splitlines()


async def test_after_the_socket_is_gone_nothing_is_sent_and_nothing_fails(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        client.calls(1)
        client.subscribes()
        w.server.stop()
        client.session.closed()
        client.taken()
        w.server.start()
        await w.clock.advance(5.0)
        runtime.sends(client, {"type": "event"})
        await w.settle()
        assert client.taken() == []


async def test_frames_arrive_as_the_runtime_spelled_them(world: Open) -> None:
    async with world() as w:
        runtime = await w.runtime("room")
        client = w.client()
        raw: list[bytes] = []
        client.send = raw.append  # type: ignore[method-assign, assignment]
        frame = '{"type":"event","actor":"room","actorId":"a","event":"e","payload":{"x" : 1.50, "y":"é"}}'.encode()
        runtime.batches(w.gateway, ([client], frame))
        await w.settle()
        assert raw == [frame]
        assert json.loads(raw[0])["payload"]["x"] == 1.5
