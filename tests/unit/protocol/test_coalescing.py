"""A client that reads too slowly gets no hole: random orders against a client that knows no versions, and each rule."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from zocket.protocol import frames
from zocket.protocol.coalescing import ASK_AGAIN_S, Peer, SlowReaders
from zocket.protocol.edge import EdgeSession
from zocket.protocol.frames import StateSub
from zocket.settings import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Socket:
    sent: list[Any] = field(default_factory=list)
    closed: int | None = None
    pauses: int = 0

    def send(self, frame: bytes) -> None:
        self.sent.append(json.loads(frame))

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code

    def unsent_bytes(self) -> int:
        return 0

    def pause(self) -> None:
        self.pauses += 1


@dataclass(eq=False)
class Session:
    socket: Socket = field(default_factory=Socket)
    asked: list[StateSub] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.peer: Peer = self.socket
        self.edge = EdgeSession("s_1", Limits())

    def subscribes(self, *ids: str, kind: str = "state:sub") -> None:
        for actor_id in ids:
            assert self.edge.receive(frames.request(kind, "room", actor_id), 0.0) is not None

    def subscribe_again(self, subscriptions: Sequence[StateSub]) -> None:
        self.asked.extend(subscriptions)


def patch(actor_id: str, count: int) -> bytes:
    return frames.patch(frames.address("room", actor_id), b'[{"op":"replace","path":"/n","value":%d}]' % count)


def snapshot(actor_id: str, count: int) -> bytes:
    return frames.snapshot(frames.address("room", actor_id), b'{"n":%d}' % count)


def kinds(session: Session) -> list[tuple[str, str]]:
    return [(frame["type"], frame.get("actorId", "")) for frame in session.socket.sent]


def metrics(readers: SlowReaders) -> dict[str, Any]:
    return {sample.name: sample.value for sample in readers.samples()}


def behind(*ids: str) -> tuple[SlowReaders, Session]:
    readers, session = SlowReaders(), Session()
    session.subscribes(*ids)
    readers.fell_behind(session)
    return readers, session


def test_state_frames_are_left_out_and_one_snapshot_makes_up_for_them() -> None:
    readers, session = behind("a", "b")
    for count in range(5):
        session.peer.send(patch("a", count))
    session.peer.send(snapshot("a", 5))
    session.peer.send(frames.result(b"1", b"2"))
    assert kinds(session) == [("rpc:result", "")]
    assert metrics(readers) == {"sessions_behind": 1, "frames_coalesced": 6}
    readers.caught_up(session, 10.0)
    assert session.asked == [StateSub("room", "a")]
    session.peer.send(patch("a", 6))
    session.peer.send(patch("b", 1))
    session.peer.send(snapshot("a", 6))
    session.peer.send(patch("a", 7))
    assert kinds(session)[1:] == [("state:patch", "b"), ("state:snapshot", "a"), ("state:patch", "a")]
    assert session.peer is session.socket
    assert metrics(readers) == {"sessions_behind": 0, "frames_coalesced": 7}


def test_nothing_left_out_means_nothing_to_make_up_for() -> None:
    readers, session = behind("a")
    readers.caught_up(session, 10.0)
    assert session.asked == []
    assert session.peer is session.socket


def test_instances_that_are_no_longer_wanted_are_forgotten() -> None:
    readers, session = behind("a")
    session.peer.send(patch("a", 1))
    session.peer.send(patch("stranger", 1))
    session.subscribes("a", kind="state:unsub")
    readers.caught_up(session, 10.0)
    assert session.asked == []
    assert session.peer is session.socket


def test_a_snapshot_that_does_not_come_is_asked_for_again() -> None:
    readers, session = behind("a")
    session.peer.send(patch("a", 1))
    readers.sweep(100.0)
    assert session.asked == [], "while it is behind, it is asked for nothing"
    readers.caught_up(session, 100.0)
    readers.sweep(100.0 + ASK_AGAIN_S - 0.1)
    assert len(session.asked) == 1
    readers.sweep(100.0 + ASK_AGAIN_S)
    assert session.asked == [StateSub("room", "a")] * 2


def test_whoever_falls_behind_again_before_its_snapshot_came_still_gets_one() -> None:
    readers, session = behind("a")
    session.peer.send(patch("a", 1))
    readers.caught_up(session, 10.0)
    readers.fell_behind(session)
    session.peer.send(snapshot("a", 1))
    readers.caught_up(session, 11.0)
    session.peer.send(snapshot("a", 2))
    assert session.asked == [StateSub("room", "a")] * 2
    assert kinds(session) == [("state:snapshot", "a")]


def test_the_end_of_a_session_closing_and_pausing_reach_the_socket() -> None:
    readers, session = behind("a")
    session.peer.pause()
    assert session.socket.pauses == 1
    session.peer.close(1013)
    assert session.socket.closed == 1013
    readers.discard(session)
    assert metrics(readers)["sessions_behind"] == 0
    readers.caught_up(session, 1.0)
    assert session.asked == []


@given(st.lists(st.sampled_from(["a", "b", "behind", "caught up", "snapshot"]), max_size=60))
def test_a_client_that_knows_no_versions_never_applies_a_patch_to_another_state(steps: list[str]) -> None:
    """Every patch raises `n` by one, so a hole shows as a jump without a snapshot."""
    readers, session = SlowReaders(), Session()
    session.subscribes("a", "b")
    counts = {"a": 0, "b": 0}
    for actor_id in counts:
        session.peer.send(snapshot(actor_id, 0))
    answered = 0

    def answer() -> None:
        nonlocal answered
        for subscription in session.asked[answered:]:
            answered += 1
            session.peer.send(snapshot(subscription.actor_id, counts[subscription.actor_id]))

    for step in steps:
        if step == "behind":
            readers.fell_behind(session)
        elif step == "caught up":
            readers.caught_up(session, 0.0)
        elif step == "snapshot":
            answer()
        else:
            counts[step] += 1
            session.peer.send(patch(step, counts[step]))
    readers.caught_up(session, 0.0)
    answer()
    replica: dict[str, int] = {}
    for frame in session.socket.sent:
        if frame["type"] == "state:snapshot":
            replica[frame["actorId"]] = frame["state"]["n"]
        else:
            assert frame["patches"][0]["value"] == replica[frame["actorId"]] + 1
            replica[frame["actorId"]] += 1
    assert replica == counts
