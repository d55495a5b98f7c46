"""The client's session: calls, subscriptions, replicas, and what it makes of frames."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zocket.errors import ActorError, CallTimeout, PatchError
from zocket.protocol import frames
from zocket.protocol.client_session import (
    ClientSession,
    EventArrived,
    Failed,
    Feed,
    Instance,
    Patched,
    Problem,
    Replica,
    Result,
    Snapshot,
    Welcome,
)
from zocket.protocol.replica import MAX_WAITING_PATCH_BYTES, MAX_WAITING_PATCHES

ROOM = Instance("chat", "general")
ROOM_JSON = frames.address(*ROOM)


def opened() -> ClientSession:
    session = ClientSession()
    session.opened()
    return session


def sent(session: ClientSession) -> list[Any]:
    found = [msgspec.json.decode(frame) for frame in session.outgoing]
    session.outgoing.clear()
    return found


def snapshot(session: ClientSession, state: str) -> None:
    assert session.receive(frames.snapshot(ROOM_JSON, state.encode()))


def patch(*operations: dict[str, Any]) -> bytes:
    return frames.patch(ROOM_JSON, msgspec.json.encode(operations))


def test_a_welcome_gives_the_session_its_id_until_the_connection_is_lost() -> None:
    session = opened()
    assert session.receive(frames.welcome("s_1")) == [Welcome("s_1")]
    assert session.client_id == "s_1"
    session.lost()
    assert session.client_id is None


def test_a_call_is_one_frame_with_an_id_of_its_own() -> None:
    session = opened()
    session.call(ROOM, "post", b'{"text":"hi"}')
    session.call(ROOM, "leave", None)
    first, second = sent(session)
    assert first == {
        "type": "rpc",
        "id": "1",
        "actor": "chat",
        "actorId": "general",
        "method": "post",
        "input": {"text": "hi"},
    }
    assert second["id"] == "2"
    assert "input" not in second


def test_a_result_keeps_null_and_nothing_apart() -> None:
    session = opened()
    first, second = session.call(ROOM, "a", None), session.call(ROOM, "b", None)
    assert session.receive(frames.result(first, b"null")) == [Result(first, b"null")]
    assert session.receive(frames.result(second, None)) == [Result(second, None)]
    assert session.pending_calls == 0


def test_a_call_is_answered_once_and_an_unknown_id_not_at_all() -> None:
    session = opened()
    call_id = session.call(ROOM, "post", None)
    assert session.receive(frames.result(call_id, b"1")) == [Result(call_id, b"1")]
    assert session.receive(frames.result(call_id, b"2")) == []
    assert session.receive(frames.result(b'"77"', b"2")) == []
    assert session.receive(b'{"type":"rpc:result","result":1}') == []


def test_an_error_carries_code_data_and_request_id() -> None:
    session = opened()
    call_id = session.call(ROOM, "post", None)
    error = ActorError("too long", code="too_long", data={"max": 5}, request_id="r_1")
    [failed] = session.receive(frames.failure(call_id, error))
    assert isinstance(failed, Failed)
    assert failed.call_id == call_id
    assert type(failed.error) is ActorError
    assert (failed.error.message, failed.error.code) == ("too long", "too_long")
    assert (failed.error.data, failed.error.request_id) == ({"max": 5}, "r_1")


def test_an_error_of_an_older_server_is_its_text_alone() -> None:
    session = opened()
    call_id = session.call(ROOM, "post", None)
    [failed] = session.receive(b'{"type":"rpc:result","id":%b,"error":"Unknown method: post"}' % call_id)
    assert isinstance(failed, Failed)
    assert (failed.error.message, failed.error.code) == ("Unknown method: post", "actor_error")


def test_the_servers_time_limit_is_a_call_timeout() -> None:
    session = opened()
    call_id = session.call(ROOM, "post", None)
    [failed] = session.receive(frames.failure(call_id, CallTimeout("no result within 60 s")))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, CallTimeout)


def test_a_forgotten_call_has_no_answer() -> None:
    session = opened()
    call_id = session.call(ROOM, "post", None)
    session.forget(call_id)
    assert session.pending_calls == 0
    assert session.receive(frames.result(call_id, b"1")) == []


def test_a_lost_connection_gives_back_its_calls_and_nothing_is_sent_again() -> None:
    session = opened()
    call_id = session.call(ROOM, "post", None)
    assert session.lost() == (call_id,)
    session.opened()
    assert session.outgoing == []
    assert session.receive(frames.result(call_id, b"1")) == []
    assert session.lost() == ()


def test_a_call_without_a_connection_is_refused() -> None:
    with pytest.raises(RuntimeError, match="connection"):
        ClientSession().call(ROOM, "post", None)


def test_ids_are_not_used_again_on_the_next_connection() -> None:
    session = opened()
    first = session.call(ROOM, "post", None)
    session.lost()
    session.opened()
    assert session.call(ROOM, "post", None) != first


def test_several_consumers_share_one_subscription() -> None:
    session = opened()
    first, second = session.watch(ROOM), session.watch(ROOM)
    assert first is second
    session.listen(ROOM)
    assert [frame["type"] for frame in sent(session)] == ["state:sub", "event:sub"]
    session.release(first)
    assert session.outgoing == []
    session.release(second)
    assert sent(session) == [{"type": "state:unsub", "actor": "chat", "actorId": "general"}]


def test_subscriptions_are_asked_for_again_on_every_connection() -> None:
    session = ClientSession()
    session.watch(ROOM)
    feed = session.listen(ROOM)
    assert session.outgoing == []
    session.opened()
    assert {frame["type"] for frame in sent(session)} == {"state:sub", "event:sub"}
    session.lost()
    session.release(feed)
    session.opened()
    assert [frame["type"] for frame in sent(session)] == ["state:sub"]


def test_frames_that_were_not_sent_are_not_sent_on_the_next_connection() -> None:
    session = opened()
    session.call(ROOM, "post", None)
    session.lost()
    session.opened()
    assert session.outgoing == []


def test_a_snapshot_and_its_patches_are_the_state() -> None:
    session = opened()
    replica = session.watch(ROOM)
    assert session.receive(frames.snapshot(ROOM_JSON, b'{"messages":[]}')) == [Snapshot(replica)]
    added = patch({"op": "add", "path": "/messages/0", "value": "hi"})
    assert session.receive(added) == [Patched(replica)]
    assert replica.plain() == {"messages": ["hi"]}
    assert replica.json() == b'{"messages":["hi"]}'
    assert replica.version == 2


def test_a_patch_leaves_what_it_does_not_touch_as_it_is() -> None:
    session = opened()
    replica = session.watch(ROOM)
    snapshot(session, '{"a":{"n":1},"b":{"n":1}}')
    before = replica.plain()
    session.receive(patch({"op": "replace", "path": "/a/n", "value": 2}))
    after = replica.plain()
    assert before == {"a": {"n": 1}, "b": {"n": 1}}
    assert after == {"a": {"n": 2}, "b": {"n": 1}}
    assert after["b"] is before["b"]


def test_a_state_is_decoded_once_a_version() -> None:
    session = opened()
    replica = session.watch(ROOM)
    snapshot(session, "[1]")
    decoded: list[bytes] = []

    def decode(raw: bytes) -> bytes:
        decoded.append(raw)
        return raw

    assert replica.decoded(decode) is replica.decoded(decode)
    session.receive(patch({"op": "add", "path": "/1", "value": 2}))
    replica.decoded(decode)
    assert decoded == [b"[1]", b"[1,2]"]


def test_patches_before_a_snapshot_of_this_connection_are_ignored() -> None:
    session = opened()
    replica = session.watch(ROOM)
    late = patch({"op": "replace", "path": "", "value": "late"})
    assert session.receive(late) == []
    snapshot(session, '"first"')
    session.lost()
    session.opened()
    assert session.receive(late) == []
    assert replica.plain() == "first"
    assert not replica.live


@pytest.mark.parametrize(
    "operations",
    [
        b'[{"op":"replace","path":"/missing/x","value":1}]',
        b'[{"op":"replace","path":"/a","value":2},{"op":"remove","path":"/missing"}]',
        b'[{"op":"sort","path":"/a"}]',
        b'[{"path":"/a"}]',
        b"[7]",
        b'{"op":"add"}',
        b"null",
        b"1e999",
    ],
)
def test_after_a_patch_that_does_not_fit_there_is_no_state_until_the_next_snapshot(operations: bytes) -> None:
    session = opened()
    replica = session.watch(ROOM)
    snapshot(session, '{"a":1}')
    sent(session)
    session.receive(frames.patch(ROOM_JSON, operations))
    for take in (replica.plain, replica.json, replica.plain):
        with pytest.raises(PatchError):
            take()
    session.refresh(replica)
    session.refresh(replica)
    assert sent(session) == [{"type": "state:sub", "actor": "chat", "actorId": "general", "append": True}]
    assert session.receive(patch({"op": "replace", "path": "/a", "value": 2})) == []
    snapshot(session, '{"a":3}')
    assert replica.plain() == {"a": 3}


def test_patches_that_nobody_takes_are_applied_at_a_bound() -> None:
    session = opened()
    replica = session.watch(ROOM)
    snapshot(session, "[]")
    for n in range(MAX_WAITING_PATCHES - 1):
        session.receive(patch({"op": "add", "path": f"/{n}", "value": n}))
    assert len(replica._patches) == MAX_WAITING_PATCHES - 1
    session.receive(patch({"op": "add", "path": f"/{MAX_WAITING_PATCHES - 1}", "value": -1}))
    assert replica._patches == []
    large = "x" * (MAX_WAITING_PATCH_BYTES + 1)
    session.receive(patch({"op": "replace", "path": "/0", "value": large}))
    assert replica._patches == []
    assert replica.plain()[0] == large
    assert replica.version == MAX_WAITING_PATCHES + 2


def test_a_patch_that_does_not_fit_is_found_at_the_bound() -> None:
    session = opened()
    session.watch(ROOM)
    snapshot(session, "[]")
    sent(session)
    for _ in range(MAX_WAITING_PATCHES - 1):
        assert session.receive(patch({"op": "remove", "path": "/0"}))
    assert session.receive(patch({"op": "remove", "path": "/0"})) == []
    assert sent(session) == [{"type": "state:sub", "actor": "chat", "actorId": "general", "append": True}]


def test_an_event_goes_to_the_feed_of_its_instance() -> None:
    session = opened()
    feed = session.listen(ROOM)
    assert session.receive(frames.event(ROOM_JSON, b'"posted"', b'{"n":1}')) == [
        EventArrived(feed, "posted", b'{"n":1}')
    ]
    assert session.receive(frames.event(frames.address("chat", "other"), b'"posted"', b"1")) == []


def test_a_null_payload_is_a_payload() -> None:
    session = opened()
    feed = session.listen(ROOM)
    assert session.receive(frames.event(ROOM_JSON, b'"posted"', b"null")) == [EventArrived(feed, "posted", b"null")]


def test_what_nobody_subscribed_to_is_ignored() -> None:
    session = opened()
    session.release(session.watch(ROOM))
    session.release(session.listen(ROOM))
    assert session.receive(frames.snapshot(ROOM_JSON, b"1")) == []
    assert session.receive(frames.event(ROOM_JSON, b'"posted"', b"1")) == []


def test_a_refused_subscription_ends_it_and_the_next_one_asks_anew() -> None:
    session = opened()
    feed, replica = session.listen(ROOM), session.watch(ROOM)
    sent(session)
    [problem] = session.receive(frames.problem(ActorError("Unknown actor: chat", code="unknown_actor"), *ROOM))
    assert isinstance(problem, Problem)
    assert problem.error.code == "unknown_actor"
    assert problem.ended == (feed, replica)
    sent(session)
    renewed = session.watch(ROOM)
    assert renewed is not replica
    assert [frame["type"] for frame in sent(session)] == ["state:sub"]
    session.release(replica)
    assert session.outgoing == []


def test_a_problem_that_names_no_instance_ends_nothing() -> None:
    session = opened()
    replica = session.watch(ROOM)
    [problem] = session.receive(frames.problem(ActorError("slow down", code="rate_limited", request_id="r_9")))
    assert isinstance(problem, Problem)
    assert problem.ended == ()
    assert problem.error.request_id == "r_9"
    assert session.watch(ROOM) is replica


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"type":7}',
        b'{"type":"presence","actor":"chat"}',
        b'{"type":"welcome"}',
        b'{"type":"state:snapshot","actor":"chat","actorId":"general"}',
        b'{"type":"state:patch","actor":"chat","actorId":"general"}',
        b'{"type":"event","actor":"chat","actorId":"general"}',
        b'{"type":"rpc:result","id":{"a":1}}',
        b"[" * 100_000,
    ],
)
def test_frames_that_mean_nothing_are_ignored(frame: bytes) -> None:
    session = opened()
    session.watch(ROOM)
    session.listen(ROOM)
    assert session.receive(frame) == []


def test_unknown_fields_are_ignored() -> None:
    session = opened()
    assert session.receive(b'{"type":"welcome","clientId":"s_1","region":"eu","seq":[1,2]}') == [Welcome("s_1")]


def test_an_error_whose_data_cannot_be_read_is_still_an_error() -> None:
    session = opened()
    call_id = session.call(ROOM, "post", None)
    [failed] = session.receive(b'{"type":"rpc:result","id":%b,"error":"no","data":1e999}' % call_id)
    assert isinstance(failed, Failed)
    assert failed.error.message == "no"


def test_an_instance_reads_as_a_path() -> None:
    assert str(ROOM) == "chat/general"
    assert Feed(ROOM).instance == Replica(ROOM).instance == ROOM


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=5,
)
SERVER_FRAMES = st.fixed_dictionaries(
    {"type": st.sampled_from(["welcome", "rpc:result", "event", "state:snapshot", "state:patch", "error", "new"])},
    optional={
        "id": st.sampled_from(["1", "2", "3", 1, None]),
        "actor": st.just("chat") | JSON,
        "actorId": st.just("general") | JSON,
        **dict.fromkeys(("clientId", "result", "error", "code", "message", "data", "event", "payload", "state"), JSON),
        "patches": JSON | st.just([{"op": "add", "path": "/a", "value": 1}]),
    },
)


@given(st.lists(SERVER_FRAMES.map(msgspec.json.encode) | st.binary(max_size=40), max_size=8))
def test_no_sequence_of_frames_disturbs_a_session(received: list[bytes]) -> None:
    session = opened()
    calls = {session.call(ROOM, "post", None), session.call(ROOM, "post", None)}
    replica = session.watch(ROOM)
    session.listen(ROOM)
    answered = []
    for frame in received:
        for event in session.receive(frame):
            if isinstance(event, Result | Failed):
                answered.append(event.call_id)
            if isinstance(event, Snapshot | Patched):
                _take(session, event.replica)
    assert len(answered) == len(set(answered))
    assert set(answered) | set(session.lost()) == calls
    assert replica.version >= 0


def _take(session: ClientSession, replica: Replica) -> None:
    try:
        msgspec.json.decode(replica.json())
    except PatchError:
        session.refresh(replica)


@given(st.lists(st.lists(st.integers(), max_size=4), min_size=1, max_size=6), st.lists(st.booleans(), min_size=6))
def test_a_replica_is_the_same_however_often_it_is_taken(states: list[list[int]], taken: list[bool]) -> None:
    session = opened()
    replica = session.watch(ROOM)
    snapshot(session, "[[]]")
    for state, take in zip(states, taken, strict=False):
        session.receive(patch({"op": "replace", "path": "/0", "value": state}, {"op": "add", "path": "/-", "value": 0}))
        if take:
            assert replica.plain()[0] == state
    assert replica.plain() == [states[-1], *[0] * len(states)]


class TestVersions:
    """Resuming: the client names the version it has, and finds a hole by itself."""

    @staticmethod
    def patched(seq: int, value: int, epoch: str = "e") -> bytes:
        operations = f'[{{"op":"replace","path":"/n","value":{value}}}]' if value >= 0 else "[]"
        return (
            f'{{"type":"state:patch","actor":"room","actorId":"x","patches":{operations},"epoch":"{epoch}","seq":{seq}}}'
        ).encode()

    @staticmethod
    def watching() -> tuple[ClientSession, Replica]:
        session = opened()
        replica = session.watch(Instance("room", "x"))
        session.receive(b'{"type":"state:snapshot","actor":"room","actorId":"x","state":{"n":0},"epoch":"e","seq":4}')
        session.outgoing.clear()
        return session, replica

    def test_patches_in_order_are_applied_and_repeated_ones_are_not(self) -> None:
        session, replica = self.watching()
        assert session.receive(self.patched(5, 1)) == [Patched(replica)]
        assert session.receive(self.patched(5, 99)) == []
        assert session.receive(self.patched(4, 99)) == []
        assert session.receive(self.patched(6, 2)) == [Patched(replica)]
        assert replica.plain() == {"n": 2}
        assert session.outgoing == []

    def test_a_hole_is_asked_for_once_and_filled(self) -> None:
        session, replica = self.watching()
        assert session.receive(self.patched(7, 9)) == []
        assert session.receive(self.patched(8, 9)) == []
        (asked,) = session.outgoing
        assert asked == b'{"type":"state:sub","actor":"room","actorId":"x","since":{"epoch":"e","seq":4},"append":true}'
        for number in (5, 6, 7, 8):
            assert session.receive(self.patched(number, number)) == [Patched(replica)]
        assert replica.plain() == {"n": 8}
        assert replica.live

    def test_a_new_connection_asks_from_the_version_on_that_is_here(self) -> None:
        session, replica = self.watching()
        session.receive(self.patched(5, 1))
        session.lost()
        session.opened()
        assert session.outgoing == [
            b'{"type":"state:sub","actor":"room","actorId":"x","since":{"epoch":"e","seq":5},"append":true}'
        ]
        assert not replica.live
        assert session.receive(self.patched(5, -1)) == []
        assert replica.live
        assert session.receive(self.patched(6, 3)) == [Patched(replica)]
        assert replica.plain() == {"n": 3}

    def test_a_snapshot_of_another_epoch_starts_anew(self) -> None:
        session, replica = self.watching()
        session.lost()
        session.opened()
        session.receive(b'{"type":"state:snapshot","actor":"room","actorId":"x","state":{"n":50},"epoch":"f","seq":0}')
        assert session.receive(self.patched(1, 51, "f")) == [Patched(replica)]
        assert replica.plain() == {"n": 51}

    def test_a_patch_of_another_epoch_asks_for_a_snapshot(self) -> None:
        session, replica = self.watching()
        assert session.receive(self.patched(5, 1, "other")) == []
        assert session.outgoing == [b'{"type":"state:sub","actor":"room","actorId":"x","append":true}']
        assert not replica.live

    def test_a_patch_that_does_not_fit_is_no_version_to_resume_from(self) -> None:
        session, replica = self.watching()
        session.receive(self.patched(5, 1).replace(b'"replace","path":"/n"', b'"remove","path":"/zzz"'))
        with pytest.raises(PatchError):
            replica.plain()
        session.outgoing.clear()
        session.refresh(replica)
        assert session.outgoing == [b'{"type":"state:sub","actor":"room","actorId":"x","append":true}']


@pytest.mark.parametrize("code", ["unavailable", "overloaded"])
def test_a_refusal_that_passes_keeps_the_subscription(code: str) -> None:
    session = opened()
    replica = session.watch(Instance("room", "x"))
    frame = (
        b'{"type":"error","code":"%b","message":"away","actor":"room","actorId":"x","requestId":"r"}' % code.encode()
    )
    (problem,) = session.receive(frame)
    assert isinstance(problem, Problem)
    assert problem.ended == ()
    assert session.receive(b'{"type":"state:snapshot","actor":"room","actorId":"x","state":1}') == [Snapshot(replica)]
