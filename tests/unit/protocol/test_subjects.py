"""Subjects and names on NATS, as the contract has them."""

from __future__ import annotations

import pytest

from zocket.broker.matching import matches
from zocket.errors import InvalidId
from zocket.ids import Partition, Scope
from zocket.protocol import subjects

SCOPE = Scope("acme", "chat")


def test_subjects_are_those_of_the_contract() -> None:
    assert subjects.inbound(SCOPE, "room", "general") == "inbound.acme.chat.room.general"
    assert subjects.inbound_filter(SCOPE, "room") == "inbound.acme.chat.room.>"
    assert subjects.outbound(SCOPE, "s_1") == "outbound.acme.chat.s_1"
    assert subjects.connected(SCOPE) == "session.connected.acme.chat"
    assert subjects.disconnected(SCOPE) == "session.disconnected.acme.chat"
    assert subjects.announcement(SCOPE) == "runtime.announce.acme.chat"


def test_the_consumer_has_the_exact_name() -> None:
    """R5, the name."""
    assert subjects.consumer(SCOPE, "room") == "rt-acme-chat-room"


def test_additions_are_tenant_scoped_like_the_rest() -> None:
    assert subjects.gateway(SCOPE, "g_1") == "gateway.acme.chat.g_1"
    assert subjects.gateway_filter("g_1") == "gateway.*.*.g_1"
    assert subjects.discovery(SCOPE) == "runtime.discover.acme.chat"
    assert subjects.rewritten(SCOPE) == "runtime.rewritten.acme.chat"
    assert subjects.owner_key(SCOPE) == "acme.chat"


def test_a_divided_project_has_names_for_each_partition() -> None:
    third = Partition(2, 4)
    assert subjects.consumer(SCOPE, "room", third) == "rt-acme-chat-room-2"
    assert subjects.inbound_filter(SCOPE, "room", third) == "inbound.acme.chat.room.2.*"
    assert subjects.owner_key(SCOPE, third) == "acme.chat.2"
    assert subjects.roll_call(SCOPE) == "runtime.replica.acme.chat"


@pytest.mark.parametrize(
    ("subject", "stored"),
    [
        ("inbound.acme.chat.room.general", "inbound.acme.chat.room.2.general"),
        ("inbound.acme.chat.room.a%2Eb", "inbound.acme.chat.room.1.a%2Eb"),
        ("inbound.acme.chat.room.a.b", "inbound.acme.chat.room.a.b"),
        ("outbound.acme.chat.room.general", "outbound.acme.chat.room.general"),
    ],
)
def test_a_divided_stream_writes_the_partition_into_the_subject(subject: str, stored: str) -> None:
    assert subjects.with_partition(subject, 4) == stored
    assert subjects.with_partition(subject, 1) == subject


def test_in_a_divided_project_the_subject_must_name_the_right_partition() -> None:
    assert subjects.agrees("inbound.acme.chat.room.2.general", SCOPE, "room", "general", 4)
    for wrong in ("inbound.acme.chat.room.3.general", "inbound.acme.chat.room.general", "inbound.acme.chat.room.2.x"):
        assert not subjects.agrees(wrong, SCOPE, "room", "general", 4)
    assert not subjects.agrees("inbound.acme.chat.room.a.b", SCOPE, "room", "a.b", 4)


def test_a_gateway_says_that_it_is_there_where_no_batch_for_it_goes() -> None:
    assert subjects.alive("g_1") == "gateway.alive.g_1"
    assert matches(subjects.ANY_ALIVE, subjects.alive("g_1"))
    assert not matches(subjects.ANY_ALIVE, subjects.gateway(Scope("alive", "g"), "g_1"))
    assert not matches(subjects.gateway_filter("g_1"), subjects.alive("g_1"))


@pytest.mark.parametrize("actor_id", ["general", "a b", "a.b", "*", ">", "$JS", "ü", "%41", "a/b:c@d"])
def test_an_instance_ends_its_inbound_subject(actor_id: str) -> None:
    subject = subjects.inbound_prefix(SCOPE) + subjects.instance("room", actor_id)
    assert subject == subjects.inbound(SCOPE, "room", actor_id)
    assert subject.count(".") == 4


@pytest.mark.parametrize(
    ("actor", "actor_id"), [("a.b", "x"), ("", "x"), ("room", ""), ("room", "x" * 257), (">", "x")]
)
def test_an_instance_that_may_not_be_used_has_no_subject(actor: str, actor_id: str) -> None:
    for _ in range(2):
        with pytest.raises(InvalidId):
            subjects.instance(actor, actor_id)


@pytest.mark.parametrize(
    ("subject", "actor_id", "expected"),
    [
        ("inbound.acme.chat.room.general", "general", True),
        ("inbound.acme.chat.room.a%2Eb", "a.b", True),
        ("inbound.acme.chat.room.a.b", "a.b", True),
        ("inbound.acme.chat.room.a%2Eb", "a%2Eb", True),
        ("inbound.acme.chat.room.general", "other", False),
        ("inbound.acme.other.room.general", "general", False),
        ("inbound.rival.chat.room.general", "general", False),
        ("inbound.acme.chat.board.general", "general", False),
        ("outbound.acme.chat.room.general", "general", False),
    ],
)
def test_an_envelope_and_its_subject_agree_by_token_or_raw_id(subject: str, actor_id: str, expected: bool) -> None:
    assert subjects.agrees(subject, SCOPE, "room", actor_id) is expected
